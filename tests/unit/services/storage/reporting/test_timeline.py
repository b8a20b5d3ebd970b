"""The timeline of a video, from its manifest and the work plans."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.domain.archive import FileRole, Provenance, Revisit, RevisitReason
from services.common.domain.videos import VideoMetadata
from services.common.models import JobOptions, JobType
from services.storage.formats.manifest import Manifest, ManifestEntry, PastLook, TakeIn
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import Observation, UnavailableEntry
from services.storage.reporting.timeline import (
    TimelineEvent,
    TimelineEventKind,
    look_events,
    sort_events,
    take_in_events,
    work_plan_events,
)
from ytarchive.cli.render.history import describe

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
VIDEO = "aaaaaaaaaaa"


def finding(reason: str, since: int, last: int, resolved: int | None = None) -> Observation:
    """Return a finding; all times in days."""
    resolved_at = None if resolved is None else AT + resolved * DAY
    return Observation(reason=reason, since=AT + since * DAY, last=AT + last * DAY, resolved_at=resolved_at)


def plan(name: str, *findings: Observation, root: str = "/a") -> WorkPlan:
    entry = UnavailableEntry(
        video_id=VIDEO, reason=findings[-1].reason, detected_at=findings[-1].last, findings=list(findings)
    )
    return WorkPlan(
        plan_id=name, job_id=name, trace_id="t", root=root, type=JobType.VIDEO_DOWNLOAD, options=JobOptions(),
        targets=[], created_at=AT, updated_at=AT, unavailable_videos=[entry],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([plan("p", finding("private", 0, 9))], ["0 found_gone private until 9"]),
        (
            [plan("p", finding("failed", 0, 0), finding("private", 1, 1), finding("deleted", 2, 3, 4))],
            ["0 failed failed until 0", "1 found_gone private until 1", "2 found_gone deleted until 3", "4 came_back"],
        ),
        ([plan("p", finding("failed", 0, 2, 3))], ["0 failed failed until 2", "3 resolved"]),
        # several plans with the same findings
        (
            [plan(f"p{n}", finding("private", n // 7 * 7, n // 7 * 7, 20)) for n in range(15)],
            ["0 found_gone private until 14", "20 came_back"],
        ),
        # gone, back and gone again
        (
            [plan("p", finding("private", 0, 1, 2), finding("private", 5, 5))],
            ["0 found_gone private until 1", "2 came_back", "5 found_gone private until 5"],
        ),
        # each root has its own events
        (
            [plan("p", finding("private", 0, 0, 2)), plan("q", finding("private", 1, 1), root="/b")],
            ["0 found_gone private until 0", "1 found_gone private until 1", "2 came_back"],
        ),
    ],
)
def test_timeline_events_of_work_plans(plans: list[WorkPlan], expected: list[str]) -> None:
    lines = sort_events(work_plan_events(plans, VIDEO))
    days = [(line.at - AT).days for line in lines]
    texts = [
        f"{line.change} {line.reason} until {(line.last - AT).days}" if line.last else line.change for line in lines
    ]
    assert [f"{day} {text}" for day, text in zip(days, texts, strict=True)] == expected


def test_timeline_events_of_a_manifest() -> None:
    provenance = Provenance(source_url="u", started_at=AT, finished_at=AT)
    deliveries = [("v.mp4", "thumb.jpg"), ("captions/de.vtt",), ("v.mp4",)]
    take_ins = tuple(
        TakeIn(dispatch_id=f"d{n}", archived_at=AT + n * DAY, files=names, provenance=provenance)
        for n, names in enumerate(deliveries)
    )
    manifest = Manifest(
        video_id=VIDEO, fixity={}, metadata=VideoMetadata(video_id=VIDEO, title="T"), provenance=provenance,
        archived_at=AT, updated_at=AT, take_ins=take_ins,
    )  # fmt: skip
    assert [(line.change, line.files) for line in take_in_events(manifest, "/a")] == [
        (TimelineEventKind.ARCHIVED, ["thumb.jpg", "v.mp4"]),
        (TimelineEventKind.ADDED, ["captions/de.vtt"]),
        (TimelineEventKind.REPLACED, ["v.mp4"]),
    ]


@pytest.mark.parametrize("kind", ["video", "playlist"])
def test_every_kind_of_event_has_a_description_without_control_characters(kind: str) -> None:
    of_playlists = {"first_look", "appeared", "vanished", "private", "deleted", "came_back", "retitled"}
    of_videos = {*TimelineEventKind} - of_playlists | {"came_back", "retitled"}
    for change in TimelineEventKind:
        line = TimelineEvent(
            at=AT, change=change, root="/a", video_id=VIDEO, title="\x1b[31mred", before="b", reason="private"
        )
        descriptions: list[Any] = []
        if change in of_playlists:
            descriptions.append(describe(line.model_copy(update={"playlist_id": "PL1"}), of_video=kind == "video"))
        if change in of_videos:
            descriptions.append(describe(line, of_video=kind == "video"))
        assert descriptions
        assert all(text and "\x1b" not in text for text in descriptions)


def looked_at(*, looks: tuple[PastLook, ...] = (), looked: datetime | None = None) -> Manifest:
    """A video in 360p that was replaced by one in 720p after a day."""
    told = Provenance(source_url="u", started_at=AT, finished_at=AT, width=640, height=360)
    better = told.model_copy(update={"width": 1280, "height": 720})
    entry = ManifestEntry(role=FileRole.VIDEO, size=1, sha256="1" * 64, dispatch_id="d1", archived_at=AT)
    return Manifest(
        video_id=VIDEO, fixity={"v.mp4": entry}, metadata=VideoMetadata(video_id=VIDEO, title="T"), provenance=better,
        archived_at=AT, updated_at=AT, looks=looks,
        revisit=Revisit(reasons=(RevisitReason.LOWER,), since=AT, looked_at=looked),
        take_ins=tuple(
            TakeIn(dispatch_id=f"d{n}", archived_at=AT + n * DAY, files=("v.mp4",), provenance=one)
            for n, one in enumerate((told, better))
        ),
    )  # fmt: skip


def test_a_replacement_tells_what_is_better() -> None:
    first, second = take_in_events(looked_at(), "/a")
    assert (first.reason, second.reason) == (None, "720p instead of 360p")
    assert describe(second, of_video=True) == "replaced: v.mp4 (720p instead of 360p)"


@pytest.mark.parametrize(("after", "given_up"), [((DAY,), True), ((DAY, 60 * DAY), False), ((), False)])
def test_looks_and_the_end_of_looks_are_events(after: tuple[timedelta, ...], given_up: bool) -> None:
    last = AT + 2 * DAY
    manifest = looked_at(looks=(PastLook(first=AT + DAY, last=last, number=3, outcome="nothing better"),), looked=last)
    looked, *rest = look_events(manifest, after, last, "/a")
    assert (looked.change, looked.at, looked.last, looked.looks) == (TimelineEventKind.LOOKED, AT + DAY, last, 3)
    assert describe(looked, of_video=True).startswith("looked at again 3 times, until 2026-05-03 ")
    assert [(line.change, line.at) for line in rest] == ([(TimelineEventKind.GIVEN_UP, last)] if given_up else [])
