"""Chapter 3: what goes when its time is up, and what stays: what a system did, made older, and what it does then."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

DAYS = {"completed": 30, "failed": 90, "cancelled": 7}
LOG_DAYS = 30


@pytest.fixture(scope="module")
def ended(start: Any) -> dict[str, Any]:
    """A system that has stopped, with a job of each end; the completed one has a work plan."""
    system = start()
    jobs = {
        "completed": system.save(sample.VIDEO_OK, sample.VIDEO_DELETED)["job"]["job_id"],
        "failed": system.save(sample.PLAYLIST_MISSING)["job"]["job_id"],
    }
    fault = system.emulator.add_fault("playlist_page", "delay", seconds=2)
    jobs["cancelled"] = system.begin(sample.PLAYLIST_3)
    system.ask("jobs", f"jobs/{jobs['cancelled']}/cancel", method="POST")
    system.ended(jobs["cancelled"])
    system.emulator.remove_fault(fault)
    system.stop()
    statuses = dict(system.rows("SELECT status, job_id FROM jobs"))
    assert statuses == jobs
    return {"system": system, "jobs": jobs}


def aged(system: Any, job_id: str, days: float) -> None:
    """Its end lies so many days back."""
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    with closing(sqlite3.connect(system.data / "jobs" / "jobs.db")) as db, db:
        db.execute("UPDATE jobs SET body = json_set(body, '$.finished_at', ?) WHERE job_id = ?", (at, job_id))


def foreseen(system: Any) -> dict[str, Any]:
    ran = system.cli("cleanup", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    return told


def journals(system: Any, today: date) -> Iterator[tuple[int, Path]]:
    """Both of a day, for days around the limit."""
    for age in (LOG_DAYS - 1, LOG_DAYS, LOG_DAYS + 1, 400):
        for prefix in ("", "events-"):
            yield age, system.data / "logs" / f"{prefix}{today - timedelta(days=age)}.jsonl"


@pytest.mark.parametrize(
    "status",
    [
        pytest.param("completed", marks=pytest.mark.claim("3.1")),
        pytest.param("failed", marks=pytest.mark.claim("3.2")),
        pytest.param("cancelled", marks=pytest.mark.claim("3.3")),
    ],
)
def test_a_job_is_kept_so_long_and_no_longer(ended: dict[str, Any], status: str) -> None:
    system, job_id = ended["system"], ended["jobs"][status]
    aged(system, job_id, DAYS[status] - 0.1)
    assert foreseen(system)["jobs"]["jobs"] == []
    aged(system, job_id, DAYS[status] + 0.1)
    assert [job["job_id"] for job in foreseen(system)["jobs"]["jobs"]] == [job_id]
    aged(system, job_id, 0)


@pytest.mark.claim("3.1", "3.2", "3.3", "3.4", "3.5")
def test_a_start_removes_what_is_due_and_no_work_plan(ended: dict[str, Any]) -> None:
    """The plan of a job that is gone stays, however old it is; so does every file that is no journal."""
    system, jobs = ended["system"], ended["jobs"]
    for status, job_id in jobs.items():
        aged(system, job_id, DAYS[status] + 0.1)
    plan = system.data / "work_plans" / f"{jobs['completed']}.json"
    os.utime(plan, (0, 0))
    today = datetime.now(UTC).date()
    for _age, path in journals(system, today):
        path.write_text("{}\n")
    old = {path.name for age, path in journals(system, today) if age > LOG_DAYS}
    assert {file["name"] for file in foreseen(system)["logs"]["files"]} == old
    system.child = system.cli.start("up")
    system.child.wait_for("Ready.")
    until(lambda: system.rows("SELECT count(*) FROM jobs") == [(0,)])
    until(lambda: not [path for age, path in journals(system, today) if age > LOG_DAYS and path.exists()])
    assert all(path.exists() for age, path in journals(system, today) if age <= LOG_DAYS)
    system.urls = json.loads((system.data / "run" / "stack.json").read_text())["services"]
    told = system.ask("storage", f"storage/work-plans/{plan.stem}").data
    assert [gap["video_id"] for gap in told["unavailable_videos"]] == [sample.VIDEO_DELETED]
    assert system.ask("storage", f"storage/work-plans/{plan.stem}", method="DELETE").status == 200
    assert not plan.exists()
    system.stop()
