"""The output of `storage verify`."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from services.storage.fixity.report import VerificationPage, VerificationState, progress_of
from services.storage.fixity.repository import Verification, VerificationStatus, read_speed
from services.storage.fixity.rules import FindingKind, FixityFinding
from ytarchive.cli.render.verification import VerificationProgress, report, state_line

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def verification(**changes: Any) -> Verification:
    fields = {
        "verification_id": "v1",
        "trace_id": "t1",
        "asked": True,
        "repair": True,
        "roots": ["/archive"],
        "status": VerificationStatus.COMPLETED,
        "begun_at": AT,
        "ended_at": AT + timedelta(seconds=125),
        "videos": 3,
        "videos_total": 3,
        "files": 9,
        "bytes": 3 * 1024**2,
        "bytes_total": 3 * 1024**2,
        **changes,
    }
    return Verification.model_validate(fields)


def page(*findings: FixityFinding, jobs: tuple[str, ...] = (), **changes: Any) -> VerificationPage:
    damaged = sum(one.kind.damage for one in findings)
    known = verification(damaged=damaged, extra=len(findings) - damaged, **changes)
    state = VerificationState(**known.model_dump(), progress=progress_of(known), jobs=list(jobs))
    return VerificationPage(verification=state, findings=list(findings), total=len(findings), limit=50, offset=0)


def finding(name: str, kind: FindingKind, **changes: Any) -> FixityFinding:
    return FixityFinding(root="/archive", video_id="aaaaaaaaaaa", name=name, kind=kind, message="why", **changes)


def shown(of: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=400).print(of)
    return out.getvalue()


DAMAGED = finding("x.mp4", FindingKind.CHANGED, set_aside="/archive/videos/.damaged/x.mp4", job_id="job-12345")
EXTRA = finding("notes\x1b[31m.txt", FindingKind.EXTRA)


@pytest.mark.parametrize(
    ("verified", "running", "expected", "unexpected"),
    [
        (page(), True, ["3 videos, 9 files, 3.0 MiB read in 2:05: no damage."], ["job", "Nothing was changed"]),
        (
            page(DAMAGED, jobs=("job-12345",)),
            True,
            ["1 file damaged.", "`ytarchive jobs watch job-12345`", "/archive/videos/.damaged/x.mp4"],
            ["Nothing was changed", "manual action"],
        ),
        (page(EXTRA), True, ["no damage, 1 extra file.", "only reported", "notes␛[31m.txt"], ["damaged"]),
        (page(finding("x.mp4", FindingKind.MISSING)), False, ["To repair, start `ytarchive up`"], ["--no-repair"]),
        (page(finding("x.mp4", FindingKind.MISSING), repair=False), True, ["Without --no-repair"], ["ytarchive up"]),
        (
            page(DAMAGED, finding("y.json", FindingKind.UNREADABLE), jobs=("job-12345",)),
            True,
            ["2 files damaged.", "need manual action"],
            [],
        ),
        (page(status=VerificationStatus.FAILED, error="no disk"), True, ["it failed before its end (no disk)."], []),
        (page(error="Left out: x"), False, ["Left out: x"], []),
    ],
)
def test_the_report_of_an_ended_verification(
    verified: VerificationPage, running: bool, expected: list[str], unexpected: list[str]
) -> None:
    text = shown(report(verified, running=running))
    assert [part for part in expected if part not in text] == []
    assert [part for part in unexpected if part in text] == []


def test_the_report_without_any_verification() -> None:
    none = VerificationPage(verification=None, findings=[], total=0, limit=50, offset=0)
    assert "No verification yet" in shown(report(none, running=True))


def running_state() -> VerificationState:
    known = verification(status=VerificationStatus.RUNNING, ended_at=None, videos=1, damaged=1)
    speed = read_speed(1024**2, 2.0, 1024**2, known.bytes_total, "aaaaaaaaaaa")
    return VerificationState(**known.model_dump(), progress=progress_of(known, speed))


def test_the_progress_line_of_a_running_verification() -> None:
    line = "1 of 3 videos  1.0 MiB of 3.0 MiB  512.0 KiB/s  4.0 s left  1 file damaged"
    assert state_line(running_state()) == line
    assert running_state().progress.percentage == 33.3


def test_progress_is_shown_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True)
    with VerificationProgress(console) as progress:
        progress.show(running_state())
    assert "512.0 KiB/s" in out.getvalue()


def test_the_progress_of_an_empty_archive() -> None:
    assert progress_of(verification(bytes=0, bytes_total=0)).percentage == 100.0
    assert progress_of(verification(bytes=0, bytes_total=0, ended_at=None)).percentage == 0.0
