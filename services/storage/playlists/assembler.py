"""Writes a playlist's file once all parts of its listing have arrived, in any order."""

from datetime import datetime

from services.common.events import ListingCompleted, ListingPageFetched, PlaylistFetched
from services.common.settings.load import Storage
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.formats.layout import ArchiveTree, tree_of
from services.storage.playlists.page_buffer import PageBuffer
from services.storage.playlists.playlist_file import save_listing, save_own


class PlaylistAssembler:
    """An unfinished listing never replaces a complete one: its parts wait in the page buffer."""

    def __init__(self, settings: Storage, pages: PageBuffer, locks: NamedLocks, space: DiskSpace) -> None:
        self._settings = settings
        self._pages = pages
        self._locks = locks
        self._space = space

    async def add_page(self, event: ListingPageFetched) -> None:
        await self._pages.add_page(event)
        await self._write_if_finished(event.job_id, event.target_index)

    async def add_playlist_metadata(self, event: PlaylistFetched) -> None:
        tree, key = self._place(event.root, event.playlist.playlist_id)
        async with self._locks.hold(*key):  # else it could fall between a writer's check and its mark
            await self._pages.add_playlist(event)
            if await self._pages.is_written(event.job_id, event.target_index):
                await self._space.write(lambda: save_own(tree, event.playlist), tree.metadata)

    async def complete(self, event: ListingCompleted, *, at: datetime, trace_id: str) -> None:
        if event.playlist_id is not None:
            self._place(event.root, event.playlist_id)  # validate before anything is stored
        await self._pages.complete(event, at=at, trace_id=trace_id)
        await self._write_if_finished(event.job_id, event.target_index)

    async def _write_if_finished(self, job_id: str, target_index: int) -> None:
        seen = await self._pages.finished(job_id, target_index)
        if seen is None or seen.completed.playlist_id is None:
            return
        playlist_id = seen.completed.playlist_id
        tree, key = self._place(seen.completed.root, playlist_id)
        async with self._locks.hold(*key):
            listing = await self._pages.finished(job_id, target_index)  # again: another task may have written it
            if listing is not None:
                await self._space.write(lambda: save_listing(tree, playlist_id, listing), tree.metadata)
                await self._pages.mark_written(job_id, target_index)

    def _place(self, root: str, playlist_id: str) -> tuple[ArchiveTree, tuple[str, str]]:
        """Return the tree and the lock of a playlist. Raises InvalidRequest."""
        tree = tree_of(root, self._settings)
        tree.playlist_metadata(playlist_id)  # validates both
        return tree, (tree.key, f"playlist/{playlist_id}")
