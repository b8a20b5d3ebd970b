"""Snapshots of what every command prints for a small fixed archive: the text, and the shape of its --json output.

A new command needs one line in STOPPED or RUNNING. `pytest tests/e2e/test_snapshots.py --snapshot-update` writes its
output into tests/e2e/__snapshots__; review it before you commit.
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

_spec = importlib.util.spec_from_file_location(
    "output_normalization", Path(__file__).parents[1] / "fixtures" / "output_normalization.py"
)
assert _spec is not None and _spec.loader is not None
normalize = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(normalize)

# Each line is run as it is, and again with --json if the command has that option. `#once`: not with --json, because the
# second run would print a different result or only an error; `#shape`: only with --json, because the text depends on
# this machine.
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
notify test #once
auth token list #once
auth token revoke nobody #once
config show #shape
doctor #shape
version #shape
download {playlist}
download {playlist} --captions en --no-captions #once
download nonsense #once
download #once
plan nonsense #once
follow list
follow show nobody #once
follow add demo-000001 #once
follow import /nowhere #once
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
storage list --below-wanted
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
follow test @LoopbackLectures --min-length 1h --kind video,premiere
follow add @SecondSource --kind short --title-exclude trailer --every 2h --quality 360p #once
follow run @SecondSource #once
follow list
follow show @SecondSource
follow pause @SecondSource
follow edit @SecondSource --every auto
follow edit @SecondSource #once
follow resume @SecondSource
follow remove @SecondSource #once
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
# Commands that do not end by themselves or need their own setup, and the files that test them.
ELSEWHERE = {
    ("auth", "token", "add"): "tests/e2e/test_access.py",
    ("update",): "tests/e2e/test_update.py",
    ("up",): "tests/e2e/test_running_stack.py",
    ("service",): "tests/integration/test_stack.py",
    ("web",): "tests/web/test_alone.py",
    ("auth", "password"): "tests/web/test_login.py",
    ("demo",): "tests/e2e/test_demo.py",
    ("backup",): "tests/e2e/test_backup.py",
    ("restore",): "tests/e2e/test_backup.py",
}


# Commands that take an id, and the placeholder of an id that the shell completion must offer.
COMPLETED = {
    "jobs show": "parked",
    "workplan show": "gap",
    "trace": "trace",
    "storage show": "video",
}


@dataclass
class Scenario:
    """Ten saved and two unavailable videos, two jobs that wait for a stream, one job with only an unavailable video.

    No stack is running.
    """

    cli: Any
    placeholders: dict[str, str]  # the values of the placeholders above
    words: dict[str, str]  # printed value -> its placeholder in the snapshot

    def output_of(self, line: str) -> str:
        words = [word.format(**self.placeholders) for word in shlex.split(line)]
        ran = self.cli(*words)
        out = normalize.shape(ran.out) if "--json" in words else normalize.text(ran.out, self.words)
        errors = normalize.text(ran.err, self.words)
        return "\n".join([f"$ ytarchive {line}", out, *(f"! {each}" for each in errors.splitlines()), f"= {ran.code}"])

    def completions_of(self, words: str) -> list[str]:
        """Return the shell completions that bash would offer after these words."""
        asked = {"COMP_WORDS": f"ytarchive {words} ", "COMP_CWORD": str(len(words.split()) + 1)}
        cli = replace(self.cli, env={**self.cli.env, **asked, "_YTARCHIVE_COMPLETE": "complete_bash"})
        offered: list[str] = cli().out.split()
        return offered


@pytest.fixture(scope="module")
def scenario(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
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
    placeholders = {name: job["job_id"] for name, job in jobs.items()}
    ids = {job["job_id"]: f"<{name}>" for name, job in jobs.items()}
    traces = {job["trace_id"]: f"<trace of {name}>" for name, job in jobs.items()}
    others = {
        "trace": jobs["job"]["trace_id"],
        "video": sample.VIDEO_OK,
        "playlist": sample.DEMO_PLAYLIST,
        "playlist3": sample.PLAYLIST_3,
    }
    paths = {str(cli.home): "<home>", str(emulator_child.ca_file): "<ca>"}
    return Scenario(cli, {**placeholders, **others, "missing": sample.PLAYLIST_MISSING}, {**paths, **ids, **traces})


def lines(scene: str) -> list[str]:
    """Expand a scene into the command lines to run."""
    found: list[str] = []
    for line in scene.strip().splitlines():
        words, _, note = line.partition(" #")
        text = [words] if note != "shape" else []
        with_json = note == "shape" or (not note and "--json" not in words and has_json(words))
        found += [*text, f"{words} --json"] if with_json else text
    return found


def has_json(line: str) -> bool:
    words = tuple(line.split())
    return any(command.has_json for command in commands(app) if words[: len(command.words)] == command.words)


@pytest.mark.timeout(600)
def test_what_every_command_prints(
    scenario: Scenario, snapshot: SnapshotAssertion, subtests: pytest.Subtests, emulator: EmulatorClient
) -> None:
    for line in lines(STOPPED):
        with subtests.test(line):
            assert scenario.output_of(line) == snapshot(name=line)
    with subtests.test("errors as JSON"):
        ran = scenario.cli("jobs", "show", "0nosuch", "--json")
        assert (json.loads(ran.out)["error"]["code"], ran.err) == ("E007", "")
    for words, name in COMPLETED.items():
        with subtests.test(f"completion of {words}"):
            assert scenario.placeholders[name] in scenario.completions_of(words)
    up = scenario.cli.start("up")
    up.wait_for("Ready.")
    for line in lines(RUNNING):
        with subtests.test(line, running=True):
            assert scenario.output_of(line) == snapshot(name=f"{line} (beside `up`)")
    up.process.terminate()
    assert up.end().code == 0


def test_every_command_has_a_snapshot_line() -> None:
    covered = {tuple(line.split()) for line in lines(STOPPED) + lines(RUNNING)}
    missing = [
        " ".join(command.words)
        for command in commands(app)
        if command.words not in ELSEWHERE and not any(line[: len(command.words)] == command.words for line in covered)
    ]
    assert missing == [], "add a line to STOPPED or RUNNING, and update the snapshots"
