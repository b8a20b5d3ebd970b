"""The storage service: owns the archive tree, its catalogue and the work plans."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bus import BusSettings, Handlers
from bus.fault_injection import fault_point
from services.common.errors import InvalidRequest, ServiceUnavailable, code_of
from services.common.events import DownloadCompleted, JobCreated, MetadataFetched
from services.common.infra.sqlite import Database
from services.common.service import ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.storage.archive.disk_space import Space
from services.storage.archive.locks import Locks
from services.storage.archive_store import Shelf
from services.storage.entrypoints import archive_api, verification_api
from services.storage.entrypoints import handlers as reactions
from services.storage.fixity.verifier import Verifier
from services.storage.formats.video_metadata import save_metadata, says_as_much
from services.storage.index.catalogue import Catalogue, Totals
from services.storage.index.queries import Queries, open_catalogue
from services.storage.index.scan import trees_below
from services.storage.index.search import Search
from services.storage.playlists.assembler import Listings
from services.storage.workplans.recheck_scheduler import Rechecker
from services.storage.workplans.repository import Planner

_PLANS = "work_plans"  # beside the roots in the catalogue's list of what it has read
_AWAY_FOR = 30.0  # seconds
_COUNT_EVERY = 30.0  # seconds between two counts for the metrics


class StorageService(ServiceBase):
    """Handlers reach its parts: `shelf` (files), `listings` (playlist files), `planner` (work plans), `catalogue`."""

    name: ClassVar[str] = "storage"
    handlers: ClassVar[Handlers] = reactions.handlers

    catalogue: Catalogue
    shelf: Shelf
    listings: Listings
    planner: Planner
    rechecker: Rechecker
    queries: Queries
    verifier: Verifier
    search: Search
    space: Space

    def __init__(
        self,
        config: Config,
        bus: BusSettings,
        space: Space | None = None,
        *,
        quiet: float = 300.0,
        rechecks: bool = True,
    ) -> None:
        """`space` is how a full disk is waited for; unset, as `[storage] min_free` says and for five minutes. `quiet`:
        seconds after the start in which nothing is verified that nobody asked for. `rechecks` False makes no jobs by
        itself: the one-shot is there for its own."""
        super().__init__(config, bus)
        self._quiet = quiet
        self._rechecks = rechecks
        self.space = replace(space or Space(config.storage.min_free), closing=self.closing)
        self._locks = Locks(config.storage.run_dir / "storage-locks")
        self._resources = AsyncExitStack()
        self._totals: Totals | None = None
        self._recovered = 0
        self._scanning: str | None = None

    def disk_paths(self) -> Sequence[Path]:
        storage = self.config.storage
        return (*storage.all_roots, storage.base_data_dir, storage.work_plans_dir)

    async def initialize_resources(self) -> None:
        """Open the catalogue and finish what a dead process left; a catalogue that is new knows the plans at once."""
        storage = self.config.storage
        self.catalogue = Catalogue(storage.base_data_dir / "catalogue.db", self.space)
        self._resources.callback(self.catalogue.close)
        self.shelf = Shelf(storage, self.catalogue, self._locks, self.space)
        self.listings = Listings(storage, self.catalogue, self._locks, self.space)
        self.planner = Planner(storage.work_plans_dir, self.catalogue, self._locks, self.space)
        self.verifier = Verifier(
            self.config, self.shelf, self.catalogue, self._locks, lambda: self.bus, self.closing, self._quiet
        )
        interval = timedelta(days=self.config.recheck.interval_days)
        self.rechecker = Rechecker(self.planner, storage, interval, self._say)
        self.queries = Queries(self._reader(), storage.work_plans_dir)
        self.search = Search(self._reader(), storage)
        await self._expect_mounted()
        self._recovered = await self.shelf.recover_unfinished()
        if not await self.catalogue.scanned(_PLANS):
            await self.planner.index_all()
            await self.catalogue.mark_scanned(_PLANS)
        await self.catalogue.listings.forget_old()

    def _reader(self) -> Database:
        """The catalogue over a connection of its own: who asks keeps nobody waiting that writes."""
        reader = open_catalogue(self.config.storage.base_data_dir)
        self._resources.callback(reader.close)
        return reader

    async def _expect_mounted(self) -> None:
        """Raises ServiceUnavailable."""
        for root in self.config.storage.all_roots:
            await self.shelf.expect_mounted(self.shelf.tree(root))

    async def settled(self) -> bool:
        return await self.bus.caught_up(self.handlers)

    def routes(self) -> Sequence[Route]:
        return [*archive_api.routes(self), *verification_api.routes(self)]

    async def begin_rescan(self, roots: Sequence[Path]) -> None:
        """In the background. Raises InvalidRequest while one runs, ServiceUnavailable for a root whose disk is away."""
        for root in roots:
            await self.shelf.expect_mounted(self.shelf.tree(root))
        if self._scanning is not None:
            raise InvalidRequest(f"{self._scanning} is being read already. Its end is told by `scanning` in health.")
        self._scanning = str(roots[0])
        self.spawn(partial(self._rescan_all, roots), "rescan")

    async def _rescan_all(self, roots: Sequence[Path]) -> None:
        try:
            for root in roots:
                await self.rescan(root)
            await self.planner.index_all()
        except (OSError, ServiceUnavailable) as error:
            self.logger.error("scan_failed", root=self._scanning, error_code=code_of(error), error_message=str(error))
        finally:
            self._scanning = None

    async def _say(self, event: JobCreated, trace_id: str) -> None:
        await self.bus.publish(event, trace_id=trace_id, patience=None)

    async def _store_lost(self) -> None:
        self.spawn(self.rechecker.say_again, "re-checks, again")

    async def after_start(self) -> None:
        if self._rechecks:
            self.spawn(self.rechecker.run, "re-checks")
            self.bus.on_store_lost.append(self._store_lost)
        self.spawn(self._follow_the_tree, "first scan")
        self.spawn(self._count, "totals")
        self.spawn(self.verifier.run, "verification")

    async def cleanup_resources(self) -> None:
        await self._resources.aclose()

    async def save_metadata(self, event: MetadataFetched, trace_id: str) -> Path:
        """Merge what a source says of a video into metadata/videos/. Returns the file's path."""
        tree = self.shelf.tree(event.root)
        path = tree.video_metadata(event.video_id)
        async with self._locks.hold(tree.key, event.video_id):
            await self.space.write(lambda: save_metadata(path, event, trace_id))
            fault_point("storage.metadata_written")
            await self.shelf.follow_metadata(tree, event.video_id)
        await self.catalogue.see([(event.video_id, event.metadata.title, event.fetched_at)])
        return path

    async def ensure_metadata(self, event: DownloadCompleted, trace_id: str) -> None:
        """A delivery may overtake its `metadata.fetched`; it says the same, so what is archived is described, whatever
        another source said before."""
        path = self.shelf.tree(event.root).video_metadata(event.video_id)
        told = MetadataFetched(
            job_id=event.job_id,
            root=event.root,
            video_id=event.video_id,
            source_name="yt_dlp",
            fetched_at=event.provenance.started_at,
            metadata=event.metadata,
            dispatch_id=event.dispatch_id,
        )
        if event.wanted.metadata and not await asyncio.to_thread(says_as_much, path, told):
            await self.save_metadata(told, trace_id)

    async def rescan(self, root: Path) -> None:
        """Read a root, and the archives below it, into the catalogue."""
        below = await asyncio.to_thread(lambda: list(trees_below(root)))
        for path in (root, *below):
            self._scanning = str(path)
            await self.shelf.rescan(path)
        self._scanning = None

    async def _scan_new_roots(self) -> None:
        """Answers are right before it ends, only slower: what the catalogue does not know is looked up."""
        for root in self.config.storage.all_roots:
            try:
                if await self.catalogue.scanned(str(root)):
                    await self.shelf.sweep(self.shelf.tree(root))
                else:
                    await self.rescan(root)
            except (OSError, ServiceUnavailable) as error:
                self.logger.error("scan_failed", root=str(root), error_code=code_of(error), error_message=str(error))

    async def _follow_the_tree(self) -> None:
        await self._scan_new_roots()
        self.shelf.texts_missed.set()
        while await self.shelf.texts_missed.wait():
            try:
                await self.shelf.index_missing()
            except OSError as error:
                self.logger.error("indexing_failed", error_code=code_of(error), error_message=str(error))

    async def _count(self) -> None:
        while True:
            self._totals = await self.catalogue.totals()
            await self.shelf.look_for_the_away()
            await asyncio.sleep(_COUNT_EVERY)

    def critical_errors(self) -> list[str]:
        return [*super().critical_errors(), *(one.why for one in self.shelf.away.values())]

    def lost_causes(self) -> list[str]:
        """A disk that comes back at once, an automounter's say, is none."""
        long_ago = time.monotonic() - _AWAY_FOR
        return [*super().lost_causes(), *(one.why for one in self.shelf.away.values() if one.since < long_ago)]

    def metrics(self) -> dict[str, Any]:
        totals = asdict(self._totals) if self._totals else {}
        work = {"scanning": self._scanning, "unindexed": self.shelf.unindexed}
        return {**totals, "take_ins_recovered": self._recovered, **work, **self.verifier.metrics()}
