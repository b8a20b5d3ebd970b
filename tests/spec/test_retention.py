"""Chapter 3: retention. Jobs and logs of a stack are backdated; its next start removes what has expired."""

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
def stopped_stack(start: Any) -> dict[str, Any]:
    """Return a stopped stack with a job of each final status; the completed one has a work plan."""
    system = start()
    jobs = {
        "completed": system.run_job(sample.VIDEO_OK, sample.VIDEO_DELETED)["job"]["job_id"],
        "failed": system.run_job(sample.PLAYLIST_MISSING)["job"]["job_id"],
    }
    fault = system.emulator.add_fault("playlist_page", "delay", seconds=2)
    jobs["cancelled"] = system.create_job(sample.PLAYLIST_3)
    system.request("jobs", f"jobs/{jobs['cancelled']}/cancel", method="POST")
    system.wait_for_end(jobs["cancelled"])
    system.emulator.remove_fault(fault)
    system.stop()
    statuses = dict(system.query_jobs("SELECT status, job_id FROM jobs"))
    assert statuses == jobs
    return {"system": system, "jobs": jobs}


def backdate(system: Any, job_id: str, days: float) -> None:
    """Set the end of a job to `days` ago."""
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    with closing(sqlite3.connect(system.data / "jobs" / "jobs.db")) as db, db:
        db.execute("UPDATE jobs SET body = json_set(body, '$.finished_at', ?) WHERE job_id = ?", (at, job_id))


def preview_cleanup(system: Any) -> dict[str, Any]:
    ran = system.cli("cleanup", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    result: dict[str, Any] = json.loads(ran.out)
    return result


def log_files(system: Any, today: date) -> Iterator[tuple[int, Path]]:
    """Yield age and path of the two log files of a day, for days around the limit."""
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
def test_a_job_is_kept_for_the_retention_time_of_its_status(stopped_stack: dict[str, Any], status: str) -> None:
    system, job_id = stopped_stack["system"], stopped_stack["jobs"][status]
    backdate(system, job_id, DAYS[status] - 0.1)
    assert preview_cleanup(system)["jobs"]["jobs"] == []
    backdate(system, job_id, DAYS[status] + 0.1)
    assert [job["job_id"] for job in preview_cleanup(system)["jobs"]["jobs"]] == [job_id]
    backdate(system, job_id, 0)


@pytest.mark.claim("3.1", "3.2", "3.3", "3.4", "3.5")
def test_a_start_removes_expired_jobs_and_logs_and_keeps_work_plans(stopped_stack: dict[str, Any]) -> None:
    """The work plan of a removed job is kept whatever its age."""
    system, jobs = stopped_stack["system"], stopped_stack["jobs"]
    for status, job_id in jobs.items():
        backdate(system, job_id, DAYS[status] + 0.1)
    plan = system.data / "work_plans" / f"{jobs['completed']}.json"
    os.utime(plan, (0, 0))
    today = datetime.now(UTC).date()
    for _age, path in log_files(system, today):
        path.write_text("{}\n")
    old = {path.name for age, path in log_files(system, today) if age > LOG_DAYS}
    assert {file["name"] for file in preview_cleanup(system)["logs"]["files"]} == old
    system.child = system.cli.start("up")
    system.child.wait_for("Ready.")
    until(lambda: system.query_jobs("SELECT count(*) FROM jobs") == [(0,)])
    until(lambda: not [path for age, path in log_files(system, today) if age > LOG_DAYS and path.exists()])
    assert all(path.exists() for age, path in log_files(system, today) if age <= LOG_DAYS)
    system.urls = json.loads((system.data / "run" / "stack.json").read_text())["services"]
    result = system.request("storage", f"storage/work-plans/{plan.stem}").data
    assert [gap["video_id"] for gap in result["unavailable_videos"]] == [sample.VIDEO_DELETED]
    assert system.request("storage", f"storage/work-plans/{plan.stem}", method="DELETE").status == 200
    assert not plan.exists()
    system.stop()
