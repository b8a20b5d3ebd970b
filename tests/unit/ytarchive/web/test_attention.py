"""What needs a person, from the answers of the services."""

from datetime import UTC, datetime

import pytest

from services.common.domain.follows import Follow
from services.common.domain.jobs import Job
from services.common.models import (
    ErrorCode,
    ErrorDetail,
    HealthCheck,
    HealthStatus,
    JobOptions,
    JobStatus,
    JobType,
    Progress,
)
from ytarchive.web.attention import failing_needs, health_needs, login_expired_at, waiting_needs

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def check(*, space: bool = True, **metrics: object) -> HealthCheck:
    status = HealthStatus.HEALTHY if space else HealthStatus.UNHEALTHY
    checks = {"http_responsive": True, "disk_space_available": space}
    return HealthCheck(
        service="download", status=status, version="1", uptime_seconds=1, checks=checks, metrics=dict(metrics)
    )


def test_a_healthy_service_needs_nobody() -> None:
    assert list(health_needs("download", check(blocked_until=None), [])) == []


def test_a_full_disk_a_block_and_an_error_each_need_somebody() -> None:
    found = list(health_needs("download", check(space=False, blocked_until=NOW.isoformat()), ["The root is away."]))
    assert [(need.kind, need.until) for need in found] == [("service", None), ("disk", None), ("blocked", NOW)]
    assert found[0].text == "The root is away."


def test_a_service_that_is_away_is_named_with_the_reason() -> None:
    (need,) = health_needs("jobs", None, ["connection refused"])
    assert (need.title, need.text, need.urgent) == ("The jobs service is away", "connection refused", True)


def job(job_id: str, waiting_for: str | None, *, paused: bool = False) -> Job:
    return Job(
        job_id=job_id, trace_id="t", type=JobType.VIDEO_DOWNLOAD, status=JobStatus.RETRYING, targets=["x"],
        options=JobOptions(), root="/archive", progress=Progress(current=0, total=1, percentage=0, message=""),
        created_at=NOW, updated_at=NOW, waiting_for=waiting_for, paused=paused,
    )  # fmt: skip


def test_each_reason_for_which_jobs_wait_is_told_once() -> None:
    jobs = [job("a", "Blocked."), job("b", "Blocked."), job("c", "Full."), job("d", None), job("e", "x", paused=True)]
    found = [(need.title, need.text, need.path) for need in waiting_needs(jobs)]
    assert found == [("2 jobs wait", "Blocked.", "/activity"), ("A job waits", "Full.", "/j/c")]


def follow(number: int, failures: int, *, paused: bool = False) -> Follow:
    error = ErrorDetail(code=ErrorCode.VIDEO_UNAVAILABLE, message="There is no such channel.")
    return Follow(
        follow_id=f"{number:012x}", target=f"@Channel{number}", type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(),
        root="/archive", failures=failures, error=error if failures else None, paused=paused, created_at=NOW,
    )  # fmt: skip


def test_a_follow_whose_looks_fail_needs_somebody() -> None:
    assert list(failing_needs([follow(1, 0), follow(2, 2), follow(3, 9, paused=True)])) == []
    (need,) = failing_needs([follow(1, 0), follow(2, 3)])
    assert (need.title, need.path) == ("@Channel2 cannot be looked at", "/follow/000000000002")
    assert need.text == "3 looks failed, one after the other. There is no such channel."
    (need,) = failing_needs([follow(number, 3) for number in range(5)])
    assert (need.title, need.path) == ("5 follows cannot be looked at", "/follow")
    assert need.text.startswith("@Channel0, @Channel1, @Channel2 and 2 more: ")


def cookie(name: str, expires: int, domain: str = ".youtube.com") -> str:
    return "\t".join([f"#HttpOnly_{domain}", "TRUE", "/", "TRUE", str(expires), name, "secret"])


PAST, FUTURE = 1_700_000_000, 2_000_000_000


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([cookie("PREF", PAST)], None),
        ([cookie("SAPISID", PAST), cookie("LOGIN_INFO", PAST - 9)], PAST),
        ([cookie("SAPISID", PAST), cookie("LOGIN_INFO", FUTURE)], None),
        ([cookie("SAPISID", 0)], None),
        ([cookie("SAPISID", PAST, domain=".example.org")], None),
        (["# Netscape HTTP Cookie File", "no cookie"], None),
    ],
)
def test_a_login_has_expired_when_its_last_cookie_has(lines: list[str], expected: int | None) -> None:
    found = login_expired_at("\n".join(lines), NOW)
    assert found == (None if expected is None else datetime.fromtimestamp(expected, UTC))
