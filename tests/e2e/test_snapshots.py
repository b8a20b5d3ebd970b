"""What every command prints for a small known world: the text, and the shape of its --json.

A new command needs one line in STOPPED or RUNNING; `pytest tests/e2e/test_snapshots.py --snapshot-update`
writes what it prints into tests/e2e/__snapshots__, to be read before it is committed.
"""

import importlib.util
import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from ytarchive.cli.app import app
from ytarchive.docgen.cli_reference import commands
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

_spec = importlib.util.spec_from_file_location("shown", Path(__file__).parents[1] / "fixtures" / "shown.py")
assert _spec is not None and _spec.loader is not None
shown = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shown)

# A line is run as it stands, and with --json where the command has that. `#once`: not with --json, since a second time
# is another story, or no more than an error; `#shape`: only with --json, since its text is about this machine.
STOPPED = """
jobs list
jobs list --status open #once
jobs show {job}
jobs show {parked} #once
jobs show 0nosuch
jobs watch {job}
storage list --sort title
storage list nothing #once
storage show demo-000001
storage show demo-000006
storage show nothing #once
storage stats
storage search hello
storage search nowhere #once
storage search "part 4" --in title #once
storage history demo-000001
storage history demo-000006 #once
storage history {playlist} #once
storage history nobody #once
storage verify demo-000001
storage verify demo-000006 #once
workplan list
workplan show {job}
workplan show nobody #once
logs --search service_started --service storage --limit 1
logs --service nobody #once
trace {trace} --limit 1
trace nobody #once
cleanup --dry-run
cleanup #once
health
services #once
quota #once
storage rescan #once
workplan retry {job} #once
workplan delete {job} #once
events tail #once
events dead list #once
config check #once
config show #shape
doctor #shape
version #shape
download {playlist}
download {playlist} --captions en --no-captions #once
download nonsense #once
download #once
plan nonsense #once
metadata {playlist} #once
playlist info demo-000001 #once
jobs pause {job} #once
"""
RUNNING = """
health
services
quota
cleanup --dry-run #once
cleanup
storage list --sort title #once
storage list --status gone #once
storage search hello --in captions --limit 2 #once
storage history demo-000006
storage verify demo-000001
storage verify --root /nowhere #once
workplan show {job} #once
plan {playlist} {playlist3} large-00001
plan {missing} {playlist3} #once
metadata demo-000001
metadata demo-000006
playlist info {playlist} --entries
playlist info {missing} #once
events dead list
events dead show 1 #once
events dead replay 1 #once
events dead drop 1 #once
storage rescan
jobs pause {parked}
jobs resume {parked}
jobs cancel {parked} #once
jobs cancel {other} --json
jobs cancel {job} #once
jobs retry {gap} #once
workplan retry {job}
workplan delete {gap} #once
workplan delete {job} --json
"""
# Those that do not end by themselves, or take a world of their own; where they are tested.
ELSEWHERE = {
    ("up",): "tests/e2e/test_running_stack.py",
    ("service",): "tests/integration/test_stack.py",
    ("demo",): "tests/e2e/test_demo.py",
    ("backup",): "tests/e2e/test_backup.py",
    ("restore",): "tests/e2e/test_backup.py",
}


# Where an id is due, and one of those that are offered.
COMPLETED = {
    "jobs show": "parked",
    "workplan show": "gap",
    "trace": "trace",
    "storage show": "video",
}


@dataclass
class World:
    """Ten videos and two gaps, two jobs that wait for a stream, one that is only a gap; nothing runs."""

    cli: Any
    places: dict[str, str]  # what stands in braces above
    words: dict[str, str]  # what is printed -> how it is shown

    def shows(self, line: str) -> str:
        words = [word.format(**self.places) for word in shlex.split(line)]
        ran = self.cli(*words)
        out = shown.shape(ran.out) if "--json" in words else shown.text(ran.out, self.words)
        told = shown.text(ran.err, self.words)
        return "\n".join([f"$ ytarchive {line}", out, *(f"! {each}" for each in told.splitlines()), f"= {ran.code}"])

    def completes(self, words: str) -> list[str]:
        """What bash would offer after these."""
        asked = {"COMP_WORDS": f"ytarchive {words} ", "COMP_CWORD": str(len(words.split()) + 1)}
        cli = replace(self.cli, env={**self.cli.env, **asked, "_YTARCHIVE_COMPLETE": "complete_bash"})
        offered: list[str] = cli().out.split()
        return offered


@pytest.fixture(scope="module")
def world(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> World:
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("snapshots") / "home", YTARCHIVE_DOWNLOAD__SLOTS="1", TZ="UTC")
    order = {
        "job": [sample.DEMO_PLAYLIST],
        "gap": [sample.VIDEO_PRIVATE],
        "parked": [sample.KINDS["upcoming"]],
        "other": [sample.KINDS["premiere"]],
    }
    jobs: dict[str, dict[str, Any]] = {}
    for name, targets in order.items():
        ran = cli("download", "--json", *targets)
        assert ran.code == (3 if name in {"job", "gap"} else 4), ran.err
        jobs[name] = ran.result["job"]
    places = {name: job["job_id"] for name, job in jobs.items()}
    ids = {job["job_id"]: f"<{name}>" for name, job in jobs.items()}
    traces = {job["trace_id"]: f"<trace of {name}>" for name, job in jobs.items()}
    others = {
        "trace": jobs["job"]["trace_id"],
        "video": sample.VIDEO_OK,
        "playlist": sample.DEMO_PLAYLIST,
        "playlist3": sample.PLAYLIST_3,
    }
    paths = {str(cli.home): "<home>", str(emulator_child.ca_file): "<ca>"}
    return World(cli, {**places, **others, "missing": sample.PLAYLIST_MISSING}, {**paths, **ids, **traces})


def lines(scene: str) -> list[str]:
    """Each as it is run."""
    found: list[str] = []
    for line in scene.strip().splitlines():
        words, _, note = line.partition(" #")
        text = [words] if note != "shape" else []
        again = note == "shape" or (not note and "--json" not in words and has_json(words))
        found += [*text, f"{words} --json"] if again else text
    return found


def has_json(line: str) -> bool:
    words = tuple(line.split())
    return any(command.has_json for command in commands(app) if words[: len(command.words)] == command.words)


@pytest.mark.timeout(600)
def test_what_every_command_prints(
    world: World, snapshot: SnapshotAssertion, subtests: pytest.Subtests, emulator: EmulatorClient
) -> None:
    for line in lines(STOPPED):
        with subtests.test(line):
            assert world.shows(line) == snapshot(name=line)
    with subtests.test("errors as JSON"):
        ran = world.cli("jobs", "show", "0nosuch", "--json")
        assert (json.loads(ran.out)["error"]["code"], ran.err) == ("E007", "")
    for words, name in COMPLETED.items():
        with subtests.test(f"completion of {words}"):
            assert world.places[name] in world.completes(words)
    up = world.cli.start("up")
    up.wait_for("Ready.")
    for line in lines(RUNNING):
        with subtests.test(line, running=True):
            assert world.shows(line) == snapshot(name=f"{line} (beside `up`)")
    up.process.terminate()
    assert up.end().code == 0


def test_every_command_is_shown() -> None:
    shown_here = {tuple(line.split()) for line in lines(STOPPED) + lines(RUNNING)}
    missing = [
        " ".join(command.words)
        for command in commands(app)
        if command.words not in ELSEWHERE
        and not any(line[: len(command.words)] == command.words for line in shown_here)
    ]
    assert missing == [], "add a line to STOPPED or RUNNING, and update the snapshots"
