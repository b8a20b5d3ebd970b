"""From events to a picture, from a picture to words, from the end of a job to an exit code."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from bus.message import Envelope, Event
from services.common import events as e
from services.common.errors import ConfigError, ServiceUnavailable
from services.common.models import (
    Entry,
    ErrorCode,
    ErrorDetail,
    Failure,
    FailureKind,
    Held,
    Item,
    ItemStatus,
    Job,
    JobCounts,
    JobOptions,
    JobResult,
    JobStatus,
    JobType,
    Progress,
    UnavailableVideo,
)
from services.common.settings.load import Config, describe
from ytarchive.cli.exits import Exit, exit_code, of_error, parked
from ytarchive.cli.render import messages, tables
from ytarchive.cli.running.job_state import (
    AttemptFailed,
    Blocked,
    Cleared,
    NoSpace,
    Notice,
    Picture,
    Saved,
    Unavailable,
)
from ytarchive.cli.running.result import Result, Tally

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOSTILE = "Ha\x1b[31mrm\u202e\n[bold]x[/bold]"
SHOWN = "Ha␛[31mrm [bold]x[/bold]"


def job(status: JobStatus = JobStatus.COMPLETED, **changes: Any) -> Job:
    made = Job(
        job_id="11111111-2222",
        trace_id="trace",
        type=JobType.PLAYLIST_DOWNLOAD,
        status=status,
        targets=["PLx"],
        options=JobOptions(),
        root="/archive",
        listed=True,
        progress=Progress(current=0, total=0, percentage=0, message="2 of 3 done"),
        created_at=NOW,
        updated_at=NOW,
    )
    return made.model_copy(update=changes)


def item(status: ItemStatus, video_id: str = "demo-000001", **changes: Any) -> Item:
    return Item(job_id="j", video_id=video_id, position=0, status=status, title=HOSTILE).model_copy(update=changes)


def printed(*what: RenderableType) -> str:
    out = io.StringIO()
    console = Console(file=out, markup=False, highlight=False, emoji=False, width=300, soft_wrap=True)
    for one in what:
        console.print(one)
    return out.getvalue()


def rejected() -> Job:
    error = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="no")
    return job(JobStatus.FAILED, error=error, root="")


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (job(), Exit.OK),
        (job(counts=JobCounts(total=3, archived=1, skipped=2)), Exit.OK),
        (job(counts=JobCounts(total=2, archived=1, unavailable=1)), Exit.GAPS),
        (job(counts=JobCounts(total=2, archived=1, failed=1)), Exit.GAPS),
        (job(error=ErrorDetail(code=ErrorCode.VIDEO_UNAVAILABLE, message="one target")), Exit.GAPS),
        (job(JobStatus.FAILED, error=ErrorDetail(code=ErrorCode.VIDEO_UNAVAILABLE, message="all")), Exit.FAILED),
        (job(JobStatus.FAILED, error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="listing")), Exit.FAILED),
        (rejected(), Exit.REFUSED),
        (job(JobStatus.CANCELLED), Exit.FAILED),
        (job(JobStatus.RETRYING, retry_at=NOW + timedelta(hours=1)), Exit.PARKED),
    ],
)
def test_exit_codes(ended: Job, code: Exit) -> None:
    assert exit_code(ended) is code


def test_parked_is_far_timers_only() -> None:
    assert parked(job(JobStatus.RETRYING, retry_at=NOW + timedelta(minutes=11)), NOW)
    assert not parked(job(JobStatus.RETRYING, retry_at=NOW + timedelta(minutes=9)), NOW)
    assert not parked(job(JobStatus.RUNNING, retry_at=NOW + timedelta(hours=1)), NOW)


def test_exit_codes_of_errors() -> None:
    assert of_error(ConfigError("x")) == 2
    assert of_error(ServiceUnavailable("x")) == 1


def envelope(event: Event, trace_id: str = "trace") -> Envelope:
    return Envelope.around(event, source="test/1", trace_id=trace_id)


def dispatch(kind: type[Event], job_id: str = "mine", **fields: Any) -> Event:
    named = {"dispatch_id": "f.1", "fetch_id": "f", "job_id": job_id, "video_id": "demo-000001", "root": "/archive"}
    return kind.model_validate({**named, **fields})


def heard(picture: Picture, *events: Event) -> list[Notice]:
    return [notice for event in events for notice in picture.apply(envelope(event))]


def test_the_story_of_a_download() -> None:
    picture = Picture("mine", "trace")
    checked = e.ArchiveChecked(
        job_id="mine", root="/archive", target_index=0, listing=1, page_key="k",
        entries=(Entry(video_id="demo-000001", title="One"),), held=(Held(video_id="demo-000001"),),
    )  # fmt: skip
    progress = Progress(current=50, total=100, percentage=50, message="", speed_bps=10.0, eta_seconds=5)
    failure = Failure(kind=FailureKind.PASSING, code=ErrorCode.NETWORK_TIMEOUT, reason="http_503", message="503")

    assert heard(picture, checked, dispatch(e.DownloadStarted, instance="i")) == []
    assert picture.running["demo-000001"].title == "One"
    assert heard(picture, dispatch(e.DownloadProgress, progress=progress)) == []
    assert picture.running["demo-000001"].progress == progress
    lost = heard(picture, dispatch(e.DownloadFailed, failure=failure))
    assert lost == [AttemptFailed("demo-000001", "One", "503")]
    assert picture.running == {}
    heard(picture, dispatch(e.DownloadStarted, instance="i"))
    saved = dispatch(e.VideoArchived, directory="/d", files=(), bytes=7, held=Held(video_id="demo-000001"))
    assert heard(picture, saved) == [Saved("demo-000001", "One", 7)]
    assert picture.running == {}


def test_a_video_of_ours_that_another_job_fetches_is_ours_too() -> None:
    picture = Picture("mine", "trace")
    started = envelope(dispatch(e.DownloadStarted, "theirs", instance="i"), "their trace")

    assert not picture.mine(started)
    picture.titles["demo-000001"] = None
    assert picture.mine(started)


def test_a_refusal_of_the_site_is_told_once() -> None:
    picture = Picture("mine", "trace")
    blocked = e.SourceBlocked(egress="vm", reason="bot_check", until=NOW)

    assert heard(picture, blocked, blocked) == [Blocked("bot_check", NOW)]
    assert heard(picture, e.SourceCleared(egress="vm"), e.SourceCleared(egress="vm")) == [Cleared()]


def test_a_full_disk_is_told_once_and_again_when_there_had_been_room() -> None:
    picture = Picture("mine", "trace")
    full = Failure(kind=FailureKind.LOCAL, code=ErrorCode.STORAGE_FULL, reason="disk_full", message="no room")
    deferred = dispatch(e.DownloadDeferred, reason="disk_full", failure=full)
    shutdown = dispatch(e.DownloadDeferred, reason="shutdown")

    assert heard(picture, shutdown, deferred, deferred) == [NoSpace("no room")]
    assert heard(picture, dispatch(e.DownloadStarted, instance="i"), deferred) == [NoSpace("no room")]
    assert "The disk is full: no room" in printed(messages.told(NoSpace("no room"), NOW))


def test_an_older_job_does_not_replace_a_newer_one() -> None:
    picture = Picture("mine", "trace")
    picture.see(job(revision=5))
    picture.see(job(revision=4, title="old"))

    assert picture.job is not None and picture.job.title is None


def test_a_snapshot_ends_downloads_that_were_missed() -> None:
    picture = Picture("mine", "trace")
    heard(picture, dispatch(e.DownloadStarted, instance="i"))

    picture.snapshot(job(JobStatus.RUNNING), [item(ItemStatus.ARCHIVED), item(ItemStatus.RUNNING, "demo-000002")], {})

    assert set(picture.running) == {"demo-000002"}


def test_gone_and_given_up() -> None:
    gone = UnavailableVideo(video_id="demo-000001", title="One", reason="private", detected_at=NOW)
    failed = e.VideoFailed(
        job_id="mine", video_id="demo-000001", root="/archive", number=1, type=JobType.VIDEO_DOWNLOAD,
        options=JobOptions(), targets=("x",), unavailable=gone,
    )  # fmt: skip

    assert heard(Picture("mine", "trace"), failed) == [Unavailable("demo-000001", "One", "private")]


@pytest.mark.parametrize(
    "notice",
    [Saved("v", HOSTILE, 5), Unavailable("v", HOSTILE, "private"), AttemptFailed("v", HOSTILE, HOSTILE)],
)
def test_notices_are_harmless_and_never_markup(notice: Notice) -> None:
    told = printed(messages.told(notice, NOW))

    assert SHOWN in told
    assert "\x1b" not in told and "\u202e" not in told
    assert told.count("\n") == 1


def test_the_job_in_a_line() -> None:
    picture = Picture("mine", "trace", titles={str(n): None for n in range(300)})
    picture.see(job(JobStatus.RUNNING, listed=False, counts=JobCounts(total=200, open=200)))
    assert messages.job_line(picture) == "listing… 300 so far, 0 done"

    picture.see(job(JobStatus.RUNNING, counts=JobCounts(total=12, open=4, archived=5, skipped=2, unavailable=1)))
    assert messages.job_line(picture) == "8 of 12 done, 2 already there, 1 gap"


def test_the_summary_names_every_gap_with_its_reason() -> None:
    tally = Tally()
    tally.add(
        [
            item(ItemStatus.ARCHIVED, result=JobResult(video_id="v", status="success", file_size=2048)),
            item(ItemStatus.UNAVAILABLE, "gone-000001", reason="region_blocked"),
            item(ItemStatus.FAILED, "fail-000001", message="HTTP 503", attempts=3),
        ]
    )
    counts = JobCounts(total=3, archived=1, unavailable=1, failed=1)
    result = Result(
        exit=Exit.GAPS,
        job=job(counts=counts, work_plan="/plans/x.json"),
        seconds=4.2,
        bytes=tally.bytes,
        unavailable=tuple(tally.unavailable),
        failed=tuple(tally.failed),
    )

    told = printed(*messages.summary(result, NOW))

    assert "Done, with gaps: 1 saved, 0 already there, 1 unavailable, 1 failed, 2.0 KiB in 4.2 s" in told
    assert f"gone-000001  region blocked  {SHOWN}" in told
    assert f"fail-000001  HTTP 503 (3 attempts)  {SHOWN}" in told
    assert "Work plan: /plans/x.json" in told
    assert "\x1b" not in told
    assert result.as_json()["failed"][0]["attempts"] == 3


@pytest.mark.parametrize(
    ("exit", "attached", "said"),
    [
        (Exit.INTERRUPTED, False, "run the same command again"),
        (Exit.INTERRUPTED, True, "The job goes on"),
        (Exit.PARKED, False, "Run the same command again then."),
        (Exit.PARKED, True, "The stack that runs goes on with it."),
    ],
)
def test_what_to_do_next(exit: Exit, attached: bool, said: str) -> None:
    open_job = job(JobStatus.RETRYING, retry_at=NOW + timedelta(hours=1))
    assert said in printed(*messages.summary(Result(exit, open_job, 1.0, attached=attached), NOW))


def test_tables_are_harmless() -> None:
    shown = printed(
        tables.jobs_table([job(title=HOSTILE)], 1, NOW),
        tables.job_detail(job(title=HOSTILE, targets=[HOSTILE]), [item(ItemStatus.FAILED, message=HOSTILE)], NOW),
        tables.health_table({"jobs": HOSTILE}),
        tables.envelope_line(envelope(e.SourceBlocked(egress=HOSTILE, reason=HOSTILE, until=NOW))),
    )

    assert SHOWN in shown
    assert "\x1b" not in shown and "\u202e" not in shown


def test_the_config_table_masks_and_names_origins(config: Config) -> None:
    shown = printed(tables.config_table(describe(config)))

    assert "YTARCHIVE_STORAGE__BASE_PATH" in shown
    assert "youtube.sleep_interval" in shown and "default" in shown
