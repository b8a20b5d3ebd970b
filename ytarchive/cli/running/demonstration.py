"""The demo: a loopback YouTube in a child process, and the ordinary download path with settings that point there."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from services.common.errors import ConfigError, ServiceUnavailable
from services.common.models import JobStatus
from services.common.settings.load import Config, load_config
from services.storage.formats.work_plan import WorkPlan
from ytarchive.cli.exits import Exit
from ytarchive.cli.render.text import safe_text, size
from ytarchive.cli.running.result import Result
from ytarchive.emulator import EmulatorClient, emulator_process
from ytarchive.emulator.child import EmulatorDied
from ytarchive.emulator.site.sample import DEMO_PLAYLIST

PLAYLIST = f"https://www.youtube.com/playlist?list={DEMO_PLAYLIST}"
CAPTIONS = "en,de"
SAVED, GAPS = 10, 2  # of its twelve videos
_MARK = "# made by `ytarchive demo`; made anew at every run"
_MOST_FILES = 12  # of one folder, in the tree


def prepare(directory: Path, *, fresh: bool) -> None:
    """Make the demo directory, emptied when `fresh`. Raises ConfigError for one that is somebody else's."""
    ours = _config_file(directory).is_file() and _config_file(directory).read_text().startswith(_MARK)
    if directory.exists() and not ours and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} holds other things than a demo. Name another folder with --dir.")
    if fresh and ours:
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)


@contextmanager
def loopback_youtube(directory: Path) -> Iterator[Config]:
    """While entered, an emulator runs, and `config.toml` in the directory points at it. Raises ServiceUnavailable."""
    try:
        with emulator_process(directory / "emulator") as emulator:
            _config_file(directory).write_text(_settings(directory, emulator), encoding="utf-8")
            yield load_config(_config_file(directory), env={}, cwd=directory)
    except EmulatorDied as error:
        raise ServiceUnavailable(str(error)) from error


def _config_file(directory: Path) -> Path:
    return directory / "config.toml"


def _settings(directory: Path, emulator: EmulatorClient) -> str:
    sections: dict[str, Mapping[str, str | int]] = {
        "storage": {
            "base_data_dir": str(directory / "data"),
            "base_path": str(directory / "archive"),
            "min_free": "64MiB",
        },
        "youtube": {"proxy": emulator.proxy_url, "ca_file": str(emulator.ca_file)},
    }
    sections |= {f"services.{name}": {"port": 0} for name in ("jobs", "metadata", "download", "storage", "logging")}
    lines = [_MARK]
    for section, keys in sections.items():
        # a JSON text is a TOML text, and so is a number
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)


# --- what it shows ------------------------------------------------------------------------------------------------


def introduce(out: Console, directory: Path) -> None:
    out.print(f"The demo archives a playlist of 12 short films from a small YouTube on this machine into {directory}.")
    out.print("Nothing is asked of the internet, and your own archive and configuration are not touched.\n")


def conclude(out: Console, directory: Path, result: Result) -> Exit:
    """Tree, work plan, and whether the outcome is the one that is expected; the exit code of the demo."""
    if result.exit is Exit.INTERRUPTED:
        return result.exit
    out.print()
    out.print(archive_tree(directory / "archive"))
    plan = result.job.work_plan if result.job else None
    if plan is not None:
        out.print()
        for line in work_plan(WorkPlan.model_validate_json(Path(plan).read_bytes())):
            out.print(line)
    out.print()
    if not as_expected(result):
        out.print(Text(f"That is not what was expected: {SAVED} saved and {GAPS} gaps.", style="red"))
        return result.exit if result.exit is not Exit.OK else Exit.FAILED
    out.print(
        "As expected: ten films are saved, and the playlist's two gaps are named. An ordinary `ytarchive download`"
        f" would end with exit code {int(Exit.GAPS)} (finished with gaps); the demo ends with 0."
    )
    out.print("Run it again: everything is skipped, only the playlist is read. To look around:")
    out.print(f"  ytarchive --config {_config_file(directory)} jobs list")
    return Exit.OK


def as_expected(result: Result) -> bool:
    if result.exit is not Exit.GAPS or result.job is None or result.job.status is not JobStatus.COMPLETED:
        return False
    counts = result.job.counts
    return (counts.archived + counts.skipped, counts.unavailable, counts.failed) == (SAVED, GAPS, 0)


def work_plan(plan: WorkPlan) -> Iterator[Text]:
    yield Text("Work plan (what could not be saved, and why):", style="bold")
    for gap in plan.unavailable_videos:
        yield Text(f"  {safe_text(gap.video_id)}  {safe_text(gap.reason)}  {safe_text(gap.title or '')}".rstrip())
    for failure in plan.failed_downloads:
        last = failure.errors[-1].get("message", "") if failure.errors else ""
        yield Text(f"  {safe_text(failure.video_id)}  failed: {safe_text(last)}")


def archive_tree(root: Path) -> Tree:
    """The folders and files below `root` with their sizes; hidden ones left out, long folders cut."""
    tree = Tree(Text(safe_text(root, 4096), style="bold"), guide_style="dim")
    _grow(tree, root)
    return tree


def _grow(tree: Tree, folder: Path) -> None:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    for path in entries[:_MOST_FILES]:
        if path.is_dir():
            _grow(tree.add(Text(safe_text(path.name), style="bold")), path)
        else:
            tree.add(Text.assemble(safe_text(path.name), (f"  {size(path.stat().st_size)}", "dim")))
    if len(entries) > _MOST_FILES:
        tree.add(Text(f"… and {len(entries) - _MOST_FILES} more", style="dim"))
