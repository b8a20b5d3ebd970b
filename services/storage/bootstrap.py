"""Where the parts of the storage service meet: adapters, domain objects, handlers and routes."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from datetime import timedelta

from bus import Bus
from services.common.infra.sqlite import Database
from services.common.settings.load import Config
from services.common.web.routing import Route
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.archive_store import ArchiveStore
from services.storage.entrypoints import (
    archive_api,
    estimate_api,
    library_api,
    verification_api,
    watch_api,
    work_plan_api,
)
from services.storage.entrypoints.handlers import HANDLERS
from services.storage.fixity.ages import FixityReport
from services.storage.fixity.repairs import Repairer
from services.storage.fixity.repository import VerificationRepository
from services.storage.fixity.requests import VerificationRequests
from services.storage.fixity.verifier import Verifier
from services.storage.index.catalogue import Catalogue
from services.storage.index.damage import CatalogueDamage
from services.storage.index.facets import ArchiveFacets
from services.storage.index.fts import TextIndex
from services.storage.index.indexer import Indexer
from services.storage.index.queries import CatalogueQueries
from services.storage.index.roots import ArchiveRoots
from services.storage.index.schema import catalogue_path, open_catalogue
from services.storage.index.search import ArchiveSearch
from services.storage.playlists.assembler import PlaylistAssembler
from services.storage.playlists.page_buffer import PageBuffer
from services.storage.playlists.queries import PlaylistQueries
from services.storage.reporting.descriptions import VideoReader
from services.storage.reporting.estimate import EstimateReports
from services.storage.reporting.growth import GrowthReport
from services.storage.reporting.history import HistoryReader
from services.storage.reporting.thumbnails import SmallThumbnails
from services.storage.reporting.transcripts import TranscriptReader
from services.storage.rescan import RescanRunner, Spawn
from services.storage.revisits.scheduler import RevisitScheduler
from services.storage.watching import WatchStates
from services.storage.workplans.missing import MissingVideos
from services.storage.workplans.queries import WorkPlanQueries
from services.storage.workplans.recheck_scheduler import RecheckScheduler
from services.storage.workplans.repository import WorkPlanRepository

__all__ = ["HANDLERS", "ROUTES", "StorageParts", "bootstrap"]

ROUTES: Sequence[Route] = (
    *watch_api.ROUTES,
    *library_api.ROUTES,
    *archive_api.ROUTES,
    *work_plan_api.ROUTES,
    *estimate_api.ROUTES,
    *verification_api.ROUTES,
)


@dataclass(frozen=True)
class StorageParts:
    """All objects of a running storage service. Handlers and routes get theirs by type."""

    disk_space: DiskSpace
    damage: CatalogueDamage
    database: Database
    catalogue: Catalogue
    texts: TextIndex
    roots: ArchiveRoots
    indexer: Indexer
    archive: ArchiveStore
    pages: PageBuffer
    playlists: PlaylistAssembler
    work_plans: WorkPlanRepository
    rechecks: RecheckScheduler
    revisits: RevisitScheduler
    rescans: RescanRunner
    verifications: VerificationRepository
    verifier: Verifier
    verification_requests: VerificationRequests
    fixity_report: FixityReport
    growth_report: GrowthReport
    queries: CatalogueQueries
    search: ArchiveSearch
    library: ArchiveFacets
    playlist_queries: PlaylistQueries
    videos: VideoReader
    thumbnails: SmallThumbnails
    transcripts: TranscriptReader
    watching: WatchStates
    histories: HistoryReader
    plans: WorkPlanQueries
    missing: MissingVideos
    estimates: EstimateReports

    def all(self) -> list[object]:
        return [getattr(self, field.name) for field in fields(self)]


def bootstrap(
    config: Config,
    bus: Bus,
    disk_space: DiskSpace,
    closing: asyncio.Event,
    spawn: Spawn,
    resources: AsyncExitStack,
    *,
    quiet: float,
) -> StorageParts:
    """Build the service. What has to be closed is registered with `resources`. Raises ServiceUnavailable when a newer
    version wrote the catalogue."""
    settings = config.storage
    damage = CatalogueDamage(catalogue_path(settings.base_data_dir))
    database = open_catalogue(settings.base_data_dir, disk_space.pause, damage.note)
    resources.callback(database.close)
    locks = NamedLocks(settings.run_dir / "storage-locks")
    catalogue, texts, pages = Catalogue(database), TextIndex(database), PageBuffer(database)
    roots = ArchiveRoots(settings, catalogue)
    indexer = Indexer(catalogue, texts, roots, locks)
    delays = config.revisit.delays
    archive = ArchiveStore(settings, roots, catalogue, indexer, locks, disk_space, delays)
    recheck_after = timedelta(days=config.recheck.interval_days)
    work_plans = WorkPlanRepository(settings.work_plans_dir, catalogue, locks, disk_space, recheck_after)
    verifications = VerificationRepository(database)
    repairs = Repairer(verifications, bus)
    verifier = Verifier(config.fixity, roots, archive, verifications, repairs, locks, closing, quiet)
    resources.callback(verifier.close)
    queries = CatalogueQueries(database, settings, delays)
    videos = VideoReader(roots, queries)
    watching = WatchStates(settings.base_data_dir, queries, disk_space.pause)
    resources.callback(watching.close)
    return StorageParts(
        disk_space=disk_space,
        damage=damage,
        database=database,
        catalogue=catalogue,
        texts=texts,
        roots=roots,
        indexer=indexer,
        archive=archive,
        pages=pages,
        playlists=PlaylistAssembler(settings, pages, locks, disk_space),
        work_plans=work_plans,
        rechecks=RecheckScheduler(work_plans, settings, recheck_after, bus),
        revisits=RevisitScheduler(queries, roots, delays, bus),
        rescans=RescanRunner(roots, indexer, work_plans, database, damage, spawn),
        verifications=verifications,
        verifier=verifier,
        verification_requests=VerificationRequests(verifier, verifications),
        fixity_report=FixityReport(database, verifications, config.fixity.interval_days),
        growth_report=GrowthReport(database, roots, settings.min_free),
        queries=queries,
        search=ArchiveSearch(database, settings),
        library=ArchiveFacets(database, queries),
        playlist_queries=PlaylistQueries(database, settings),
        videos=videos,
        thumbnails=SmallThumbnails(videos, queries, settings.base_data_dir, config.download.ffmpeg),
        transcripts=TranscriptReader(videos),
        watching=watching,
        histories=HistoryReader(settings, delays),
        plans=WorkPlanQueries(settings.work_plans_dir),
        missing=MissingVideos(settings.work_plans_dir, recheck_after),
        estimates=EstimateReports(settings, archive, database),
    )
