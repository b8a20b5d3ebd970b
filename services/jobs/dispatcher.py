"""The dispatcher: releases videos to the workers, acts on timers, and repeats unanswered requests."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta

from bus.fault_injection import fault_point
from services.common.domain.jobs import ItemStatus
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.events import DownloadClaim
from services.jobs.adapters import queries
from services.jobs.adapters.commits import CommitNotifier
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain import clock_set_back, commands, dispatches, failures, follows, listings, scheduler, streaks
from services.jobs.domain.accounting import Out, set_retrying, set_waiting
from services.jobs.domain.rhythm import Pace, RequestBudget
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, ListingRow, ListingState, Rows

_TICK = 5.0  # seconds between two rounds, unless a timer is nearer
_CANCEL_TICK = 0.5  # seconds, while a worker is being stopped
_UNANSWERED = timedelta(seconds=60)
_MAX_STORING = 8  # videos, or two per slot: no more are fetched while the archive's disk is unavailable or slow
_UNANSWERED_STORING = timedelta(hours=1)  # a NAS may be slow
_CLOCK_SLACK = timedelta(seconds=1)  # the clock is corrected all the time by less
_MOVED = 2000  # items that one transaction moves
_ROOM_AGAIN = timedelta(seconds=10)  # until a listing that had to wait for room is due again

_LOOKS_AT_ONCE = 2  # of each metadata service
_UNANSWERED_LOOK = timedelta(minutes=15)  # a list of 20,000 takes some
_PACE = Pace()

_STALE = ClaimAnswer(verdict=ClaimVerdict.STALE)


class Dispatcher:
    """`parked` jobs are not dispatched: a one-shot command runs only its own job, not the open ones of earlier runs.

    `held` returns why no new work may begin at present, None when it may: then nothing is dispatched, and the room in
    the event stream is left to the events of running work. `only_wanted_looks`: of follows, only those that somebody
    asks for are looked at.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        parked: Iterable[str],
        notifier: CommitNotifier,
        held: Callable[[], str | None] = lambda: None,
        *,
        pace: Pace = _PACE,
        only_wanted_looks: bool = False,
    ) -> None:
        self._budget = RequestBudget(pace.requests_per_hour)
        self._only_wanted_looks = only_wanted_looks
        self._looks_full = False  # no further look can begin before one ends
        self._held = held
        self._store = store
        self._registry = registry
        self._notifier = notifier
        self._wake = asyncio.Event()
        self._served: dict[str, int] = {}  # job -> the number of its last turn
        self._turn = 0
        self._next_timer: datetime | None = None
        self._stopping_worker = False
        self._cancelling = False  # more items of a job are to be cancelled
        self._store_lost: datetime | None = None  # when the broker was last found with another store
        self._last_round = datetime.max.replace(tzinfo=UTC)  # at the start, stored times are checked too
        self._listings_checked: tuple[datetime, frozenset[str]] | None = None  # when, and with which instances
        self._moving_times = False  # more times are to be moved, because the clock was set back
        self.parked = set(parked)

    def wake(self) -> None:
        """Start the next round now."""
        self._wake.set()

    def unpark(self, job_id: str) -> None:
        self.parked.discard(job_id)
        self._listings_checked = None

    def looked(self, follow_id: str, requests: int) -> None:
        """Note how many requests a look has sent."""
        self._budget.sent(follow_id, requests)

    def store_lost(self) -> None:
        """Repeat all unanswered requests: those sent until now, and their answers, may be lost."""
        self._store_lost = datetime.now(UTC)
        self._listings_checked = None
        self.wake()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._wake.clear()
            self._registry.forget_dead()
            self._notifier.notify(await self._store.change(self._decide))
            if self._cancelling or self._moving_times:
                await asyncio.sleep(0)  # messages get their turn between two batches
                continue
            wait = _CANCEL_TICK if self._stopping_worker else _TICK
            if self._next_timer is not None:
                wait = min(wait, max(0.05, (self._next_timer - datetime.now(UTC)).total_seconds()))
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _decide(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        running = [job_id for job_id in queries.open_jobs(sql) if job_id not in self.parked]
        self._served = {job_id: self._served.get(job_id, 0) for job_id in running}
        if self._moving_times or now < self._last_round - _CLOCK_SLACK:
            self._move_times(rows, sql, now)
        self._last_round = now
        out = self._cancels(rows, sql, now)
        held = self._held()
        if held is None:
            out += self._listings(rows, sql, now)
            out += self._unanswered(rows, sql, now)
            out += self._looks(rows, sql, now)
            rows.save()  # the queries below read the tables
            out += self._release(rows, sql, now)
        rows.save()
        self._update_timers(rows, sql, now, held)
        return out

    def _move_times(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> None:
        """Move the times that were stored before the clock was set back, in batches."""
        self._store_lost = min(self._store_lost, now) if self._store_lost else None
        self._registry.clock_set_back(now)
        fetches = [fetch for video_id in queries.busy_fetches(sql) if (fetch := rows.fetch(video_id))]
        items = queries.items_of_the_future(rows, sql, now, _MOVED)
        clock_set_back.move_times(rows, items, queries.open_listings(rows, sql), fetches, now)
        for follow_id in queries.all_follows(sql):
            if (follow := rows.follow(follow_id)) is not None:
                follows.clock_set_back(follow, now)
        rows.save()  # the queries below read the tables
        self._moving_times = len(items) == _MOVED

    # --- videos

    def _release(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        """Dispatch videos while workers are free, one at a time, each for the job whose turn it is."""
        out: list[Out] = []
        fetches = [rows.fetch(video_id) for video_id in queries.busy_fetches(sql)]
        busy = sum(1 for f in fetches if f and f.state in {FetchState.DISPATCHED, FetchState.CLAIMED})
        window = scheduler.window(self._registry.live("download"), queries.load_blocks(sql), now)
        backlog = len(fetches) - busy  # being archived by storage; in tmp/ until then
        for _ in range(min(window - busy, max(_MAX_STORING, 2 * window) - backlog)):
            job_id = scheduler.next_job(queries.candidates(rows, sql, self._served, now))
            ready = queries.ready_video(sql, job_id, now) if job_id else None
            if job_id is None or ready is None:
                break
            self._turn += 1
            self._served[job_id] = self._turn
            out += dispatches.dispatch(rows, job_id, ready.video_id, now)
            rows.save()
        return out

    # --- cancelling

    def _cancels(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        """Cancel the next batch of large jobs; repeat the request to a worker until it answers."""
        out: list[Out] = []
        self._stopping_worker = self._cancelling = False
        for video_id in queries.busy_fetches(sql):
            fetch = rows.fetch(video_id)
            if fetch and (asked := dispatches.cancel_requests(rows, fetch)):
                self._stopping_worker = True
                out += asked
        for job_id in queries.open_jobs(sql):
            job = rows.job(job_id)
            if job and job.cancelling and rows.open_items(job_id, 1):
                self._cancelling = True
                out += commands.cancel_more(rows, job, now)
        return out

    # --- unanswered requests

    def _listings(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        out: list[Out] = []
        for listing in queries.open_listings(rows, sql, self._states_to_check(now)):
            job = rows.job(listing.job_id)
            if job and job.job_id not in self.parked and not job.paused and self._listing_due(listing, now):
                out += listings.queue_listing(job, listing, now)
        return out

    def _states_to_check(self, now: datetime) -> Collection[ListingState]:
        """Return the states of listings to look at in this round. Those that a service has are looked at when instances
        have come or gone, else every 5 s: a job may have 20,000 of them, and rounds follow each other quickly."""
        instances = frozenset(info.instance for info in self._registry.everyone())
        if self._listings_checked is not None:
            at, known = self._listings_checked
            if known == instances and timedelta() <= now - at < timedelta(seconds=_TICK):
                return (ListingState.TIMER,)
        self._listings_checked = now, instances
        return queries.OPEN_LISTINGS

    def _listing_due(self, listing: ListingRow, now: datetime) -> bool:
        if listing.state is ListingState.TIMER:
            return listing.retry_at is None or listing.retry_at <= now
        if listing.state is ListingState.CLAIMED:
            return self._registry.gone(listing.instance) or self._lost_with_store(listing.since)
        return self._unanswerable("metadata", listing.since, now) or self._orphaned("metadata", listing.since)

    def _unanswered(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        out: list[Out] = []
        for video_id in queries.busy_fetches(sql):
            fetch = rows.fetch(video_id)
            if fetch and self._fetch_lost(fetch, now):
                out += dispatches.release(rows, fetch, now)
        if not self._registry.live("storage"):
            return out
        before = max(now - _UNANSWERED, self._store_lost or now - _UNANSWERED)
        lost: dict[tuple[str, int], list[ItemRow]] = {}
        for item in queries.unanswered_items(rows, sql, before):
            job = rows.job(item.job_id)
            patience = _UNANSWERED * 2 ** min(item.asked_again, 6)
            if job is None or job.status.ended or not self._unanswerable("storage", item.since, now, patience):
                continue
            if self._held_back(rows, job.job_id):
                item.since = now  # repeated when the job is resumed; until then it must not stand before the others
                continue
            if item.status is ItemStatus.CLOSING:
                out.append(failures.announce_failure(job, item, now))
            else:
                lost.setdefault((item.job_id, item.target_index), []).append(item)
        for (job_id, index), items in lost.items():
            out += _check_archive_again(rows, job_id, index, items, now)
        return out

    def _fetch_lost(self, fetch: FetchRow, now: datetime) -> bool:
        match fetch.state:
            case FetchState.CLAIMED:
                return self._registry.gone(fetch.instance) or self._lost_with_store(fetch.since)
            case FetchState.STORING:
                return self._unanswerable("storage", fetch.since, now, _UNANSWERED_STORING)
            case _:
                return self._unanswerable("download", fetch.since, now) or self._orphaned("download", fetch.since)

    def _unanswerable(self, name: str, since: datetime, now: datetime, limit: timedelta = _UNANSWERED) -> bool:
        """Return whether a request of that time will not be answered any more. While no instance of the service is
        live, the request waits in the stream."""
        return bool(self._registry.live(name)) and (now - since > limit or self._lost_with_store(since))

    def _orphaned(self, name: str, since: datetime) -> bool:
        """Return whether an instance died that may have received the request: the broker would redeliver it only after
        ack_wait."""
        lost = self._registry.lost(name)
        return lost is not None and lost > since and bool(self._registry.live(name))

    def _lost_with_store(self, since: datetime) -> bool:
        return self._store_lost is not None and since < self._store_lost

    # --- follows

    def _looks(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        """Request the looks that are due, as many as metadata does at once and the budget of requests permits; again
        those that were not answered. A look that somebody asked for does not wait for the budget."""
        out: list[Out] = []
        open_looks = queries.open_looks(sql)
        for follow_id in open_looks:
            follow = rows.follow(follow_id)
            if follow is not None and follow.looking is not None and self._look_lost(follow.looking, now):
                out += follows.look(rows, follow, now)
        free = _LOOKS_AT_ONCE * len(self._registry.live("metadata")) - len(open_looks)
        self._looks_full = free <= 0
        for follow_id in queries.due_follows(sql, now, max(0, free), only_wanted=self._only_wanted_looks):
            follow = rows.follow(follow_id)
            if follow is not None and (
                self._budget.take(follow_id, follows.expected_requests(follow, now), now) or follow.wanted
            ):
                out += follows.look(rows, follow, now)
        return out

    def _look_lost(self, since: datetime, now: datetime) -> bool:
        return self._unanswerable("metadata", since, now, _UNANSWERED_LOOK) or self._orphaned("metadata", since)

    def _next_look(self, sql: sqlite3.Connection, now: datetime) -> list[datetime]:
        """Return when a round has to look at follows again; the end of a look starts one anyway."""
        at = None if self._only_wanted_looks or self._looks_full else queries.next_follow(sql)
        return [] if at is None else [max(at, self._budget.ready_at(now))]

    # --- timers

    def _update_timers(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime, held: str | None) -> None:
        blocks = queries.load_blocks(sql)
        block = scheduler.current_block(self._registry.live("download"), blocks, now)
        blocked = block.until if block is not None else None
        waiting_for = held or (block.waiting_for() if block is not None else None)
        soonest = [block.until for block in blocks.values() if block.holds(now)] + self._next_look(sql, now)
        timed: dict[str, list[datetime]] = {}
        for listing in queries.open_listings(rows, sql, (ListingState.TIMER,)):
            if listing.retry_at is not None:
                timed.setdefault(listing.job_id, []).append(listing.retry_at)
        for job_id in self._served:
            job = rows.job(job_id)
            if job is None or job.status.ended:
                continue
            waiting, earliest = queries.timers(sql, job, now, blocked)
            times = [*([earliest] if earliest else []), *timed.get(job_id, [])]
            set_retrying(job, waiting + len(timed.get(job_id, [])), min(times, default=None), now)
            set_waiting(job, waiting_for, now)
            if not job.paused:  # its timers may be long over: they take effect when it is resumed
                soonest += times
        self._next_timer = None if held else min(soonest, default=None)  # nothing is started when one is over

    # --- claims

    async def claim(self, claim: DownloadClaim) -> ClaimAnswer:
        """Answer a worker that is about to start. With GO or PROBE the dispatch or listing is assigned to it."""
        answers: list[ClaimAnswer] = []

        def decide(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
            blocks = queries.load_blocks(sql)
            block = blocks.get(claim.egress)
            answer = self._answer(rows, sql, claim, block, now)
            if block is not None:
                rows.set_block(claim.egress, block)
            answers.append(answer)
            return []

        commit = await self._store.change(decide)
        fault_point("jobs.claimed")
        self._notifier.notify(commit)
        return answers[-1]

    def _answer(
        self,
        rows: SqlRows,
        sql: sqlite3.Connection,
        claim: DownloadClaim,
        block: scheduler.Block | None,
        now: datetime,
    ) -> ClaimAnswer:
        if claim.dispatch_id is not None:
            return self._claim_dispatch(rows, sql, claim, claim.dispatch_id, block, now)
        if claim.listing is None:  # a look-up of a user, which assigns nothing
            return _claim_by_the_way(block, f"look-up/{claim.instance}", now)
        listing = queries.open_listing(rows, sql, str(claim.job_id), claim.listing)
        return _STALE if listing is None else self._claim_listing(rows, listing, claim.instance, block, now)

    def _claim_dispatch(
        self,
        rows: SqlRows,
        sql: sqlite3.Connection,
        claim: DownloadClaim,
        dispatch_id: str,
        block: scheduler.Block | None,
        now: datetime,
    ) -> ClaimAnswer:
        found = (rows.fetch(video_id) for video_id in queries.busy_fetches(sql))
        fetch = next((row for row in found if row and row.dispatch_id == dispatch_id), None)
        if fetch is None or fetch.state is FetchState.STORING:
            return _STALE
        if fetch.state is FetchState.CLAIMED and fetch.instance != claim.instance:
            return _STALE
        if all(self._held_back(rows, item.job_id) for item in rows.waiters(fetch.video_id)):
            dispatches.release(rows, fetch, now)
            return _STALE
        answer = scheduler.claim_verdict(block, dispatch_id, now)
        if answer.verdict in {ClaimVerdict.GO, ClaimVerdict.PROBE}:
            dispatches.claimed(rows, fetch, claim.instance, now, claim.egress)
        if answer.verdict is ClaimVerdict.PROBE and block is not None and block.suspected:
            return answer.model_copy(update={"canary": streaks.next_canary(rows, block)})
        return answer

    def _held_back(self, rows: Rows, job_id: str) -> bool:
        job = rows.job(job_id)
        return job is None or job.paused or job_id in self.parked

    def _claim_listing(
        self, rows: Rows, listing: ListingRow, instance: str, block: scheduler.Block | None, now: datetime
    ) -> ClaimAnswer:
        job = rows.job(listing.job_id)
        if job is None or listing.state is ListingState.TIMER:
            return _STALE
        if listing.state is ListingState.CLAIMED and listing.instance != instance:
            return _STALE
        if self._held_back(rows, job.job_id):
            listing.state, listing.retry_at = ListingState.TIMER, None  # requested again when the job is resumed
            return _STALE
        if held := self._held():
            return ClaimAnswer(verdict=ClaimVerdict.WAIT, until=now + _ROOM_AGAIN, reason=held)
        answer = _claim_by_the_way(block, f"{listing.job_id}/{listing.number}", now)
        if answer.verdict in {ClaimVerdict.GO, ClaimVerdict.PROBE}:
            listing.state, listing.instance, listing.since = ListingState.CLAIMED, instance, now
        return answer


def _claim_by_the_way(block: scheduler.Block | None, claim: str, now: datetime) -> ClaimAnswer:
    """Decide about a claim that downloads nothing. It cannot prove that videos are served again."""
    if block is not None and block.suspected and block.until <= now:
        return ClaimAnswer(verdict=ClaimVerdict.GO)
    return scheduler.claim_verdict(block, claim, now)


def _check_archive_again(rows: Rows, job_id: str, target_index: int, items: list[ItemRow], now: datetime) -> list[Out]:
    """Repeat unanswered archive checks. The first time the target is listed again from its start, because the playlist
    file lacks a page too; items that are being retried, or are not in the list any more, are checked individually."""
    job, listing = rows.job(job_id), rows.listing(job_id, target_index)
    if job is None or listing is None or listing.state.open:
        return []
    individually = [item for item in items if item.again or item.asked_again]
    out = listings.ask_archive(job, listing, individually, now)
    for item in items:
        item.since, item.asked_again = now, item.asked_again + 1
    if len(individually) < len(items) and listing.state is ListingState.LISTED:
        listing.cursor, listing.awaited = None, None
        job.listings_open += 1
        out += listings.queue_listing(job, listing, now)
    return out
