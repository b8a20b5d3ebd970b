"""Measure the cost of an event in jobs.db for a job of 100 videos and for one of 100,000.

    python tests/benchmarks/jobs_store.py [SMALL [LARGE]]

No time limit is asserted. The last column is the ratio of both: the cost per event must not depend on the size.
"""

import asyncio
import gc
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bus.message import Envelope, Event
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.registry import ServiceInfo
from services.common.domain.videos import Entry, Target, TargetKind
from services.common.models import JobOptions
from services.jobs.adapters.commits import Commit, CommitNotifier
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.registry import Registry
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.dispatcher import Dispatcher
from services.jobs.domain import state_machine
from services.jobs.domain.accounting import Out
from services.jobs.domain.scheduler import Block
from services.jobs.domain.state_machine import Accepted
from services.jobs.rest_models import ItemQuery

PAGE = 100
SAMPLES = 60
ROOT = "/archive"
NO_KEYS = JobOptions(include_captions=False)

Figures = dict[str, float]


class Bench:
    """A new jobs.db with one job. `single_videos`: the job names each video instead of a playlist."""

    def __init__(self, folder: Path, size: int, *, single_videos: bool = False) -> None:
        self.size = size
        self.store = Store(folder / "jobs.db", "jobs/bench")
        self.reader = JobReader(self.store)
        self.registry = Registry(folder / "services.json")
        self.dispatcher = Dispatcher(self.store, self.registry, (), CommitNotifier())
        self.videos = [f"v{n:010d}" for n in range(size)]
        self.single_videos = single_videos
        self.figures: Figures = {}

    async def apply(self, *events: Event) -> Commit:
        def step(rows: SqlRows, envelope: Envelope, now: datetime) -> list[Out]:
            event = kinds[envelope.id]
            if isinstance(event, e.JobCreated):
                target = Target(kind=TargetKind.PLAYLIST, id="PLx")
                if self.single_videos:
                    target = Target(kind=TargetKind.VIDEOS, video_ids=tuple(self.videos))
                return state_machine.create(rows, event, "t", Accepted((target,), ROOT, ""), now)
            return state_machine.step(rows, event, now)

        envelopes = [Envelope.around(event, source="bench/1", trace_id="t") for event in events]
        kinds = {envelope.id: event for envelope, event in zip(envelopes, events, strict=True)}
        return await self.store.apply(envelopes, step)

    async def timed(self, what: str, work: Callable[[int], Awaitable[object]], count: int = SAMPLES) -> None:
        taken = []
        for n in range(count):
            started = time.perf_counter()
            await work(n)
            taken.append(time.perf_counter() - started)
        self.figures[what] = statistics.median(taken) * 1000

    async def run(self) -> Figures:
        targets = tuple(self.videos[:20_000]) if self.single_videos else ("PLx",)
        await self.apply(e.JobCreated(job_id="j", targets=targets, options=NO_KEYS))
        keys = await self.add_pages()
        await self.timed("dispatch decision (listing)", self.decide)
        await self.apply(
            e.ListingCompleted(job_id="j", root=ROOT, target_index=0, listing=1, page_keys=keys, total=self.size)
        )
        await self.timed("dispatch decision", self.decide)
        await self.timed("claimed", self.start)
        await self.timed("archived", self.archive)
        await self.timed("a page of items (REST)", lambda n: self.reader.items("j", ItemQuery(limit=100, offset=n)))
        newest = await self.reader.find("j")
        revision = newest.revision if newest else 0
        await self.timed("changes for a subscriber", lambda n: self.reader.changed_since("j", revision - n % 10))
        await self.block_egress()
        await self.timed("dispatch decision, egress blocked", self.decide)
        self.store.close()
        return self.figures

    async def add_pages(self) -> tuple[str, ...]:
        """Apply the events of metadata and storage for all pages; measure the last ones."""
        keys = [f"1/bench/{start}" for start in range(0, self.size, PAGE)]
        times = []
        for number, key in enumerate(keys):
            page = self.videos[number * PAGE : (number + 1) * PAGE]
            entries = tuple(Entry(video_id=v, position=number * PAGE + at) for at, v in enumerate(page))
            about = {"job_id": "j", "root": ROOT, "target_index": 0, "listing": 1, "page_key": key, "entries": entries}
            held = tuple(Held(video_id=v) for v in page)
            fetched = e.ListingPageFetched.model_validate(about | {"type": "playlist_download", "options": NO_KEYS})
            checked = e.ArchiveChecked.model_validate(about | {"held": held})
            started = time.perf_counter()
            await self.apply(fetched)
            await self.apply(checked)
            times.append(time.perf_counter() - started)
        self.figures["a page of 100, listed and checked"] = statistics.median(times[-SAMPLES:]) * 1000
        return tuple(keys)

    def register_services(self) -> None:
        for name in ("download", "metadata", "storage"):
            self.registry.seen(
                ServiceInfo(
                    name=name, instance=name, url="http://x", version="1", pid=os.getpid(), slots=4, egress="e",
                    started_at=datetime.now(UTC),
                )
            )  # fmt: skip

    async def decide(self, _n: int) -> None:
        self.register_services()
        await self.store.change(self.dispatcher._decide)

    async def requested(self) -> list[e.DownloadRequested]:
        rows = await self.store.pending()
        if rows:
            self.store.published(rows[-1])
        return [e.DownloadRequested.read(r.envelope) for r in rows if r.kind is e.DownloadRequested]

    async def start(self, n: int) -> None:
        if n == 0:
            self.released = await self.requested()
        request = self.released[n % len(self.released)]
        await self.dispatcher.claim(e.DownloadClaim(instance="w", egress="e", dispatch_id=request.dispatch_id))

    async def archive(self, n: int) -> None:
        """Apply the event; when no dispatch is left, make new ones first, which is measured, too."""
        if not self.released:
            await self.decide(n)
            self.released = await self.requested()
        request = self.released.pop()
        held = Held(video_id=request.video_id, qualities=("1080p",), thumbnail=True, metadata=True)
        names = request.model_dump(include={"dispatch_id", "job_id", "video_id", "root"})
        await self.apply(e.VideoArchived(**names, directory="/x", files=(), bytes=1, held=held))

    async def block_egress(self) -> None:
        """Record a block of the only egress: all items wait."""
        until = datetime.now(UTC) + timedelta(hours=1)
        await self.store.change(lambda _rows, sql, _now: _blocked(sql, until))


def _blocked(sql: sqlite3.Connection, until: datetime) -> list[Out]:
    SqlRows(sql).set_block("e", Block(until, "bot check"))
    return []


async def measure(size: int, *, single_videos: bool = False) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), size, single_videos=single_videos)
        gc.collect()
        return await bench.run()


async def main(small: int, large: int) -> None:
    for single_videos, sizes in ((False, (small, large)), (True, (small, min(large, 20_000)))):
        few, many = [await measure(size, single_videos=single_videos) for size in sizes]
        sys.stdout.write(f"\n{'single videos' if single_videos else 'a playlist'}: ms per event, median\n")
        sys.stdout.write(f"{'':36}{sizes[0]:>10,}{sizes[1]:>10,}{'ratio':>8}\n")
        for what, cost in few.items():
            sys.stdout.write(f"{what:36}{cost:10.2f}{many[what]:10.2f}{many[what] / cost:8.1f}\n")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(numbers + [100, 100_000][len(numbers) :])))
