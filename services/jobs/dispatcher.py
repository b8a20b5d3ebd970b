"""The scheduler at work: releases videos to the workers, wakes timers, asks again what nobody answered."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from bus.fault_injection import fault_point
from services.common.events import DownloadClaim
from services.common.models import ClaimAnswer, ClaimVerdict, ItemStatus
from services.jobs.adapters import queries
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Change, Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain import commands, dispatches, failures, listings, scheduler
from services.jobs.domain.accounting import Out, note_timers
from services.jobs.domain.rows import FetchRow, FetchState, ItemRow, ListingRow, ListingState, Rows

_TICK = 5.0  # seconds; timers that are nearer wake it earlier
_ASK_AGAIN = 0.5  # seconds, while a cancel is under way
_UNANSWERED = timedelta(seconds=60)
_MOST_IN_STORAGE = 8  # videos, or two per slot: while the archive's disk is away or slow nothing more is fetched
_UNANSWERED_TAKE_IN = timedelta(hours=1)  # a NAS may take its time

_STALE = ClaimAnswer(verdict=ClaimVerdict.STALE)


class Dispatcher:
    """`parked` jobs are left alone: a one-shot does its own job, not what an earlier one left open."""

    def __init__(
        self, store: Store, registry: Registry, parked: Iterable[str], noted: Callable[[Change], None]
    ) -> None:
        self._store = store
        self._registry = registry
        self._noted = noted
        self._wake = asyncio.Event()
        self._served: dict[str, int] = {}  # job -> when it had its last turn
        self._turn = 0
        self._next_timer: datetime | None = None
        self._impatient = False  # a worker was asked to stop
        self._more = False  # a large job is being cancelled
        self._store_lost: datetime | None = None  # when the broker was last found without what it had stored
        self.parked = set(parked)

    def wake(self) -> None:
        self._wake.set()

    def store_lost(self) -> None:
        """What was sent until now, and the answers to it, may be gone: all that is unanswered is asked again."""
        self._store_lost = datetime.now(UTC)
        self.wake()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            self._registry.look()
            self._noted(await self._store.change(self._decide))
            if self._more:
                await asyncio.sleep(0)  # messages have their turn between two bits
                continue
            wait = _ASK_AGAIN if self._impatient else _TICK
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
        out = self._cancels(rows, sql, now)
        out += self._listings(rows, sql, now)
        out += self._unanswered(rows, sql, now)
        rows.save()  # the queries below look at the tables
        out += self._release(rows, sql, now)
        rows.save()
        self._note_timers(rows, sql, now)
        return out

    # --- videos

    def _release(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        """Fill the window: one video at a time, each for the job whose turn it is."""
        out: list[Out] = []
        fetches = [rows.fetch(video_id) for video_id in queries.busy_fetches(sql)]
        busy = sum(1 for f in fetches if f and f.state in {FetchState.DISPATCHED, FetchState.CLAIMED})
        window = scheduler.window(self._registry.live("download"), queries.load_blocks(sql), now)
        backlog = len(fetches) - busy  # in storage's hands: it lies in tmp/ until then
        for _ in range(min(window - busy, max(_MOST_IN_STORAGE, 2 * window) - backlog)):
            job_id = scheduler.next_job(queries.candidates(rows, sql, self._served, now))
            ready = queries.ready_video(sql, job_id, now) if job_id else None
            if job_id is None or ready is None:
                break
            self._turn += 1
            self._served[job_id] = self._turn
            out += dispatches.dispatch(rows, job_id, ready.video_id, now)
            rows.save()
        return out

    # --- a change of mind

    def _cancels(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        """Large jobs are cancelled bit by bit; a worker is asked again until it answers."""
        out: list[Out] = []
        self._impatient = self._more = False
        for video_id in queries.busy_fetches(sql):
            fetch = rows.fetch(video_id)
            if fetch and (asked := dispatches.cancel_requests(rows, fetch)):
                self._impatient = True
                out += asked
        for job_id in queries.open_jobs(sql):
            job = rows.job(job_id)
            if job and job.cancelling and rows.open_items(job_id, 1):
                self._more = True
                out += commands.cancel_more(rows, job, now)
        return out

    # --- what nobody answered

    def _listings(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
        out: list[Out] = []
        for listing in queries.open_listings(rows, sql):
            job = rows.job(listing.job_id)
            if job and job.job_id not in self.parked and not job.paused and self._listing_due(listing, now):
                out += listings.queue_listing(job, listing, now)
        return out

    def _listing_due(self, listing: ListingRow, now: datetime) -> bool:
        if listing.state is ListingState.TIMER:
            return listing.retry_at is None or listing.retry_at <= now
        if listing.state is ListingState.CLAIMED:
            return self._registry.gone(listing.instance) or self._lost_with_store(listing.since)
        return self._in_vain("metadata", listing.since, now) or self._orphaned("metadata", listing.since)

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
            if job is None or job.status.ended or not self._in_vain("storage", item.since, now, patience):
                continue
            if self._held_back(rows, job.job_id):
                item.since = now  # its turn comes when it goes on; meanwhile it must not stand before the others
                continue
            if item.status is ItemStatus.CLOSING:
                out.append(failures.announce_failure(job, item, now))
            else:
                lost.setdefault((item.job_id, item.target_index), []).append(item)
        for (job_id, index), items in lost.items():
            out += _ask_again(rows, job_id, index, items, now)
        return out

    def _fetch_lost(self, fetch: FetchRow, now: datetime) -> bool:
        match fetch.state:
            case FetchState.CLAIMED:
                return self._registry.gone(fetch.instance) or self._lost_with_store(fetch.since)
            case FetchState.STORING:
                return self._in_vain("storage", fetch.since, now, _UNANSWERED_TAKE_IN)
            case _:
                return self._in_vain("download", fetch.since, now) or self._orphaned("download", fetch.since)

    def _in_vain(self, name: str, since: datetime, now: datetime, limit: timedelta = _UNANSWERED) -> bool:
        """Will no answer come to what a service was asked then? While nobody is there the question waits."""
        return bool(self._registry.live(name)) and (now - since > limit or self._lost_with_store(since))

    def _orphaned(self, name: str, since: datetime) -> bool:
        """An instance died that may have had it in hand: the broker would wait for the rest of ack_wait."""
        lost = self._registry.lost(name)
        return lost is not None and lost > since and bool(self._registry.live(name))

    def _lost_with_store(self, since: datetime) -> bool:
        return self._store_lost is not None and since < self._store_lost

    # --- timers

    def _note_timers(self, rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> None:
        blocks = queries.load_blocks(sql)
        blocked = scheduler.blocked_until(self._registry.live("download"), blocks, now)
        soonest = [block.until for block in blocks.values() if block.until > now]
        open_listings = queries.open_listings(rows, sql)
        for job_id in self._served:
            job = rows.job(job_id)
            if job is None or job.status.ended:
                continue
            waiting, earliest = queries.timers(sql, job, now, blocked)
            times = [earliest] if earliest else []
            for listing in open_listings:
                if listing.job_id == job_id and listing.state is ListingState.TIMER and listing.retry_at:
                    waiting += 1
                    times.append(listing.retry_at)
            earliest = min(times, default=None)
            note_timers(job, waiting, earliest, now)
            if not job.paused:  # whose time may long have come: nothing is done about it until the job goes on
                soonest += times
        self._next_timer = min(soonest, default=None)

    # --- claims

    async def claim(self, claim: DownloadClaim) -> ClaimAnswer:
        """The answer to a worker that would begin; binds the dispatch or listing to it when that is go or probe."""
        answers: list[ClaimAnswer] = []

        def decide(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
            blocks = queries.load_blocks(sql)
            block = blocks.get(claim.egress)
            answer = self._answer(rows, sql, claim, block, now)
            if block is not None:
                queries.save_block(sql, claim.egress, block)
            answers.append(answer)
            return []

        change = await self._store.change(decide)
        fault_point("jobs.claimed")
        self._noted(change)
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
        if claim.listing is None:  # a person's look-up, which binds nothing
            return scheduler.claim_verdict(block, f"look-up/{claim.instance}", now)
        for listing in queries.open_listings(rows, sql):
            if (listing.job_id, listing.number) == (claim.job_id, claim.listing):
                return self._claim_listing(rows, listing, claim.instance, block, now)
        return _STALE

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
            dispatches.claimed(rows, fetch, claim.instance, now)
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
            listing.state, listing.retry_at = ListingState.TIMER, None  # asked again when the job goes on
            return _STALE
        answer = scheduler.claim_verdict(block, f"{listing.job_id}/{listing.number}", now)
        if answer.verdict in {ClaimVerdict.GO, ClaimVerdict.PROBE}:
            listing.state, listing.instance, listing.since = ListingState.CLAIMED, instance, now
        return answer


def _ask_again(rows: Rows, job_id: str, target_index: int, items: list[ItemRow], now: datetime) -> list[Out]:
    """Storage never answered for these: have the target listed anew, from its start, once, for its file lacks a page
    too. What the list does not name any more, and what is tried again, is asked for by itself."""
    job, listing = rows.job(job_id), rows.listing(job_id, target_index)
    if job is None or listing is None or listing.state.open:
        return []
    by_itself = [item for item in items if item.again or item.asked_again]
    out = listings.ask_archive(job, listing, by_itself, now)
    for item in items:
        item.since, item.asked_again = now, item.asked_again + 1
    if len(by_itself) < len(items) and listing.state is ListingState.LISTED:
        listing.cursor, listing.awaited = None, None
        job.listings_open += 1
        out += listings.queue_listing(job, listing, now)
    return out
