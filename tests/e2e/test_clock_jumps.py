"""A clock that is years ahead, in 1970, or set back while all services run: nothing is lost, deleted or waited for.

libfaketime (the package of that name) shifts the clock of the services; the broker and yt-dlp have the right one.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.processes import ChildProcess
from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

RIGHT, AHEAD, BEHIND, EPOCH = "+0", "+3650d", "-1d", "@1970-01-01 00:00:30"


def libfaketime() -> Path | None:
    """Return the variant for programs with threads."""
    places = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/usr/lib64/faketime")
    found = (path for place in places for path in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1"))
    return next(found, None)


pytestmark = pytest.mark.skipif(libfaketime() is None, reason="libfaketime is not installed (apt install libfaketime)")


class Shifted:
    """`ytarchive up` with a shifted clock, and the commands of a user with the right one."""

    def __init__(self, cli: Any, folder: Path) -> None:
        self.cli = cli
        self._folder = folder
        self._clock = folder / "clock"
        self._runs = 0
        self.process: ChildProcess | None = None

    def set_clock(self, offset: str) -> None:
        draft = self._clock.with_suffix(".new")
        draft.write_text(offset)
        draft.replace(self._clock)

    def start(self, offset: str) -> None:
        self.set_clock(offset)
        self._runs += 1
        faked = {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONWARNINGS": "default",  # in ten years a library warns that this Python is old
        }
        out = self._folder / f"up-{self._runs}.out"
        process = self.process = ChildProcess(self.cli.command("up"), out, self.cli.env | faked)
        until(lambda: "Ready." in process.output() or not process.is_running)
        assert process.is_running, process.output()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0, self.process.output()
        assert "Traceback" not in self.process.output(), self.process.output()
        self.process = None

    def jobs(self) -> dict[str, str]:
        """Return the status of each job."""
        found = json.loads(self.cli("jobs", "list", "--json").out)["jobs"]
        return {job["job_id"]: job["status"] for job in found}

    def logs(self) -> set[str]:
        return {path.name for path in (self.cli.data / "logs").glob("*.jsonl")}

    def copies(self) -> set[Path]:
        return set((self.cli.data / "jobs" / "backups").glob("jobs-*.db"))

    def create(self, *targets: str) -> str:
        """Start a download, and leave it to the services. Return the id of its job."""
        before = self.jobs()
        download = self.cli.start("download", *targets)
        (job_id,) = until(lambda: set(self.jobs()) - set(before))
        download.process.kill()
        return str(job_id)

    def wait_for(self, job_id: str, *statuses: str) -> None:
        until(lambda: self.jobs()[job_id] in statuses, f"{job_id} {statuses}: {self.jobs()}")


@pytest.fixture
def shifted(cli: Any, tmp_path: Path) -> Iterator[Shifted]:
    made = Shifted(cli, tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()


@pytest.fixture
def with_history(shifted: Shifted) -> Shifted:
    """A stopped system, with a finished job, its logs, and a copy of jobs.db."""
    shifted.start(RIGHT)
    shifted.wait_for(shifted.create(sample.VIDEO_OK), "completed")
    shifted.stop()
    shifted.start(RIGHT)
    until(shifted.copies)
    shifted.stop()
    return shifted


def test_the_clock_is_shifted(shifted: Shifted) -> None:
    """Otherwise the other tests would prove nothing."""
    shifted.start(AHEAD)
    year = datetime.now(UTC).year + 9
    until(lambda: any(name >= f"{year}" for name in shifted.logs() if not name.startswith("events")))
    shifted.set_clock(RIGHT)
    shifted.wait_for(shifted.create(sample.VIDEO_OK), "completed")
    assert f"{datetime.now(UTC):%Y-%m-%d}.jsonl" in shifted.logs()
    shifted.stop()


@pytest.mark.parametrize("wrong", [AHEAD, EPOCH])
def test_a_start_with_a_wrong_clock_deletes_neither_jobs_nor_logs_nor_copies(with_history: Shifted, wrong: str) -> None:
    system = with_history
    jobs, logs = system.jobs(), system.logs()
    copies = system.copies()
    assert jobs
    assert logs
    for _ in range(2):
        system.start(wrong)
        system.wait_for(system.create(sample.VIDEO_480P), "completed")
        system.stop()
    system.start(RIGHT)
    assert jobs.items() <= system.jobs().items()
    assert logs <= system.logs()
    assert copies <= system.copies()
    system.wait_for(system.create(sample.VIDEO_TWO_CAPTIONS), "completed")
    system.stop()


@pytest.mark.parametrize(("before", "after"), [(AHEAD, RIGHT), (RIGHT, BEHIND), (RIGHT, AHEAD), (EPOCH, RIGHT)])
def test_a_job_goes_on_when_the_clock_jumps(
    shifted: Shifted, emulator: EmulatorClient, before: str, after: str
) -> None:
    """At the jump one video waits for its next attempt, and one is being downloaded."""
    broken = emulator.add_fault("media", "status", video_id=sample.VIDEO_OK, status=404)
    slow = emulator.add_fault("media", "throttle", video_id=sample.VIDEO_480P, rate=100_000)
    shifted.start(before)
    job_id = shifted.create(sample.VIDEO_OK, sample.VIDEO_480P)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_480P)
    until(lambda: waits_for_a_retry(shifted, job_id, sample.VIDEO_OK))
    shifted.set_clock(after)
    emulator.remove_fault(broken)
    emulator.remove_fault(slow)
    shifted.wait_for(job_id, "completed")
    assert shifted.cli.mp4(sample.VIDEO_OK).exists()
    assert shifted.cli.mp4(sample.VIDEO_480P).exists()
    shifted.stop()


def test_a_block_by_the_site_does_not_last_until_a_wrong_time(shifted: Shifted, emulator: EmulatorClient) -> None:
    emulator.set_kind(sample.VIDEO_OK, "bot_check")
    shifted.start(AHEAD)
    job_id = shifted.create(sample.VIDEO_OK)
    shifted.wait_for(job_id, "retrying")
    emulator.set_kind(sample.VIDEO_OK, "ok")
    shifted.set_clock(RIGHT)
    shifted.wait_for(job_id, "completed")
    shifted.stop()


def test_open_work_of_a_wrong_clock_goes_on_after_a_restart_with_the_right_one(
    shifted: Shifted, emulator: EmulatorClient
) -> None:
    emulator.set_kind(sample.VIDEO_OK, "bot_check")
    shifted.start(AHEAD)
    job_id = shifted.create(sample.VIDEO_OK)
    shifted.wait_for(job_id, "retrying")
    shifted.stop()
    emulator.set_kind(sample.VIDEO_OK, "ok")
    shifted.start(RIGHT)
    shifted.wait_for(job_id, "completed")
    shifted.stop()


def waits_for_a_retry(system: Shifted, job_id: str, video_id: str) -> bool:
    items = json.loads(system.cli("jobs", "show", job_id, "--json").out)["items"]
    return any(item["video_id"] == video_id and item["status"] == "waiting" and item["attempts"] for item in items)
