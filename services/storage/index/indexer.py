"""Keeps the catalogue and the text index equal to the files of the archive tree."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from bus.fault_injection import fault_point
from services.common.errors import InvalidRequest, code_of
from services.common.infra.files import remove_abandoned
from services.storage.archive import commit
from services.storage.archive.fingerprint import TextFingerprints, fingerprint_of
from services.storage.archive.locks import NamedLocks
from services.storage.archive.threads import run_to_end
from services.storage.archive.tree_walk import metadata_files, video_ids
from services.storage.archive.video_metadata_file import read_video_file
from services.storage.formats.layout import ArchiveTree
from services.storage.index import scan
from services.storage.index.catalogue import Catalogue, IndexEntry, Sighting
from services.storage.index.fts import TextIndex
from services.storage.index.roots import ArchiveRoots

_log = structlog.get_logger()
_BATCH = 50  # videos per transaction
_CHECKED = 500  # videos whose files are compared with the catalogue at once


@dataclass(frozen=True)
class RescanResult:
    """Numbers of one root: videos found, catalogue rows removed, folders without a readable manifest."""

    root: str
    videos: int = 0
    forgotten: int = 0
    unreadable: int = 0


class Indexer:
    def __init__(self, catalogue: Catalogue, texts: TextIndex, roots: ArchiveRoots, locks: NamedLocks) -> None:
        self._catalogue = catalogue
        self._texts = texts
        self._roots = roots
        self._locks = locks
        self.texts_missing = asyncio.Event()  # set when videos of the catalogue may lack an up-to-date text index
        self.unindexed = 0  # videos that `index_missing` has still to process

    # --- single videos ------------------------------------------------------------------------------------------------

    async def put(self, entries: Sequence[IndexEntry]) -> None:
        """Store rows without texts; `run` indexes the texts later."""
        await self._catalogue.put(entries)
        self.texts_missing.set()

    async def index(self, tree: ArchiveTree, video_id: str) -> None:
        """Read a video's manifest and texts into the catalogue. The caller holds the video's lock."""
        known = await self._texts.fingerprints(tree.key, [video_id])
        entry = await asyncio.to_thread(scan.read_entry_with_texts, tree, video_id, known.get(video_id))
        fault_point("storage.before_index")
        if entry is not None:
            await self._catalogue.put([entry])

    async def follow_metadata(self, tree: ArchiveTree, video_id: str) -> None:
        """Index the new metadata file of a video, if the archive holds it. The caller holds the video's lock."""
        if await self._catalogue.get(tree.key, [video_id]):
            await self.index(tree, video_id)

    # --- missing texts ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Background task: index missing texts at once, and whenever `texts_missing` is set."""
        self.texts_missing.set()
        while await self.texts_missing.wait():
            try:
                await self.index_missing()
            except OSError as error:
                _log.error("indexing_failed", error_code=code_of(error), error_message=str(error))

    async def index_missing(self) -> None:
        """Index the texts of every catalogued video that lacks them, or whose files have changed: after an upgrade from
        a version without a text index, and for manifests that another program wrote."""
        self.texts_missing.clear()
        missing: dict[str, list[str]] = {}
        for root, video_id in await self._texts.missing():
            missing.setdefault(root, []).append(video_id)
        self.unindexed = sum(map(len, missing.values()))
        for root, ids in missing.items():
            try:
                tree = self._roots.tree(root)
            except InvalidRequest:
                _log.warning("root_not_configured", root=root, videos=len(ids))
                continue
            for start in range(0, len(ids), _BATCH):
                batch = ids[start : start + _BATCH]
                await self._index_all(tree, batch)
                self.unindexed -= len(batch)
        self.unindexed = 0

    async def _index_all(self, tree: ArchiveTree, ids: Sequence[str]) -> list[IndexEntry]:
        """Read without locks. Videos whose files changed meanwhile are read again, under their locks."""
        known = await self._texts.fingerprints(tree.key, ids)
        entries = await asyncio.to_thread(_read_all, tree, ids, known)
        await self._catalogue.put(entries)
        for video_id in await asyncio.to_thread(_outdated, tree, entries):
            async with self._locks.hold(tree.key, video_id):
                await self.index(tree, video_id)
        return entries

    # --- whole roots --------------------------------------------------------------------------------------------------

    async def rescan(self, root: str | Path) -> RescanResult:
        """Rebuild the catalogue's rows of one root from its tree, and clear what killed writers left there. Files that
        have not changed since they were indexed are not read.

        Raises ServiceUnavailable when the disk is not mounted: then missing folders do not mean missing videos.
        """
        tree, generation = self._roots.tree(root), self._catalogue.generation
        await self._roots.expect_mounted(tree)
        ids = await asyncio.to_thread(lambda: list(video_ids(tree)))
        found: set[str] = set()
        for start in range(0, len(ids), _CHECKED):
            checked = ids[start : start + _CHECKED]
            for video_id in await asyncio.to_thread(commit.unfinished_videos, tree, checked):
                await self.recover(tree, video_id)
            states = await self._catalogue.states(tree.key, checked)
            unchanged = await asyncio.to_thread(_unchanged, tree, states)
            found |= unchanged
            changed = [video_id for video_id in checked if video_id not in unchanged]
            for first in range(0, len(changed), _BATCH):
                entries = await self._index_all(tree, changed[first : first + _BATCH])
                found.update(entry.manifest.video_id for entry in entries)
        forgotten = await self._forget_missing(tree, found)
        await self._record_sightings(tree)
        await self.sweep(tree)
        await self._catalogue.mark_scanned(tree.key, generation)
        result = RescanResult(tree.key, len(found), forgotten, len(ids) - len(found))
        _log.info(
            "root_scanned", root=tree.key, videos=result.videos, forgotten=forgotten, unreadable=result.unreadable
        )
        return result

    async def recover(self, tree: ArchiveTree, video_id: str) -> None:
        """Finish or clear an interrupted take-in."""
        async with self._locks.hold(tree.key, video_id):
            await run_to_end(lambda: commit.recover(tree, video_id))

    async def sweep(self, tree: ArchiveTree) -> None:
        """Remove half-written metadata files."""
        for folder in (tree.metadata / "videos", tree.metadata / "playlists"):
            await asyncio.to_thread(remove_abandoned, folder)

    async def _forget_missing(self, tree: ArchiveTree, found: set[str]) -> int:
        """Remove the rows of videos that are gone, but not those that were taken in during the scan."""
        forgotten = 0
        await self._roots.expect_mounted(tree)  # the disk may have gone since
        for video_id in await self._catalogue.videos_except(tree.key, found):
            async with self._locks.hold(tree.key, video_id):
                if await asyncio.to_thread(scan.read_entry, tree, video_id) is None:
                    await self._catalogue.remove_video(tree.key, video_id)
                    forgotten += 1
        return forgotten

    async def _record_sightings(self, tree: ArchiveTree) -> None:
        paths = await asyncio.to_thread(lambda: list(metadata_files(tree)))
        for start in range(0, len(paths), _CHECKED):
            batch = paths[start : start + _CHECKED]
            known = await self._catalogue.read_metadata([path.stem for path in batch])
            if sightings := await asyncio.to_thread(_read_sightings, batch, known):
                await self._catalogue.record_sightings(sightings)


def _unchanged(tree: ArchiveTree, states: Mapping[str, tuple[str, TextFingerprints]]) -> set[str]:
    return {video_id for video_id, state in states.items() if scan.is_unchanged(tree, video_id, *state)}


def _read_sightings(paths: Iterable[Path], known: Mapping[str, str]) -> list[Sighting]:
    """Read the metadata files that are not in their `known` state. The fingerprint is taken first."""
    changed = [(path, state) for path in paths if (state := fingerprint_of(path)) and known.get(path.stem) != state]
    read = ((read_video_file(path), state) for path, state in changed)
    return [Sighting(file.video_id, file.title, file.fetched_at, state) for file, state in read if file]


def _read_all(tree: ArchiveTree, ids: Sequence[str], known: dict[str, TextFingerprints]) -> list[IndexEntry]:
    found = (scan.read_entry_with_texts(tree, video_id, known.get(video_id)) for video_id in ids)
    return [entry for entry in found if entry]


def _outdated(tree: ArchiveTree, entries: Sequence[IndexEntry]) -> list[str]:
    return [entry.manifest.video_id for entry in entries if scan.is_outdated(tree, entry)]
