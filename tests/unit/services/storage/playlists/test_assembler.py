"""Assembly of listings from messages that arrive in any order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.common.domain.videos import PlaylistMetadata
from services.common.events import PlaylistFetched
from services.common.settings.load import Config
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.formats.layout import tree_of
from services.storage.index.schema import open_catalogue
from services.storage.playlists.assembler import PlaylistAssembler
from services.storage.playlists.page_buffer import PageBuffer
from services.storage.playlists.playlist_file import read_playlist_file
from tests.fixtures.listing_events import AT, PLAYLIST, completed, page


async def test_a_listing_is_finished_when_all_its_messages_have_arrived(tmp_path: Path) -> None:
    database = open_catalogue(tmp_path)
    listings = PageBuffer(database)
    try:
        await listings.complete(completed(3, "a", "b"), at=AT, trace_id="t")
        await listings.add_page(page("b", 2, "video_____3"))
        await listings.add_page(page("b", 2, "video_____3"))
        assert await listings.finished("j", 0) is None
        await listings.add_playlist(
            PlaylistFetched(
                job_id="j", root="/a", target_index=0, listing=1, playlist=PlaylistMetadata(playlist_id=PLAYLIST)
            )
        )
        await listings.add_page(page("a", 0, "video_____1", "video_____2"))
        finished_listing = await listings.finished("j", 0)
        assert finished_listing is not None
        assert {one.page_key for one in finished_listing.pages} == {"a", "b"}
        assert (finished_listing.at, finished_listing.trace_id) == (AT, "t")
        assert await listings.finished("j", 1) is None
        await listings.mark_written("j", 0)
        await listings.add_page(page("a", 0, "video_____1", "video_____2"))  # redelivered
        assert await listings.finished("j", 0) is None
        assert await listings.is_written("j", 0)
    finally:
        database.close()


async def test_pages_of_a_failed_listing_are_dropped(tmp_path: Path) -> None:
    database = open_catalogue(tmp_path)
    listings = PageBuffer(database)
    try:
        await listings.add_page(page("old", 0, "video_____1"))
        await listings.drop("j", 0)
        await listings.add_page(page("new", 0, "video_____2", listing=2))
        await listings.complete(completed(1, "new", listing=2), at=AT, trace_id="t")
        finished_listing = await listings.finished("j", 0)
        assert finished_listing is not None
        assert [one.page_key for one in finished_listing.pages] == ["new"]
    finally:
        database.close()


class _WatchedLocks(NamedLocks):
    """Signal each request for a lock before it is granted."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.requested = asyncio.Semaphore(0)

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        self.requested.release()
        async with super().hold(*names):
            yield


async def test_playlist_metadata_that_arrives_while_the_file_is_written_is_kept(config: Config) -> None:
    root = config.storage.base_path
    here = {"root": str(root)}
    own = PlaylistMetadata(playlist_id=PLAYLIST, title="P", description="its own words")
    fetched = PlaylistFetched(job_id="j", root=str(root), target_index=0, listing=1, playlist=own)
    tree = tree_of(root, config.storage)
    database, locks = open_catalogue(config.storage.base_data_dir), _WatchedLocks(config.storage.run_dir)
    listings = PlaylistAssembler(config.storage, PageBuffer(database), locks, DiskSpace())
    try:
        await listings.add_page(page("a", 0, "video_____1").model_copy(update=here))
        async with locks.hold(tree.key, f"playlist/{PLAYLIST}"):
            await locks.requested.acquire()
            done = completed(1, "a").model_copy(update=here)
            end = asyncio.create_task(listings.complete(done, at=AT, trace_id="t"))
            await locks.requested.acquire()  # the listing is complete and waits for the lock
            keeping = asyncio.create_task(listings.add_playlist_metadata(fetched))
            coming = asyncio.create_task(locks.requested.acquire())
            await asyncio.wait({keeping, coming}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(end, keeping)
        coming.cancel()
        file = read_playlist_file(tree.playlist_metadata(PLAYLIST))
        assert file is not None
        assert file.description == "its own words"
    finally:
        database.close()
