"""`ytarchive backup` and `restore`: while a stack runs, after a loss, and killed half-way."""

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bus.fault_injection import VARIABLE
from tests.conftest import Cli
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

SECRET = "AIza-a-key-that-nobody-may-read"  # noqa: S105 - made up


@pytest.fixture(scope="module")
def saved(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with a video, a work plan and a backup of that time; one more video came later. Nothing runs."""
    emulator_child.reset()
    cli: Cli = cli_at(tmp_path_factory.mktemp("backup") / "home", YTARCHIVE_YOUTUBE__PROXY=emulator_child.proxy_url)
    up = cli.start("up")
    up.wait_for("Ready.")
    assert cli("download", sample.VIDEO_OK, sample.VIDEO_DELETED).code == 3
    keyed = replace(cli, env={**cli.env, "YTARCHIVE_YOUTUBE__API_KEY": SECRET})
    written = keyed("backup", str(cli.home / "kept"), "--json")
    assert written.code == 0, written.out + written.err
    refused = cli("restore", str(cli.home / "kept"))
    assert (refused.code, "Stop" in refused.err) == (2, True)
    assert cli("download", sample.VIDEO_NO_CAPTIONS).code == 0
    up.process.terminate()
    up.end()
    return cli


def killed(cli: Cli, point: str, *words: str) -> None:
    ran = replace(cli, env={**cli.env, VARIABLE: point})(*words)
    assert ran.code == -signal.SIGKILL, ran.out + ran.err


def jobs(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("jobs", "list", "--json").out)["jobs"]
    return found


def hidden(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob(".*") if path.name.endswith((".new", ".restored"))]


def test_a_backup_has_no_secret_and_is_never_written_over(saved: Cli) -> None:
    kept = saved.home / "kept"
    names = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    plan = next((saved.data / "work_plans").glob("*.json")).name
    assert names == {"backup.json", "configuration.json", "jobs.db", "catalogue.db", f"work_plans/{plan}"}
    assert {path.stat().st_mode & 0o077 for path in (kept, *kept.rglob("*"))} == {0}
    assert SECRET not in (kept / "configuration.json").read_text()
    again = saved("backup", str(kept))
    assert (again.code, "not empty" in again.err) == (2, True)
    assert "backed up to" in saved("backup").out  # to a folder of its own
    assert len(list((saved.data / "backups").iterdir())) == 1


def test_a_backup_that_is_not_intact_is_refused(saved: Cli) -> None:
    before = (saved.data / "jobs" / "jobs.db").read_bytes()
    copy = saved.home / "copy"
    shutil.copytree(saved.home / "kept", copy)
    (copy / "jobs.db").write_bytes((copy / "jobs.db").read_bytes()[:-1])
    for folder, reason in ((copy, "not as it was backed up"), (saved.home / "nothing", "no complete backup")):
        ran = saved("restore", str(folder))
        assert (ran.code, reason in ran.err) == (2, True), ran.err
    assert (saved.data / "jobs" / "jobs.db").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(saved: Cli) -> None:
    refused = saved("backup", "/proc/backup")
    assert (refused.code, "/proc/backup cannot be written" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("point", ["backup.jobs_copied", "backup.complete"])
def test_a_killed_backup_leaves_none(saved: Cli, point: str) -> None:
    target = saved.home / point
    killed(saved, point, "backup", str(target))
    assert not target.exists()
    assert saved("backup", str(target)).code == 0
    assert hidden(saved.home) == []


def test_a_killed_restoration_is_repeated_and_nothing_is_lost(saved: Cli, emulator_child: EmulatorClient) -> None:
    (plan,) = (saved.data / "work_plans").glob("*.json")
    database = saved.data / "jobs" / "jobs.db"
    later, _earlier = jobs(saved)
    known = json.loads(saved("storage", "list", "--json").out)["total"]
    plan.write_text("changed")
    for point in ("restore.staged", "restore.exchanged.catalogue.db", "restore.exchanged.jobs.db"):
        killed(saved, point, "restore", str(saved.home / "kept"))
        assert len(jobs(saved)) == (1 if point.endswith("jobs.db") else 2)
        assert saved("storage", "list").code == 0
    ran = saved("restore", str(saved.home / "kept"), "--json")
    assert ran.code == 0, ran.err
    assert str(database) in json.loads(ran.out)["restored"]
    assert hidden(saved.data) == []
    assert len(jobs(saved)) == 1
    assert plan.read_text() != "changed"
    assert [path.read_text() for path in plan.parent.glob("*.before-*")] == ["changed"]
    assert len(list(database.parent.glob("jobs.db.before-*"))) == 2
    before = emulator_child.last()
    assert saved("download", sample.VIDEO_NO_CAPTIONS).code == 0  # it is archived, and not in the restored catalogue
    assert emulator_child.log(since=before, kind="media") == []
    assert json.loads(saved("storage", "list", "--json").out)["total"] == known
    assert later["job_id"] not in {job["job_id"] for job in jobs(saved)}  # it had ended: nothing is left to do
