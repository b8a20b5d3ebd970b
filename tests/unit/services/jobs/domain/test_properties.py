"""Property tests: reordered, delayed and repeated events lead every job to the same end state.

The state machine runs on real rows (SQLite in memory, one transaction per step). Metadata, storage and the workers are
simulated: a script fixes their results, hypothesis chooses when the messages arrive.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.message import Event
from services.common import events as e
from services.common.domain.archive import Held, KnownGone, Provenance, Revisit, RevisitReason
from services.common.domain.failures import Failure, FailureKind
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Entry, Target, TargetKind, VideoMetadata
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobStatus
from services.jobs.adapters import queries
from services.jobs.adapters.schema import SCHEMA
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain import commands, dispatches, failures, listings, state_machine
from services.jobs.domain.accounting import Out, set_retrying
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, JobRow, ListingState
from services.jobs.domain.state_machine import Accepted

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROOT = "/archive"
PAGE = 2  # entries per page
MAX_ROUNDS = 400  # a job that is still open after these is stuck


class VideoOutcome(StrEnum):
    """The outcome of a video, the same for all jobs and attempts."""

    HELD = "held"
    KNOWN_GONE = "known gone"
    SAVED = "saved"
    THIRD_TIME = "saved at the third attempt"
    GONE = "gone"
    NEVER = "never"
    NOT_STORED = "downloaded, but never stored"
    LOOKED = "held, and nothing better at a look"
    BETTER = "held, and something better at a look"
    LOOKED_GONE = "held, and gone at a look"


FINAL_STATUS = {
    VideoOutcome.HELD: ItemStatus.SKIPPED,
    VideoOutcome.KNOWN_GONE: ItemStatus.UNAVAILABLE,
    VideoOutcome.SAVED: ItemStatus.ARCHIVED,
    VideoOutcome.THIRD_TIME: ItemStatus.ARCHIVED,
    VideoOutcome.GONE: ItemStatus.UNAVAILABLE,
    VideoOutcome.NEVER: ItemStatus.FAILED,
    VideoOutcome.NOT_STORED: ItemStatus.FAILED,
    VideoOutcome.LOOKED: ItemStatus.SKIPPED,
    VideoOutcome.BETTER: ItemStatus.ARCHIVED,
    VideoOutcome.LOOKED_GONE: ItemStatus.SKIPPED,
}


class ListingOutcome(StrEnum):
    """The outcome of the listing of a target."""

    GOOD = "good"
    FLAKY = "good at the third attempt"
    NEVER = "never"
    MISSING = "missing"

    @property
    def listed(self) -> bool:
        return self in {ListingOutcome.GOOD, ListingOutcome.FLAKY}


@dataclass(frozen=True)
class Script:
    """`outcomes` by video number; `jobs`: for each job its targets, each with its listing and its video numbers."""

    outcomes: tuple[VideoOutcome, ...]
    jobs: tuple[tuple[tuple[ListingOutcome, tuple[int, ...]], ...], ...]


def video_of(number: int) -> str:
    return f"video{number:06d}"


class Simulation:
    """The jobs service, with all other services reduced to their in-flight messages."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.now = NOW
        self.sql = sqlite3.connect(":memory:", isolation_level=None)
        self.sql.row_factory = sqlite3.Row
        self.sql.executescript(SCHEMA)
        self.in_flight: list[Event] = []
        self.published: list[Event] = []  # all events that jobs published
        self.delivered: list[Event] = []  # all delivered messages
        for index, targets in enumerate(script.jobs):
            accepted = Accepted(
                tuple(Target(kind=TargetKind.PLAYLIST, id=f"PL{n}") for n in range(len(targets))), ROOT, ""
            )
            event = e.JobCreated(job_id=f"j{index}", targets=("x",), options=JobOptions(include_captions=False))
            with self.transaction() as rows:
                outs = state_machine.create(rows, event, f"trace-{index}", accepted, self.now)
            self.publish(outs)

    def close(self) -> None:
        self.sql.close()

    @contextmanager
    def transaction(self) -> Iterator[SqlRows]:
        rows = SqlRows(self.sql)
        yield rows
        rows.save()

    def publish(self, outs: Sequence[Out]) -> None:
        for event, _trace in outs:
            self.published.append(event)
            self.in_flight += self.answer(event)

    def step(self, event: Event) -> None:
        if isinstance(event, e.DownloadClaim):
            self.claim(event)
            return
        with self.transaction() as rows:
            outs = state_machine.step(rows, event, self.now)
        self.publish(outs)

    def claim(self, claim: e.DownloadClaim) -> None:
        with self.transaction() as rows:
            for video_id in queries.busy_fetches(self.sql):
                fetch = rows.fetch(video_id)
                if fetch and fetch.dispatch_id == claim.dispatch_id and fetch.state is FetchState.DISPATCHED:
                    dispatches.claimed(rows, fetch, claim.instance, self.now)

    # --- rows

    def jobs(self) -> list[JobRow]:
        rows = SqlRows(self.sql)
        return [job for n in range(len(self.script.jobs)) if (job := rows.job(f"j{n}"))]

    def items(self, job_id: str) -> list[ItemRow]:
        rows = SqlRows(self.sql)
        found = self.sql.execute("SELECT video_id FROM items WHERE job_id=? ORDER BY video_id", (job_id,)).fetchall()
        return [item for row in found if (item := rows.item(job_id, row["video_id"]))]

    def fetches(self) -> list[FetchRow]:
        rows = SqlRows(self.sql)
        found = self.sql.execute("SELECT video_id FROM fetches ORDER BY video_id").fetchall()
        return [fetch for row in found if (fetch := rows.fetch(row["video_id"]))]

    # --- the other services

    def answer(self, event: Event) -> list[Event]:
        match event:
            case e.JobQueued():
                return self.list_target(event)
            case e.ListingPageFetched():  # of a retry
                held = tuple(self.held(int(entry.video_id.removeprefix("video"))) for entry in event.entries)
                about = event.model_dump(include={"job_id", "root", "target_index", "listing", "page_key"})
                return [e.ArchiveChecked(**about, entries=event.entries, held=held)]
            case e.DownloadRequested():
                return self.work(event)
            case e.DownloadCancelRequested():
                mine = [fact for fact in self.in_flight if getattr(fact, "dispatch_id", None) == event.dispatch_id]
                if any(isinstance(fact, e.VideoArchived | e.DownloadFailed | e.StorageFailed) for fact in mine):
                    return []  # ended before the request arrived
                return [e.DownloadCancelled(**names(event))]
            case e.VideoFailed():
                return [
                    e.WorkPlanUpdated(
                        plan_id=event.job_id, job_id=event.job_id, video_ids=(event.video_id,), number=event.number,
                        path="/plan.json", unavailable=1, failed=0, resolved=0,
                    )
                ]  # fmt: skip
        return []

    def list_target(self, event: e.JobQueued) -> list[Event]:
        about = {"job_id": event.job_id, "root": ROOT, "target_index": event.target_index, "listing": event.listing}
        kind, numbers = self.script.jobs[int(event.job_id[1:])][event.target_index]
        error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="no")
        if kind is ListingOutcome.MISSING:
            return [e.ListingFailed(**about, error=error, final=True)]
        if kind is ListingOutcome.NEVER:
            return [e.ListingFailed(**about, error=error)]
        facts: list[Event] = []
        keys: list[str] = []
        for start in range(0, len(numbers), PAGE):
            key = f"{event.listing}/played/{start}"
            keys.append(key)
            page = numbers[start : start + PAGE]
            entries = tuple(Entry(video_id=video_of(n), position=start + at) for at, n in enumerate(page))
            held = tuple(self.held(n) for n in page)
            facts.append(
                e.ListingPageFetched(**about, type=event.type, options=event.options, page_key=key, entries=entries)
            )
            facts.append(e.ArchiveChecked(**about, page_key=key, entries=entries, held=held))
        listing = SqlRows(self.sql).listing(event.job_id, event.target_index)
        if kind is ListingOutcome.FLAKY and listing and listing.attempts < 2:
            return [*facts[:2], e.ListingFailed(**about, error=error)]
        return [*facts, e.ListingCompleted(**about, page_keys=tuple(keys), total=len(numbers))]

    def held(self, number: int) -> Held:
        match self.script.outcomes[number]:
            case VideoOutcome.HELD:
                return whole(video_of(number))
            case VideoOutcome.LOOKED | VideoOutcome.BETTER | VideoOutcome.LOOKED_GONE:
                return due(video_of(number))
            case VideoOutcome.KNOWN_GONE:
                return Held(video_id=video_of(number), known_gone=KnownGone(reason="copyright", at=NOW))
        return Held(video_id=video_of(number))

    def work(self, event: e.DownloadRequested) -> list[Event]:
        about = names(event)
        began = e.DownloadClaim(instance="worker", egress="", dispatch_id=event.dispatch_id)
        outcome = self.script.outcomes[int(event.video_id.removeprefix("video"))]
        passing = Failure(kind=FailureKind.PASSING, code=ErrorCode.NETWORK_TIMEOUT, reason="http_503", message="503")
        attempts = max((item.attempts for item in SqlRows(self.sql).waiters(event.video_id)), default=0)
        if outcome is VideoOutcome.NEVER or (outcome is VideoOutcome.THIRD_TIME and attempts < 2):
            return [began, e.DownloadFailed(**about, failure=passing)]
        if outcome in {VideoOutcome.GONE, VideoOutcome.LOOKED_GONE}:
            gone = Failure(kind=FailureKind.GONE, code=ErrorCode.VIDEO_UNAVAILABLE, reason="private", message="private")
            return [began, e.DownloadFailed(**about, failure=gone)]
        got = e.DownloadCompleted(
            **about, wanted=event.wanted, directory="/tmp/x.part", files=(),  # noqa: S108 - never opened
            metadata=VideoMetadata(video_id=event.video_id, title="title"),
            provenance=Provenance(source_url="https://x", started_at=NOW, finished_at=NOW),
        )  # fmt: skip
        kept = event.model_dump(include={"job_id", "video_id", "root", "dispatch_id"})
        if outcome is VideoOutcome.NOT_STORED:
            return [began, got, e.StorageFailed(**kept, failure=passing)]
        better = outcome is VideoOutcome.BETTER if event.wanted.look is not None else None
        held = whole(event.video_id) if better is not False else due(event.video_id)
        return [began, got, e.VideoArchived(**kept, directory="/x", files=(), bytes=1, held=held, better=better)]

    # --- actions; each takes a number that selects one of the possible objects

    def deliver(self, number: int) -> None:
        if self.in_flight:
            self.delivered.append(self.in_flight.pop(number % len(self.in_flight)))
            self.step(self.delivered[-1])

    def deliver_a_copy(self, number: int) -> None:
        if self.in_flight:
            self.step(self.in_flight[number % len(self.in_flight)])

    def replay(self, number: int) -> None:
        """Deliver the latest messages once more."""
        for event in self.delivered[-1 - number % 8 :]:
            self.step(event)

    def dispatch(self, number: int) -> None:
        """Dispatch a ready video of an open job."""
        open_jobs = sorted(queries.open_jobs(self.sql))
        if not open_jobs:
            return
        job_id = open_jobs[number % len(open_jobs)]
        if ready := queries.ready_video(self.sql, job_id, self.now):
            with self.transaction() as rows:
                outs = dispatches.dispatch(rows, job_id, ready.video_id, self.now)
            self.publish(outs)

    def busy(self, number: int) -> FetchRow | None:
        found = [fetch for fetch in self.fetches() if fetch.state in {FetchState.DISPATCHED, FetchState.CLAIMED}]
        return found[number % len(found)] if found else None

    def lose_worker(self, number: int) -> None:
        """Release the dispatch of a worker; its messages arrive late or, for odd numbers, never."""
        lost = self.busy(number // 2)
        if lost is None:
            return
        if number % 2:
            self.in_flight = [f for f in self.in_flight if getattr(f, "dispatch_id", None) != lost.dispatch_id]
        with self.transaction() as rows:
            fetch = rows.fetch(lost.video_id)
            outs = dispatches.release(rows, fetch, self.now) if fetch else []
        self.publish(outs)

    def defer(self, number: int) -> None:
        """Replace the outcome of a dispatch by a deferral, as a worker does that shuts down."""
        fetch = self.busy(number)
        if fetch is not None:
            self.in_flight = [f for f in self.in_flight if getattr(f, "dispatch_id", None) != fetch.dispatch_id]
            self.in_flight.append(e.DownloadDeferred(**fetch.names(), reason="shutdown"))

    def requeue_listing(self, number: int) -> None:
        with self.transaction() as rows:
            found = queries.open_listings(rows, self.sql)
            listing = found[number % len(found)] if found else None
            job = rows.job(listing.job_id) if listing else None
            outs = listings.queue_listing(job, listing, self.now) if job and listing else []
        self.publish(outs)

    def repeat_video_failed(self, number: int) -> None:
        """Publish a video.failed again that storage has not answered in time."""
        with self.transaction() as rows:
            closing = [
                i
                for i in queries.unanswered_items(rows, self.sql, self.now + timedelta(1))
                if i.status is ItemStatus.CLOSING
            ]
            item = closing[number % len(closing)] if closing else None
            job = rows.job(item.job_id) if item else None
            outs = [failures.announce_failure(job, item, self.now)] if job and item else []
        self.publish(outs)

    def pass_time(self, number: int) -> None:
        """Advance the clock: repeat cancel requests, continue cancellations, requeue due listings, update statuses."""
        self.now += timedelta(seconds=number)
        outs: list[Out] = []
        with self.transaction() as rows:
            for fetch in self.fetches():
                mine = rows.fetch(fetch.video_id)
                outs += dispatches.cancel_requests(rows, mine) if mine else []
            for job_id in queries.open_jobs(self.sql):
                job = rows.job(job_id)
                if job and job.cancelling:
                    outs += commands.cancel_more(rows, job, self.now)
            for listing in queries.open_listings(rows, self.sql):
                job = rows.job(listing.job_id)
                due = listing.retry_at is None or listing.retry_at <= self.now
                if job and listing.state is ListingState.TIMER and due:
                    outs += listings.queue_listing(job, listing, self.now)
        with self.transaction() as rows:
            timed = [listing.job_id for listing in queries.open_listings(rows, self.sql) if listing.retry_at]
            for job_id in queries.open_jobs(self.sql):
                job = rows.job(job_id)
                if job:
                    waiting, earliest = queries.timers(self.sql, job, self.now, None)
                    set_retrying(job, waiting + timed.count(job_id), earliest, self.now)
        self.publish(outs)

    def command(self, number: int) -> None:
        """Send a command of a user."""
        kinds = (e.JobCancelRequested, e.JobPauseRequested, e.JobResumeRequested, e.JobRetryRequested)
        job_id = f"j{number // 8 % len(self.script.jobs)}"
        if number % 8 == 7:
            self.step(e.JobCancelRequested(job_id=job_id, video_id=video_of(number % len(self.script.outcomes))))
        else:
            self.step(kinds[number % 4](job_id=job_id))

    def finish(self, newest_first: bool) -> None:
        """Deliver and dispatch until all jobs have ended."""
        for _ in range(MAX_ROUNDS):
            if all(job.status.ended for job in self.jobs()) and not self.in_flight:
                return
            self.deliver(-1 if newest_first else 0)
            for number in range(len(self.script.jobs)):
                self.dispatch(number)
            self.replay(3)
            if not self.in_flight:
                self.pass_time(31)
            self.check()
        raise AssertionError(f"stuck: {[(j.job_id, j.status, j.open, j.listings_open) for j in self.jobs()]}")

    # --- invariants

    def check(self) -> None:
        fetches = {fetch.video_id: fetch for fetch in self.fetches()}
        for job in self.jobs():
            items = self.items(job.job_id)
            self.check_counters(job, items)
            for item in items:
                self.check_item(item, fetches.get(item.video_id))
        requested = Counter(event.dispatch_id for event in self.published if isinstance(event, e.DownloadRequested))
        assert not requested or max(requested.values()) == 1, "a dispatch was issued twice"

    def check_counters(self, job: JobRow, items: list[ItemRow]) -> None:
        ended = (job.archived, job.skipped, job.unavailable, job.failed, job.cancelled)
        assert job.total == job.open + sum(ended) == len(items)
        kinds = Counter(item.status for item in items)
        ends = (
            ItemStatus.ARCHIVED, ItemStatus.SKIPPED, ItemStatus.UNAVAILABLE, ItemStatus.FAILED, ItemStatus.CANCELLED
        )  # fmt: skip
        assert ended == tuple(kinds[status] for status in ends)
        assert job.status.ended is (job.open == 0 and job.listings_open == 0)
        rows = SqlRows(self.sql)
        targets = [rows.listing(job.job_id, index) for index in range(job.listings)]
        assert job.listings_open == sum(listing is not None and listing.state.open for listing in targets)
        assert all(listing is not None and listing.attempts <= 3 for listing in targets)
        assert job.revision >= max((item.revision for item in items), default=0)
        assert len({item.revision for item in items}) == len(items), "two items changed with one revision"

    def check_item(self, item: ItemRow, fetch: FetchRow | None) -> None:
        assert item.attempts <= 3
        assert not item.cancelling or (fetch is not None and fetch.state is not FetchState.IDLE), (
            "no worker will confirm the cancellation"
        )
        if item.status is ItemStatus.WAITING:
            assert fetch is not None, "waiting without a fetch"
        if item.status is ItemStatus.RUNNING:
            assert fetch is not None
            assert item.dispatch_id == fetch.dispatch_id
            assert fetch.state is not FetchState.IDLE


def names(event: e.DownloadRequested | e.DownloadCancelRequested) -> dict[str, str]:
    return event.model_dump(include={"dispatch_id", "fetch_id", "job_id", "video_id", "root"})


def whole(video_id: str) -> Held:
    return Held(video_id=video_id, qualities=("1080p",), thumbnail=True, metadata=True)


def due(video_id: str) -> Held:
    revisit = Revisit(reasons=(RevisitReason.LOWER,), since=NOW)
    return whole(video_id).model_copy(update={"revisit": revisit, "next_look": NOW})


Action = Callable[[Simulation, int], None]
FACTS: tuple[Action, ...] = (
    Simulation.deliver, Simulation.deliver, Simulation.deliver, Simulation.deliver_a_copy, Simulation.replay,
    Simulation.dispatch, Simulation.dispatch, Simulation.lose_worker, Simulation.defer, Simulation.requeue_listing,
    Simulation.repeat_video_failed, Simulation.pass_time,
)  # fmt: skip
COMMANDS: tuple[Action, ...] = (*FACTS, Simulation.command, Simulation.command)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    outcomes = tuple(draw(st.lists(st.sampled_from(VideoOutcome), min_size=2, max_size=5)))
    every = tuple(range(len(outcomes)))
    numbers = st.just(every) | st.lists(st.sampled_from(every), max_size=4, unique=True).map(tuple)
    kinds = st.sampled_from(
        (ListingOutcome.GOOD, ListingOutcome.GOOD, ListingOutcome.FLAKY, ListingOutcome.NEVER, ListingOutcome.MISSING)
    )
    targets = st.lists(st.tuples(kinds, numbers), min_size=1, max_size=2).map(tuple)
    return Script(outcomes, tuple(draw(st.lists(targets, min_size=1, max_size=2))))


def moves(actions: tuple[Action, ...]) -> st.SearchStrategy[list[tuple[Action, int]]]:
    move = st.tuples(st.sampled_from(actions), st.integers(0, 40))
    return st.integers(0, 50).flatmap(
        lambda n: st.lists(move, min_size=n, max_size=n)
    )  # st.lists alone prefers short lists


quick_settings = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


@quick_settings
@given(scripts(), moves(FACTS), st.booleans())
def test_events_in_any_order_lead_to_the_same_end_state(
    script: Script, moves: list[tuple[Action, int]], newest_first: bool
) -> None:
    with closing(Simulation(script)) as simulation:
        for act, number in moves:
            act(simulation, number)
            simulation.check()
        simulation.finish(newest_first)
        for job, targets in zip(simulation.jobs(), script.jobs, strict=True):
            listed = {n for kind, numbers in targets if kind.listed for n in numbers}
            assert {i.video_id: i.status for i in simulation.items(job.job_id)} == {
                video_of(n): FINAL_STATUS[script.outcomes[n]] for n in listed
            }
            missing = not any(kind.listed for kind, _ in targets)
            assert job.status is (JobStatus.FAILED if missing else JobStatus.COMPLETED)
            ends = [
                t
                for t in simulation.published
                if isinstance(t, e.JobCompleted | e.JobFailed) and t.job_id == job.job_id
            ]
            assert len(ends) == 1
            for item in simulation.items(job.job_id):
                assert item.attempts == 3 or item.status is not ItemStatus.FAILED
        assert simulation.fetches() == []


@quick_settings
@given(scripts(), moves(COMMANDS), st.booleans())
def test_commands_at_any_time_leave_no_job_unfinished(
    script: Script, moves: list[tuple[Action, int]], newest_first: bool
) -> None:
    with closing(Simulation(script)) as simulation:
        for act, number in moves:
            act(simulation, number)
            simulation.check()
        for job in simulation.jobs():
            simulation.step(e.JobResumeRequested(job_id=job.job_id))
        simulation.finish(newest_first)
        assert simulation.fetches() == []


def test_the_worker_gets_a_cancel_request_after_the_last_of_its_jobs_is_cancelled() -> None:
    """The second job joins the running download of the first; both are cancelled, one after the other."""
    with closing(Simulation(Script((VideoOutcome.SAVED,), (((ListingOutcome.GOOD, (0,)),),) * 2))) as simulation:
        listed: dict[str, list[Event]] = {"j0": [], "j1": []}
        for fact in simulation.in_flight:
            listed[getattr(fact, "job_id", "")].append(fact)
        for fact in listed["j0"]:
            simulation.step(fact)
        simulation.dispatch(0)
        (request,) = [event for event in simulation.published if isinstance(event, e.DownloadRequested)]
        simulation.step(e.DownloadClaim(instance="worker", egress="", dispatch_id=request.dispatch_id))
        for fact in listed["j1"]:
            simulation.step(fact)
        simulation.step(e.JobCancelRequested(job_id="j0"))
        simulation.step(e.JobCancelRequested(job_id="j1"))
        cancel_requests = [event for event in simulation.published if isinstance(event, e.DownloadCancelRequested)]
        assert [event.dispatch_id for event in cancel_requests] == [request.dispatch_id]
        simulation.step(e.DownloadCancelled(**names(request)))
        assert [job.status for job in simulation.jobs()] == [JobStatus.CANCELLED] * 2
