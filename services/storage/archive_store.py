"""The archive: takes in downloads and metadata, answers what is held, recovers interrupted take-ins."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from bus.fault_injection import fault_point
from services.common.domain.archive import Held
from services.common.errors import InvalidRequest, StorageFull, YTArchiveError
from services.common.events import DownloadCompleted, MetadataFetched
from services.common.infra.disk_full import NO_SPACE
from services.common.infra.no_links import NotAFile
from services.common.settings.load import Storage
from services.common.youtube.partial import PartialBusy, holding
from services.storage.archive import commit
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.fingerprint import fingerprint_of
from services.storage.archive.locks import NamedLocks
from services.storage.archive.staging import TakeInFailed, not_taken_in
from services.storage.archive.threads import run_to_end
from services.storage.archive.video_metadata_file import is_up_to_date, save_metadata
from services.storage.formats.layout import ArchiveTree, source_path
from services.storage.formats.manifest import Holding, Manifest, held_of
from services.storage.formats.revisit import next_look
from services.storage.index import scan
from services.storage.index.catalogue import Catalogue, IndexEntry, KnownVideo, Sighting
from services.storage.index.indexer import Indexer
from services.storage.index.roots import ArchiveRoots

_log = structlog.get_logger()


class ArchiveStore:
    """Reads and writes below configured roots only. One writer at a time per video. `revisit_after` as in [revisit]."""

    def __init__(
        self,
        settings: Storage,
        roots: ArchiveRoots,
        catalogue: Catalogue,
        indexer: Indexer,
        locks: NamedLocks,
        disk_space: DiskSpace,
        revisit_after: Sequence[timedelta] = (),
    ) -> None:
        self._settings = settings
        self._revisit_after = revisit_after
        self._roots = roots
        self._catalogue = catalogue
        self._indexer = indexer
        self._locks = locks
        self._disk_space = disk_space
        self.taking_in = 0  # take-ins that are running

    # --- take-in --------------------------------------------------------------------------------------------------

    async def take_in(self, event: DownloadCompleted, trace_id: str) -> Manifest:
        """Move a delivery into the archive and index it. Return the video's new manifest.

        Raises TakeInFailed, StorageFull (after waiting), InvalidRequest, ServiceUnavailable or OSError; then no visible
        file has changed.
        """
        tree = self._roots.tree(event.root)
        self._expect_in_tmp(Path(event.directory))
        await self._roots.expect_mounted(tree)
        await self._disk_space.wait_for(tree.videos, await asyncio.to_thread(self._needed, tree, event))
        self.taking_in += 1
        try:
            async with self._locks.hold(tree.key, event.video_id):
                await self._catalogue.begin_take_in(tree.key, event.video_id)
                manifest = await self._commit(tree, event, trace_id)
                await self._indexer.index(tree, event.video_id)
                await self._catalogue.end_take_in(tree.key, event.video_id)
        finally:
            self.taking_in -= 1
        return manifest

    async def _commit(self, tree: ArchiveTree, event: DownloadCompleted, trace_id: str) -> Manifest:
        stop = threading.Event()
        now = datetime.now(UTC)
        try:
            return await run_to_end(lambda: _commit(tree, event, now, trace_id, stop), stop)
        except YTArchiveError:  # hidden files are removed already: nothing is left to recover
            await self._catalogue.end_take_in(tree.key, event.video_id)
            raise
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StorageFull(f"no space on the disk of {tree.videos}: {error}") from error
            raise

    async def note_failed_look(self, root: str, video_id: str, why: str, key: str) -> None:
        """Record in the manifest that a look for something better failed. Raises InvalidRequest, OSError."""
        tree, now = self._roots.tree(root), datetime.now(UTC)
        async with self._locks.hold(tree.key, video_id):
            await self._disk_space.write(
                lambda: commit.note_failed_look(tree, video_id, why, now=now, key=key), tree.videos
            )
            await self._indexer.index(tree, video_id)

    def _expect_in_tmp(self, directory: Path) -> None:
        tmp = self._settings.tmp_dir
        if directory.name == ".." or directory.parent != tmp:
            raise InvalidRequest(f"{directory} is not a folder of {tmp}: files are taken in from there only")

    @staticmethod
    def _needed(tree: ArchiveTree, event: DownloadCompleted) -> int:
        """Return the bytes that the take-in will use: none where the files can be linked."""
        directory = Path(event.directory)
        if _device(tree.videos) == _device(directory):
            return 0
        return sum(min(file.size, _size(source_path(directory, file.name))) for file in event.files)

    async def recover_unfinished(self) -> int:
        """Finish or clear the take-ins that a killed process left. Return how many there were."""
        unfinished = await self._catalogue.unfinished_take_ins()
        for root, video_id in unfinished:
            try:
                tree = self._roots.tree(root)
            except InvalidRequest:
                _log.warning("root_not_configured", root=root, video_id=video_id)
                continue  # stays listed until the root is configured again
            await self._indexer.recover(tree, video_id)
            await self._indexer.index(tree, video_id)
            await self._catalogue.end_take_in(tree.key, video_id)
        return len(unfinished)

    # --- metadata -----------------------------------------------------------------------------------------------------

    async def save_metadata(self, event: MetadataFetched, trace_id: str) -> Path:
        """Merge a source's metadata into metadata/videos/{video_id}.json. Return the file's path."""
        tree = self._roots.tree(event.root)
        path = tree.video_metadata(event.video_id)
        async with self._locks.hold(tree.key, event.video_id):
            await self._disk_space.write(lambda: save_metadata(tree, event, trace_id), tree.metadata)
            fault_point("storage.metadata_written")
            await self._indexer.follow_metadata(tree, event.video_id)
        await self._catalogue.record_sightings([Sighting(event.video_id, event.metadata.title, event.fetched_at)])
        return path

    async def ensure_metadata(self, event: DownloadCompleted, trace_id: str) -> None:
        """Save the metadata that a delivery carries, unless yt-dlp's are there already: `download.completed` may arrive
        before the `metadata.fetched` of the same download."""
        path = self._roots.tree(event.root).video_metadata(event.video_id)
        fetched = MetadataFetched(
            job_id=event.job_id,
            root=event.root,
            video_id=event.video_id,
            source_name="yt_dlp",
            fetched_at=event.provenance.started_at,
            metadata=event.metadata,
            dispatch_id=event.dispatch_id,
        )
        if event.wanted.metadata and not await asyncio.to_thread(is_up_to_date, path, fetched):
            await self.save_metadata(fetched, trace_id)

    # --- what is held -------------------------------------------------------------------------------------------------

    async def held(self, root: str, video_ids: Sequence[str]) -> list[Held]:
        """Return what is held of each video, in the order of `video_ids`: the catalogue's rows, checked against the
        sizes of the files.

        Raises InvalidRequest for a foreign root, ServiceUnavailable when its disk is not mounted.
        """
        tree = self._roots.tree(root)
        await self._roots.expect_mounted(tree)
        known = await self._catalogue.get(tree.key, video_ids)
        found, stale = await asyncio.to_thread(_check_files, tree, video_ids, known)
        if stale:
            await self._indexer.put(stale)
        gone, now = await self._catalogue.known_gone(video_ids), datetime.now(UTC)
        return [
            held.model_copy(
                update={
                    "known_gone": gone.get(held.video_id),
                    "next_look": next_look(held.revisit, self._revisit_after, now),
                }
            )
            for held in found
        ]


def _commit(
    tree: ArchiveTree, event: DownloadCompleted, now: datetime, trace_id: str, stop: threading.Event
) -> Manifest:
    """Commit under the lock of the partial: no download may write to files that are linked into the archive."""
    try:
        with holding(Path(event.directory)):
            return commit.take_in(tree, event, now=now, trace_id=trace_id, stop=stop.is_set)
    except NotAFile as error:
        raise not_taken_in(error) from error
    except PartialBusy as error:
        raise TakeInFailed(f"a later download is at work: {error}", reason="partial_busy") from error


def _check_files(
    tree: ArchiveTree, video_ids: Sequence[str], known: dict[str, KnownVideo]
) -> tuple[list[Held], list[IndexEntry]]:
    """Return what the disk holds, and new rows for the videos whose row is missing or stale."""
    found: list[Held] = []
    stale: list[IndexEntry] = []
    for video_id in video_ids:
        row = known.get(video_id)
        fingerprint = fingerprint_of(tree.manifest(video_id))
        holding: Holding | None = row.holding if row is not None and row.fingerprint == fingerprint else None
        if fingerprint is not None and holding is None and (entry := scan.read_entry(tree, video_id)):
            stale.append(entry)
            holding = entry.manifest
        metadata = tree.video_metadata(video_id).exists()
        if holding is None:
            found.append(Held(video_id=video_id, metadata=metadata))
        else:
            present = commit.present_files(tree.video_dir(video_id), holding)
            found.append(held_of(holding, present=present, metadata=metadata))
    return found, stale


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _device(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev
