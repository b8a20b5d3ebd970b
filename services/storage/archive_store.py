"""The archive as the rest of storage uses it: takes in, answers what is held, recovers, rescans.

It joins the tree (`archive`), the index of it (`catalogue`), the locks and the space on the disk.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from bus.fault_injection import fault_point
from services.common.errors import InvalidRequest, ServiceUnavailable, StorageFull, YTArchiveError
from services.common.events import DownloadCompleted
from services.common.models import Held
from services.common.settings.load import Storage
from services.common.youtube.partial import PartialBusy, holding
from services.storage.archive import commit
from services.storage.archive.disk_space import Space
from services.storage.archive.fingerprint import Stamps, stamp_of
from services.storage.archive.locks import Locks
from services.storage.archive.staging import NO_SPACE, TakeInFailed
from services.storage.formats.layout import Tree, source_path, tree_of
from services.storage.formats.manifest import Holding, Record, held_of
from services.storage.formats.video_metadata import read_video_file
from services.storage.index import scan
from services.storage.index.catalogue import Catalogue, Indexed, Known

_log = structlog.get_logger()
_BATCH = 50  # videos per transaction of a rescan
T = TypeVar("T")


@dataclass(frozen=True)
class Rescan:
    """What a rescan of one root found: videos, rows of videos that are not there, folders with no readable record."""

    root: str
    videos: int = 0
    forgotten: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Away:
    """A root whose disk is not there: why, what to do, and since when (monotonic seconds)."""

    why: str
    since: float = field(default_factory=time.monotonic)


class Shelf:
    """Every path that it hands out or touches belongs to a root of the configuration."""

    def __init__(self, settings: Storage, catalogue: Catalogue, locks: Locks, space: Space) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._locks = locks
        self._space = space
        self.taking_in = 0  # take-ins in hand
        self.texts_missed = asyncio.Event()  # the index does not know all that the catalogue knows: `index_missing`
        self.away: dict[str, Away] = {}  # roots that are waited for
        self.unindexed = 0  # videos that `index_missing` has yet to look at

    def tree(self, root: str | Path) -> Tree:
        return tree_of(root, self._settings)

    # --- the disk -------------------------------------------------------------------------------------------------

    async def expect_mounted(self, tree: Tree) -> None:
        """Raises ServiceUnavailable for a root that held videos and is empty, or cannot be looked into, and for what is
        below such a root: else a whole archive would be fetched again, into the folder below a disk that is not
        mounted. `away` tells of it until it is there again."""
        above = [root for root in self._settings.all_roots if root in tree.root.parents]
        for one in dict.fromkeys((*(self.tree(root) for root in above), tree)):
            if (why := await self._why_away(one)) is None:
                if self.away.pop(one.key, None):
                    _log.info("archive_back", root=one.key)
                continue
            if one.key not in self.away:
                _log.error("archive_away", root=one.key, error_code=ServiceUnavailable.code, error_message=why)
            self.away[one.key] = replace(self.away.get(one.key, Away(why)), why=why)
            raise ServiceUnavailable(why, root=one.key)

    async def _why_away(self, tree: Tree) -> str | None:
        try:
            if await asyncio.to_thread(tree.videos.exists):
                return None
        except OSError as error:  # a stale NFS handle, a disk that was pulled
            return f"{tree.root} cannot be looked into ({error.strerror}). Is its disk well?"
        if not (known := await self._catalogue.count(tree.key)):
            return None
        held, they = ("1 video", "it is") if known == 1 else (f"{known} videos", "they are")
        return (
            f"{tree.root} held {held} and is empty now. Is its disk mounted? If {they} really gone, make the folder "
            f"{tree.videos} to begin anew."
        )

    async def look_for_the_away(self) -> None:
        """Whether they are back, though nobody asks for anything of them."""
        for root in list(self.away):
            with suppress(ServiceUnavailable, InvalidRequest):
                await self.expect_mounted(self.tree(root))

    # --- take-in --------------------------------------------------------------------------------------------------

    async def take_in(self, event: DownloadCompleted, trace_id: str) -> Record:
        """Take the delivery in, under the video's lock, and index it.

        Raises TakeInFailed, StorageFull (after waiting), InvalidRequest or OSError; then nothing visible changed.
        """
        tree = self.tree(event.root)
        self._expect_below_tmp(Path(event.directory))
        await self.expect_mounted(tree)
        await self._space.make_sure(tree.videos, await asyncio.to_thread(self._needed, tree, event))
        self.taking_in += 1
        try:
            async with self._locks.hold(tree.key, event.video_id):
                await self._catalogue.begin_take_in(tree.key, event.video_id)
                record = await self._take_in(tree, event, trace_id)
                await self._index(tree, event.video_id)
                await self._catalogue.end_take_in(tree.key, event.video_id)
        finally:
            self.taking_in -= 1
        return record

    async def _take_in(self, tree: Tree, event: DownloadCompleted, trace_id: str) -> Record:
        stop = threading.Event()
        now = datetime.now(UTC)
        try:
            return await in_thread(lambda: _take_from(tree, event, now, trace_id, stop), stop)
        except YTArchiveError:  # what it began is cleared already, so the journal need not remember it
            await self._catalogue.end_take_in(tree.key, event.video_id)
            raise
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StorageFull(f"no space on the disk of {tree.videos}: {error}") from error
            raise

    def _expect_below_tmp(self, directory: Path) -> None:
        tmp = self._settings.tmp_dir
        if ".." in directory.parts or not directory.is_relative_to(tmp):
            raise InvalidRequest(f"{directory} is not below {tmp}: files are taken in from there only")

    @staticmethod
    def _needed(tree: Tree, event: DownloadCompleted) -> int:
        """Bytes that the take-in will use: none where the files can be linked, and no more than are there."""
        directory = Path(event.directory)
        if _device(tree.videos) == _device(directory):
            return 0
        return sum(min(file.size, _size(source_path(directory, file.name))) for file in event.files)

    # --- what is held ---------------------------------------------------------------------------------------------

    async def held(self, root: str, video_ids: Sequence[str]) -> list[Held]:
        """What is held of each video, in the order asked: by the catalogue, checked against the files' sizes.

        Raises InvalidRequest, and ServiceUnavailable while the disk is not there."""
        tree = self.tree(root)
        await self.expect_mounted(tree)
        known = await self._catalogue.get(tree.key, video_ids)
        found, stale = await asyncio.to_thread(_inspect, tree, video_ids, known)
        if stale:
            await self._catalogue.put(stale)
            self.texts_missed.set()
        gone = await self._catalogue.known_gone(video_ids)
        return [held.model_copy(update={"known_gone": gone.get(held.video_id)}) for held in found]

    async def follow_metadata(self, tree: Tree, video_id: str) -> None:
        """What is held of a video is found by its new metadata. The caller holds the video's lock."""
        if await self._catalogue.get(tree.key, [video_id]):
            await self._index(tree, video_id)

    async def index_missing(self) -> None:
        """Index the texts of all that the catalogue holds and the index does not know: of a catalogue that an older
        version made, or of records that somebody else wrote."""
        self.texts_missed.clear()
        missing: dict[str, list[str]] = {}
        for root, video_id in await self._catalogue.texts.missing():
            missing.setdefault(root, []).append(video_id)
        self.unindexed = sum(map(len, missing.values()))
        for root, video_ids in missing.items():
            try:
                tree = self.tree(root)
            except InvalidRequest:
                _log.warning("root_not_configured", root=root, videos=len(video_ids))
                continue
            for start in range(0, len(video_ids), _BATCH):
                batch = video_ids[start : start + _BATCH]
                await self._index_all(tree, batch)
                self.unindexed -= len(batch)
        self.unindexed = 0

    async def _index(self, tree: Tree, video_id: str) -> None:
        """Under the video's lock."""
        known = await self._catalogue.texts.stamps(tree.key, [video_id])
        entry = await asyncio.to_thread(scan.index_texts, tree, video_id, known.get(video_id))
        fault_point("storage.before_index")
        if entry is not None:
            await self._catalogue.put([entry])

    async def _index_all(self, tree: Tree, video_ids: Sequence[str]) -> list[Indexed]:
        """Without locks: what somebody wrote meanwhile is read again."""
        known = await self._catalogue.texts.stamps(tree.key, video_ids)
        entries = await asyncio.to_thread(_read_all, tree, video_ids, known)
        await self._catalogue.put(entries)
        for video_id in await asyncio.to_thread(_outdated, tree, entries):
            async with self._locks.hold(tree.key, video_id):
                await self._index(tree, video_id)
        return entries

    # --- recovery and rescan --------------------------------------------------------------------------------------

    async def recover_unfinished(self) -> int:
        """Recover the take-ins that a dead process left, by the journal. Returns how many there were."""
        unfinished = await self._catalogue.taking_in()
        for root, video_id in unfinished:
            try:
                tree = self.tree(root)
            except InvalidRequest:
                _log.warning("root_not_configured", root=root, video_id=video_id)
                continue  # the journal keeps it until the root is back
            await self._recover(tree, video_id)
            await self._index(tree, video_id)
            await self._catalogue.end_take_in(tree.key, video_id)
        return len(unfinished)

    async def _recover(self, tree: Tree, video_id: str) -> None:
        async with self._locks.hold(tree.key, video_id):
            await in_thread(lambda: commit.recover(tree, video_id))

    async def rescan(self, root: str | Path) -> Rescan:
        """Make the catalogue's rows of one root anew from its tree, and clear what dead writers left in it.

        Raises ServiceUnavailable when the disk is not there: that nothing is found does not mean that nothing is."""
        tree = self.tree(root)
        await self.expect_mounted(tree)
        video_ids = await asyncio.to_thread(lambda: list(scan.video_ids(tree)))
        found: set[str] = set()
        for start in range(0, len(video_ids), _BATCH):
            batch = video_ids[start : start + _BATCH]
            for video_id in await asyncio.to_thread(commit.unfinished, tree, batch):
                await self._recover(tree, video_id)
            entries = await self._index_all(tree, batch)
            found.update(entry.record.video_id for entry in entries)
        forgotten = await self._forget_lost(tree, found)
        await self._see_all(tree)
        await self.sweep(tree)
        await self._catalogue.mark_scanned(tree.key)
        result = Rescan(tree.key, len(found), forgotten, len(video_ids) - len(found))
        _log.info(
            "root_scanned", root=tree.key, videos=result.videos, forgotten=forgotten, unreadable=result.unreadable
        )
        return result

    async def _forget_lost(self, tree: Tree, found: set[str]) -> int:
        """Not those that were taken in while the others were read."""
        forgotten = 0
        await self.expect_mounted(tree)  # it may have gone meanwhile
        for video_id in await self._catalogue.others(tree.key, found):
            async with self._locks.hold(tree.key, video_id):
                if await asyncio.to_thread(scan.index, tree, video_id) is None:
                    await self._catalogue.forget(tree.key, video_id)
                    forgotten += 1
        return forgotten

    async def sweep(self, tree: Tree) -> None:
        for folder in (tree.metadata / "videos", tree.metadata / "playlists"):
            await asyncio.to_thread(scan.sweep, folder)

    async def _see_all(self, tree: Tree) -> None:
        paths = await asyncio.to_thread(lambda: list(scan.metadata_files(tree)))
        for start in range(0, len(paths), _BATCH):
            files = await asyncio.to_thread(
                lambda batch: list(map(read_video_file, batch)), paths[start : start + _BATCH]
            )
            await self._catalogue.see((file.video_id, file.title, file.fetched_at) for file in files if file)


def _take_from(tree: Tree, event: DownloadCompleted, now: datetime, trace_id: str, stop: threading.Event) -> Record:
    """Under the lock of the partial: what is linked into the archive must not be written to from the other side."""
    try:
        with holding(Path(event.directory)):
            return commit.take_in(tree, event, now=now, trace_id=trace_id, stop=stop.is_set)
    except PartialBusy as error:
        raise TakeInFailed(f"a later download is at work: {error}", reason="partial_busy") from error


def _inspect(tree: Tree, video_ids: Sequence[str], known: dict[str, Known]) -> tuple[list[Held], list[Indexed]]:
    """What is on the disk, and the records that the catalogue does not know in their present state."""
    found: list[Held] = []
    stale: list[Indexed] = []
    for video_id in video_ids:
        row = known.get(video_id)
        stamp = stamp_of(tree.record(video_id))
        holding: Holding | None = row.holding if row is not None and row.stamp == stamp else None
        if stamp is not None and holding is None and (entry := scan.index(tree, video_id)):
            stale.append(entry)
            holding = entry.record
        metadata = tree.video_metadata(video_id).exists()
        if holding is None:
            found.append(Held(video_id=video_id, metadata=metadata))
        else:
            present = commit.present(tree.video_dir(video_id), holding)
            found.append(held_of(holding, present=present, metadata=metadata))
    return found, stale


def _read_all(tree: Tree, video_ids: Sequence[str], known: dict[str, Stamps]) -> list[Indexed]:
    found = (scan.index_texts(tree, video_id, known.get(video_id)) for video_id in video_ids)
    return [entry for entry in found if entry]


def _outdated(tree: Tree, entries: Sequence[Indexed]) -> list[str]:
    return [entry.record.video_id for entry in entries if scan.is_outdated(tree, entry)]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _device(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


async def in_thread(work: Callable[[], T], stop: threading.Event | None = None) -> T:
    """Run `work` in a thread and see it to its end, also when cancelled: its caller holds a lock for it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        await asyncio.wait({task})
        raise
