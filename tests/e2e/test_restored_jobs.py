"""jobs.db restored from a copy: what was requested since is found again, what is archived is not fetched again."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

from tests.conftest import Cli
from tests.fixtures.damage import half
from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

EARLIER, SINCE, OPEN, CANCELLED = (
    sample.VIDEO_OK, sample.VIDEO_NO_CAPTIONS, sample.VIDEO_480P, sample.VIDEO_LARGE,
)  # fmt: skip


def jobs_of(cli: Cli) -> dict[str, dict[str, Any]]:
    return {job["job_id"]: job for job in json.loads(cli("jobs", "list", "--json").out)["jobs"]}


def begin(cli: Cli, emulator: EmulatorClient, video_id: str) -> str:
    """Start a download that does not end. Return its job."""
    before = emulator.last()
    child = cli.start("download", video_id, "--json")
    assert emulator.wait_for(since=before, kind="media", video_id=video_id)
    child.signal(signal.SIGINT)
    child.end()
    return next(iter(jobs_of(cli)))  # the newest


def test_after_a_damage_all_goes_on_from_the_copy(cli: Cli, emulator: EmulatorClient) -> None:
    """The broker's store is lost too: requests are found in the journals. tests/integration/test_jobs_restoration.py
    finds them in the stream."""
    slow = emulator.add_fault("media", "throttle", rate=10_000)
    earlier = begin(cli, emulator, EARLIER)  # open in the copy, archived since
    emulator.remove_fault(slow)
    up = cli.start("up")
    up.wait_for("Ready.")
    database = cli.data / "jobs" / "jobs.db"
    (copy,) = until(lambda: list((database.parent / "backups").glob("jobs-*.db")))
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert cli("jobs", "watch", earlier).code == 0
    assert cli("download", SINCE).code == 0
    emulator.add_fault("media", "throttle", rate=10_000)
    cancelled = begin(cli, emulator, CANCELLED)
    assert cli("jobs", "cancel", cancelled).code == 0
    still_open = begin(cli, emulator, OPEN)
    up.process.kill()
    emulator.clear_faults()

    database.write_bytes(half(database.read_bytes()))
    database.with_name("jobs.db-wal").write_bytes(b"")
    shutil.rmtree(database.parent / "nats")
    before = emulator.last()
    up = cli.start("up")
    up.wait_for("Ready.")
    assert cli("jobs", "watch", earlier).code == 0
    assert cli("jobs", "watch", still_open).code == 0
    found = jobs_of(cli)
    assert (found[earlier]["status"], found[still_open]["status"]) == ("completed", "completed")
    assert found.get(cancelled, {"status": "cancelled"})["status"] == "cancelled"
    fetched = {one["video_id"] for one in emulator.log(since=before, kind="media")}
    assert fetched == {OPEN}
    told = up.err.read_text() + up.out.read_text()
    assert str(Path(f"{database}.unreadable")) in told
    assert "jobs_restored" in told
