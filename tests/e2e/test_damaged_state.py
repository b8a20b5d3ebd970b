"""Files of ours that are damaged: no command fails for an unknown reason, and the next start mends what it can."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.fixtures.damage import WAYS, garbage
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

HELD, ALSO_HELD, GONE = sample.VIDEO_OK, sample.VIDEO_480P, sample.VIDEO_DELETED


@pytest.fixture(scope="module")
def saved(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with two videos, a work plan and a copy of jobs.db, and nothing that runs."""
    emulator_child.reset()
    cli: Cli = cli_at(tmp_path_factory.mktemp("damaged") / "home")
    assert cli("download", HELD, ALSO_HELD, GONE).code == 3
    assert cli("download", HELD).code == 0  # this start copies jobs.db
    return cli


@pytest.fixture
def files(saved: Cli) -> Iterator[dict[str, Path]]:
    """The files of our state, by name; their content is put back after the test."""
    found = {
        "jobs.db": saved.data / "jobs" / "jobs.db",
        "catalogue.db": saved.data / "catalogue.db",
        "plan": next((saved.data / "work_plans").glob("*.json")),
        "record": saved.archive / "videos" / ALSO_HELD / f"{ALSO_HELD}_metadata.json",
        "registry": saved.data / "registry" / "services.json",
    }
    before = {path: path.read_bytes() for path in found.values()}
    yield found
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize("damage", WAYS)
def test_every_command_names_the_damaged_file_and_the_next_start_mends_it(
    saved: Cli, files: dict[str, Path], emulator_child: EmulatorClient, damage: Callable[[bytes], bytes]
) -> None:
    plan_id = files["plan"].stem
    for path in files.values():
        path.write_bytes(damage(path.read_bytes()))
    commands = {
        ("jobs", "list"): "jobs.db",
        ("cleanup", "--dry-run"): "jobs.db",
        ("storage", "list"): "catalogue.db",
        ("storage", "stats"): "catalogue.db",
        ("storage", "show", HELD): "catalogue.db",
        ("storage", "search", "hello"): "catalogue.db",
        ("storage", "verify"): "catalogue.db",
        ("storage", "history", ALSO_HELD): "record",
        ("workplan", "show", plan_id): "plan",
    }
    begun = {words: saved.start(*words, "--json") for words in (*commands, ("workplan", "list"), ("doctor",))}
    ran = {words: child.end() for words, child in begun.items()}
    listed = ran.pop(("workplan", "list"))
    assert (listed.code, json.loads(listed.out)["total"]) == (0, 0)
    assert str(files["plan"]) in listed.err
    assert ran.pop(("doctor",)).code == 0
    for words, one in ran.items():
        where = str(files[commands[words]])
        told = one.out + one.err
        if damage is garbage and '"type": "error"' not in one.out:
            continue  # what it reads is intact
        assert "E999" not in told, (words, told)
        assert "Traceback" not in told, (words, told)
        assert where in told, (words, told)
        assert "ytarchive" in one.result["error"]["message"].replace(where, ""), (words, told)  # a remedy
    before = emulator_child.last()
    again = saved("download", HELD)
    assert (again.code, "1 already archived" in again.out) == (0, True), again.out + again.err
    assert "E999" not in again.err
    assert [one for one in emulator_child.log(since=before) if one["kind"] == "media"] == []
    jobs = json.loads(saved("jobs", "list", "--json").out)["jobs"]
    assert plan_id in {job["job_id"] for job in jobs}  # from the copy
    assert json.loads(saved("storage", "list", "--json").out)["total"] >= 1
