"""The state of a followed job by its events, the messages about it, and exit codes."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from bus.message import Envelope, Event
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import Item, ItemStatus, Job, JobCounts
from services.common.domain.videos import Entry
from services.common.errors import ConfigError, ServiceUnavailable
from services.common.models import (
    ErrorCode,
    ErrorDetail,
    JobOptions,
    JobResult,
    JobStatus,
    JobType,
    Progress,
    UnavailableVideo,
)
from services.common.settings.load import Config, describe
from services.jobs.rest_models import JobList, JobSummary
from ytarchive.cli.jobs.exit_codes import Exit, exit_code, of_error, parked
from ytarchive.cli.jobs.job_state import (
    AttemptFailedMessage,
    AvailableMessage,
    BlockedMessage,
    DiskFullMessage,
    JobMessage,
    JobState,
    SavedMessage,
    UnavailableMessage,
)
from ytarchive.cli.jobs.result import ItemTotals, RunResult
from ytarchive.cli.render import events, installation, jobs, messages

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
        (job(counts=JobCounts(total=2, archived=1, unavailable=1)), Exit.INCOMPLETE),
        (job(counts=JobCounts(total=2, archived=1, failed=1)), Exit.INCOMPLETE),
        (job(error=ErrorDetail(code=ErrorCode.VIDEO_UNAVAILABLE, message="one target")), Exit.INCOMPLETE),
        (job(JobStatus.FAILED, error=ErrorDetail(code=ErrorCode.VIDEO_UNAVAILABLE, message="all")), Exit.FAILED),
        (job(JobStatus.FAILED, error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message="listing")), Exit.FAILED),
        (rejected(), Exit.REFUSED),
        (job(JobStatus.CANCELLED), Exit.FAILED),
        (job(JobStatus.RETRYING, retry_at=NOW + timedelta(hours=1)), Exit.PARKED),
    ],
)
def test_the_exit_code_of_a_job(ended: Job, code: Exit) -> None:
    assert exit_code(ended) is code


def test_a_job_is_parked_only_if_its_next_retry_is_far_away() -> None:
    assert parked(job(JobStatus.RETRYING, retry_at=NOW + timedelta(minutes=11)), NOW)
    assert not parked(job(JobStatus.RETRYING, retry_at=NOW + timedelta(minutes=9)), NOW)
    assert not parked(job(JobStatus.RUNNING, retry_at=NOW + timedelta(hours=1)), NOW)


def test_the_exit_code_of_an_error() -> None:
    assert of_error(ConfigError("x")) == 2
    assert of_error(ServiceUnavailable("x")) == 1


def envelope(event: Event, trace_id: str = "trace") -> Envelope:
    return Envelope.around(event, source="test/1", trace_id=trace_id)


def dispatch(kind: type[Event], job_id: str = "mine", **fields: Any) -> Event:
    named = {"dispatch_id": "f.1", "fetch_id": "f", "job_id": job_id, "video_id": "demo-000001", "root": "/archive"}
    return kind.model_validate({**named, **fields})


def apply(state: JobState, *events: Event) -> list[JobMessage]:
    return [message for event in events for message in state.apply(envelope(event))]


def test_the_running_downloads_follow_the_events() -> None:
    state = JobState("mine", "trace")
    checked = e.ArchiveChecked(
        job_id="mine", root="/archive", target_index=0, listing=1, page_key="k",
        entries=(Entry(video_id="demo-000001", title="One"),), held=(Held(video_id="demo-000001"),),
    )  # fmt: skip
    progress = Progress(current=50, total=100, percentage=50, message="", speed_bps=10.0, eta_seconds=5)
    failure = Failure(kind=FailureKind.PASSING, code=ErrorCode.NETWORK_TIMEOUT, reason="http_503", message="503")

    assert apply(state, checked, dispatch(e.DownloadStarted, instance="i")) == []
    assert state.running["demo-000001"].title == "One"
    assert apply(state, dispatch(e.DownloadProgress, progress=progress)) == []
    assert state.running["demo-000001"].progress == progress
    failed = apply(state, dispatch(e.DownloadFailed, failure=failure))
    assert failed == [AttemptFailedMessage("demo-000001", "One", "503")]
    assert state.running == {}
    apply(state, dispatch(e.DownloadStarted, instance="i"))
    saved = dispatch(e.VideoArchived, directory="/d", files=(), bytes=7, held=Held(video_id="demo-000001"))
    assert apply(state, saved) == [SavedMessage("demo-000001", "One", 7)]
    assert state.running == {}


def test_a_download_for_another_job_belongs_to_this_job_if_it_has_the_video() -> None:
    state = JobState("mine", "trace")
    started = envelope(dispatch(e.DownloadStarted, "theirs", instance="i"), "their trace")

    assert not state.is_of_job(started)
    state.titles["demo-000001"] = None
    assert state.is_of_job(started)


def test_repeated_blocks_of_the_site_are_shown_once() -> None:
    state = JobState("mine", "trace")
    blocked = e.SourceBlocked(egress="vm", reason="bot_check", until=NOW)

    assert apply(state, blocked, blocked) == [BlockedMessage("bot_check", NOW)]
    assert apply(state, e.SourceCleared(egress="vm"), e.SourceCleared(egress="vm")) == [AvailableMessage()]


def test_a_full_disk_is_shown_once_and_again_after_a_started_download() -> None:
    state = JobState("mine", "trace")
    full = Failure(kind=FailureKind.LOCAL, code=ErrorCode.STORAGE_FULL, reason="disk_full", message="no room")
    deferred = dispatch(e.DownloadDeferred, reason="disk_full", failure=full)
    shutdown = dispatch(e.DownloadDeferred, reason="shutdown")

    assert apply(state, shutdown, deferred, deferred) == [DiskFullMessage("no room")]
    assert apply(state, dispatch(e.DownloadStarted, instance="i"), deferred) == [DiskFullMessage("no room")]
    assert "The disk is full: no room" in printed(messages.message_line(DiskFullMessage("no room"), NOW))


def test_an_older_revision_of_the_job_is_ignored() -> None:
    state = JobState("mine", "trace")
    state.update_job(job(revision=5))
    state.update_job(job(revision=4, title="old"))

    assert state.job is not None and state.job.title is None


def test_a_snapshot_ends_downloads_whose_end_was_missed() -> None:
    state = JobState("mine", "trace")
    apply(state, dispatch(e.DownloadStarted, instance="i"))

    state.apply_snapshot(
        job(JobStatus.RUNNING), [item(ItemStatus.ARCHIVED), item(ItemStatus.RUNNING, "demo-000002")], {}
    )

    assert set(state.running) == {"demo-000002"}


def test_an_unavailable_video_gives_a_message() -> None:
    gone = UnavailableVideo(video_id="demo-000001", title="One", reason="private", detected_at=NOW)
    failed = e.VideoFailed(
        job_id="mine", video_id="demo-000001", root="/archive", number=1, type=JobType.VIDEO_DOWNLOAD,
        options=JobOptions(), targets=("x",), unavailable=gone,
    )  # fmt: skip

    assert apply(JobState("mine", "trace"), failed) == [UnavailableMessage("demo-000001", "One", "private")]


@pytest.mark.parametrize(
    "message",
    [
        SavedMessage("v", HOSTILE, 5),
        UnavailableMessage("v", HOSTILE, "private"),
        AttemptFailedMessage("v", HOSTILE, HOSTILE),
    ],
)
def test_messages_contain_no_control_characters_and_no_markup(message: JobMessage) -> None:
    text = printed(messages.message_line(message, NOW))

    assert SHOWN in text
    assert "\x1b" not in text and "\u202e" not in text
    assert text.count("\n") == 1


def test_the_progress_line_of_a_job() -> None:
    state = JobState("mine", "trace", titles={str(n): None for n in range(300)})
    state.update_job(job(JobStatus.RUNNING, listed=False, counts=JobCounts(total=200, open=200)))
    assert messages.job_line(state) == "listing… 300 so far, 0 done"

    state.update_job(job(JobStatus.RUNNING, counts=JobCounts(total=12, open=4, archived=5, skipped=2, unavailable=1)))
    assert messages.job_line(state) == "8 of 12 done, 2 already archived, 1 failure"


def test_the_summary_lists_every_failure_with_its_reason() -> None:
    totals = ItemTotals()
    totals.add(
        [
            item(ItemStatus.ARCHIVED, result=JobResult(video_id="v", status="success", file_size=2048)),
            item(ItemStatus.UNAVAILABLE, "gone-000001", reason="region_blocked"),
            item(ItemStatus.FAILED, "fail-000001", message="HTTP 503", attempts=3),
        ]
    )
    counts = JobCounts(total=3, archived=1, unavailable=1, failed=1)
    result = RunResult(Exit.INCOMPLETE, job(counts=counts, work_plan="/plans/x.json"), 4.2, totals)

    text = printed(*messages.summary(result, NOW))

    assert "Done, with failures: 1 saved, 0 already archived, 1 unavailable, 1 failed, 2.0 KiB in 4.2 s" in text
    assert f"gone-000001  region blocked  {SHOWN}" in text
    assert f"fail-000001  HTTP 503 (3 attempts)  {SHOWN}" in text
    assert "Work plan: /plans/x.json" in text
    assert "\x1b" not in text
    assert result.as_json()["failed"][0]["attempts"] == 3


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (JobCounts(total=2, unavailable=1, failed=1), "Nothing was saved: 0 saved"),
        (JobCounts(total=2, skipped=1, failed=1), "Done, with failures: 0 saved, 1 already archived"),
    ],
)
def test_the_summary_of_a_job_that_saved_nothing_says_so(counts: JobCounts, expected: str) -> None:
    ended = job(JobStatus.COMPLETED, counts=counts)
    assert exit_code(ended) is Exit.INCOMPLETE
    assert expected in printed(*messages.summary(RunResult(exit_code(ended), ended, 1.0), NOW))


@pytest.mark.parametrize(
    ("exit", "attached", "expected"),
    [
        (Exit.INTERRUPTED, False, "Run the same command again to continue"),
        (Exit.INTERRUPTED, True, "The running stack continues the job"),
        (Exit.PARKED, False, "Run the same command again then."),
        (Exit.PARKED, True, "The running stack continues it."),
    ],
)
def test_the_summary_explains_how_to_continue(exit: Exit, attached: bool, expected: str) -> None:
    open_job = job(JobStatus.RETRYING, retry_at=NOW + timedelta(hours=1))
    assert expected in printed(*messages.summary(RunResult(exit, open_job, 1.0, attached=attached), NOW))


def test_tables_contain_no_control_characters() -> None:
    shown = printed(
        jobs.jobs_table(JobList(jobs=[job(title=HOSTILE)], total=1, limit=50, offset=0), NOW),
        jobs.job_summary(
            JobSummary(job=job(title=HOSTILE, targets=[HOSTILE]), items=[item(ItemStatus.FAILED, message=HOSTILE)]), NOW
        ),
        installation.health_table({"jobs": HOSTILE}),
        events.envelope_line(envelope(e.SourceBlocked(egress=HOSTILE, reason=HOSTILE, until=NOW))),
    )

    assert SHOWN in shown
    assert "\x1b" not in shown and "\u202e" not in shown


def test_videos_that_a_summary_leaves_out_are_counted_and_the_command_that_lists_them_is_named() -> None:
    counts = JobCounts(total=20_000, open=18_999, archived=1_000, failed=1)
    summary = JobSummary(job=job(counts=counts), items=[item(ItemStatus.FAILED)], left_out=19_999)
    shown = " ".join(printed(jobs.job_summary(summary, NOW)).split())
    assert "1,000 archived, 1 failed, 18,999 open" in shown
    assert "19999 more videos: `ytarchive jobs show 11111111-2222 --all`." in shown
    assert "--all" not in printed(jobs.job_summary(JobSummary(job=job(counts=counts), items=[]), NOW))


def test_the_config_table_shows_the_origins_of_the_values(config: Config) -> None:
    shown = printed(installation.config_table(describe(config)))

    assert "YTARCHIVE_STORAGE__BASE_PATH" in shown
    assert "youtube.sleep_interval" in shown and "default" in shown


def test_why_a_job_waits_is_shown_wherever_it_is_shown() -> None:
    why = "Video after video fails. " + "what to do " * 40
    waiting = job(JobStatus.RETRYING, waiting_for=f"{why} THE END", retry_at=NOW + timedelta(hours=1))
    parked_run = RunResult(Exit.PARKED, waiting, 1.0)
    blocked = BlockedMessage("same_failure", NOW + timedelta(minutes=5), why)
    state = JobState("11111111-2222", "trace", job=waiting)
    assert "THE END" in printed(jobs.job_summary(JobSummary(job=waiting, items=[]), NOW)).replace("\n", " ")
    assert "THE END" in messages.job_line(state)
    assert "THE END" in printed(*messages.summary(parked_run, NOW))
    line = printed(messages.message_line(blocked, NOW))
    assert "Video after video fails." in line and "The next attempt is at" in line
    bare = printed(messages.message_line(BlockedMessage("bot_check", NOW), NOW))
    assert "YouTube blocks this machine (bot check)." in bare


def test_what_a_look_found_is_shown() -> None:
    state = JobState("mine", "trace", titles={"demo-000001": "One"})
    apply(state, dispatch(e.DownloadStarted, instance="i"))
    looked = dispatch(e.DownloadLooked, resolution=720, longer=True, captions=("en",))
    (offered,) = apply(state, looked)
    text = printed(messages.message_line(offered, NOW))
    assert "One (demo-000001): 720p, a longer recording, captions en are offered now: fetching" in text
    (offered,) = apply(state, dispatch(e.DownloadLooked, captions=("en",)))
    assert "captions en is offered now: fetching" in printed(messages.message_line(offered, NOW))

    held = Held(video_id="demo-000001", next_look=NOW + timedelta(days=7))
    nothing = dispatch(e.VideoArchived, directory="/d", files=(), bytes=7, held=held, better=False)
    (found,) = apply(state, nothing)
    assert state.running == {}
    line = printed(messages.message_line(found, NOW))
    assert "One (demo-000001): nothing better yet; next look at 20" in line
    last = nothing.model_copy(update={"held": held.model_copy(update={"next_look": None})})
    assert "nothing better yet; no further look" in printed(messages.message_line(apply(state, last)[0], NOW))


def test_a_look_that_failed_says_that_nothing_changes() -> None:
    state = JobState("mine", "trace")
    failed = e.LookFailed(
        job_id="mine", video_id="demo-000001", root="/a", dispatch_id="d", reason="private", message="Private video"
    )
    (shown,) = apply(state, failed)
    assert "demo-000001: the archive keeps what it has: Private video" in printed(messages.message_line(shown, NOW))
