"""metadata/: how answers of several sources, and pages of a listing, become one file."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.events import ListingCompleted, ListingPageFetched, MetadataFetched, PlaylistFetched
from services.common.models import Entry, JobOptions, JobType, PlaylistMetadata, VideoMetadata
from services.common.settings.load import Config
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.archive.video_metadata_file import read_video_file, save_metadata
from services.storage.formats import playlist
from services.storage.formats.layout import tree_of
from services.storage.formats.playlist import FinishedListing
from services.storage.formats.work_plan import WorkPlan
from services.storage.index.schema import open_catalogue
from services.storage.playlists.assembler import PlaylistAssembler
from services.storage.playlists.page_buffer import PageBuffer
from services.storage.playlists.playlist_file import read_playlist_file, save_listing
from services.storage.reporting.timeline import title_events
from services.storage.workplans.plan_file import save_plan

VIDEO = "dQw4w9WgXcQ"
PLAYLIST = "PL0123456789abcdef"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fetched(source: str, at: datetime, **fields: object) -> MetadataFetched:
    metadata = VideoMetadata.model_validate({"video_id": VIDEO, "title": f"by {source}", **fields})
    return MetadataFetched(job_id="j", root="/a", video_id=VIDEO, source_name=source, fetched_at=at, metadata=metadata)


def test_sources_are_kept_side_by_side_and_the_newest_leads_the_view(tmp_path: Path) -> None:
    path = tmp_path / "metadata" / "videos" / f"{VIDEO}.json"
    save_metadata(path, fetched("yt_dlp", AT + HOUR, view_count=7, tags=["a"]), "t1")
    save_metadata(path, fetched("data_api", AT, view_count=5, like_count=3), "t2")
    file = json.loads(path.read_text())
    assert set(file["sources"]) == {"data_api", "yt_dlp"}
    assert file["sources"]["data_api"]["metadata"]["view_count"] == 5
    assert file["sources"]["yt_dlp"]["fetched_at"] == "2026-05-01T13:00:00Z"
    assert (file["title"], file["view_count"], file["like_count"], file["tags"]) == ("by yt_dlp", 7, 3, ["a"])
    assert file["fetched_at"] == "2026-05-01T13:00:00Z"


def test_an_older_answer_of_the_same_source_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    save_metadata(path, fetched("yt_dlp", AT, title="new"), "t1")
    before = (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
    save_metadata(path, fetched("yt_dlp", AT - HOUR, title="old"), "t0")
    save_metadata(path, fetched("yt_dlp", AT, title="new"), "t1")
    assert (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) == before
    path.write_text("broken")
    save_metadata(path, fetched("yt_dlp", AT, title="new"), "t1")
    assert json.loads(path.read_text())["title"] == "new"


def test_another_title_of_the_same_source_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    hours_titles = [
        (0, "yt_dlp", "A"),
        (1, "data_api", "Ä"),
        (2, "yt_dlp", "B"),
        (1, "yt_dlp", "late"),
        (3, "yt_dlp", "B"),
    ]
    for hours, source, title in hours_titles:
        save_metadata(path, fetched(source, AT + hours * HOUR, title=title), "t")
    file = read_video_file(path)
    assert file is not None
    assert [(line.change, line.before, line.title, line.source, line.at) for line in title_events(file, "/a")] == [
        ("retitled", "A", "B", "yt_dlp", AT + 2 * HOUR)
    ]


# --- playlists ----------------------------------------------------------------------------------------------------


def page(key: str, first: int, *video_ids: str, listing: int = 1) -> ListingPageFetched:
    entries = tuple(Entry(video_id=one, title=one, position=first + n) for n, one in enumerate(video_ids))
    return ListingPageFetched(
        job_id="j",
        root="/a",
        type=JobType.PLAYLIST_DOWNLOAD,
        options=JobOptions(),
        target_index=0,
        listing=listing,
        page_key=key,
        playlist_id=PLAYLIST,
        entries=entries,
    )


def completed(total: int, *keys: str, listing: int = 1) -> ListingCompleted:
    return ListingCompleted(
        job_id="j", root="/a", target_index=0, listing=listing, page_keys=keys, total=total, playlist_id=PLAYLIST
    )


def finished(at: datetime, done: ListingCompleted, *pages: ListingPageFetched, title: str = "P") -> FinishedListing:
    return FinishedListing(done, at, "trace", pages, PlaylistMetadata(playlist_id=PLAYLIST, title=title))


@pytest.mark.parametrize(
    ("pages", "keys", "ids"),
    [
        (
            [page("b", 2, "video_____3"), page("a", 0, "video_____1", "video_____2")],
            ["a", "b"],
            ["video_____1", "video_____2", "video_____3"],
        ),
        # the same video twice in a playlist stays twice
        (
            [page("a", 0, "video_____1", "video_____2", "video_____1")],
            ["a"],
            ["video_____1", "video_____2", "video_____1"],
        ),
        # a second try went on at the third entry; the first one's page is older there
        (
            [page("1/a", 0, "video_____1", "video_____2", "old________"), page("2/a", 2, "video_____3", listing=2)],
            ["2/a"],
            ["video_____1", "video_____2", "video_____3"],
        ),
        # a second try began anew
        (
            [page("1/a", 0, "other_____1", "other_____2"), page("2/a", 0, "video_____1", listing=2)],
            ["2/a"],
            ["video_____1"],
        ),
        ([], [], []),
    ],
)
def test_entries_come_in_their_order(pages: list[ListingPageFetched], keys: list[str], ids: list[str]) -> None:
    assert [entry.video_id for entry in playlist.entries_of(pages, keys, total=len(ids))] == ids


def test_a_try_that_found_nothing_more_keeps_what_was_told_before() -> None:
    """The first told a page and failed; where the next went on from its cursor the list ended."""
    pages = [page("1/a", 0, "video_____1", "video_____2")]
    assert [entry.video_id for entry in playlist.entries_of(pages, [], total=2)] == ["video_____1", "video_____2"]


def test_a_playlist_file_holds_the_last_look_and_remembers_all(tmp_path: Path) -> None:
    path = tmp_path / f"{PLAYLIST}.json"
    save_listing(path, PLAYLIST, finished(AT, completed(2, "a"), page("a", 0, "video_____1", "video_____2")))
    file = json.loads(path.read_text())
    assert [(line["change"], line["total"]) for line in file["history"]] == [("first_look", 2)]
    newer_programs = {"at": "2026-05-01T12:30:00Z", "video_id": "video_____1", "change": "blessed"}
    file["history"].append(newer_programs)
    path.write_text(json.dumps(file))
    save_listing(path, PLAYLIST, finished(AT + HOUR, completed(1, "a"), page("a", 0, "video_____2"), title="Q"))
    newer = json.loads(path.read_text())
    assert newer["playlist_id"] == PLAYLIST
    assert newer["title"] == "Q"
    assert [entry["video_id"] for entry in newer["entries"]] == ["video_____2"]
    assert [look["total"] for look in newer["listings"]] == [2, 1]
    vanished = {
        "at": "2026-05-01T13:00:00Z", "job_id": "j", "change": "vanished", "video_id": "video_____1",
        "title": "video_____1",
    }  # fmt: skip
    assert newer["history"] == [*file["history"], vanished]
    save_listing(path, PLAYLIST, finished(AT - HOUR, completed(1, "a"), page("a", 0, "video_____9")))
    late = json.loads(path.read_text())
    assert (late["entries"], late["history"]) == (newer["entries"], newer["history"])
    assert [look["total"] for look in late["listings"]] == [1, 2, 1]
    before = path.stat()
    save_listing(path, PLAYLIST, finished(AT - HOUR, completed(1, "a"), page("a", 0, "video_____9")))
    assert path.stat() == before


async def test_a_listing_is_finished_when_every_part_is_here(tmp_path: Path) -> None:
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
        whole = await listings.finished("j", 0)
        assert whole is not None
        assert {one.page_key for one in whole.pages} == {"a", "b"}
        assert (whole.at, whole.trace_id) == (AT, "t")
        assert await listings.finished("j", 1) is None
        await listings.mark_written("j", 0)
        await listings.add_page(page("a", 0, "video_____1", "video_____2"))  # comes again
        assert await listings.finished("j", 0) is None
        assert await listings.is_written("j", 0)
    finally:
        database.close()


async def test_a_failed_listing_leaves_no_pages(tmp_path: Path) -> None:
    database = open_catalogue(tmp_path)
    listings = PageBuffer(database)
    try:
        await listings.add_page(page("old", 0, "video_____1"))
        await listings.drop("j", 0)
        await listings.add_page(page("new", 0, "video_____2", listing=2))
        await listings.complete(completed(1, "new", listing=2), at=AT, trace_id="t")
        whole = await listings.finished("j", 0)
        assert whole is not None
        assert [one.page_key for one in whole.pages] == ["new"]
    finally:
        database.close()


class _WatchedLocks(NamedLocks):
    """Tells when somebody comes to a lock, before it is given."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.came = asyncio.Semaphore(0)

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        self.came.release()
        async with super().hold(*names):
            yield


async def test_a_playlists_own_metadata_is_kept_that_comes_while_its_file_is_written(config: Config) -> None:
    root = config.storage.base_path
    here = {"root": str(root)}
    own = PlaylistMetadata(playlist_id=PLAYLIST, title="P", description="its own words")
    told = PlaylistFetched(job_id="j", root=str(root), target_index=0, listing=1, playlist=own)
    tree = tree_of(root, config.storage)
    database, locks = open_catalogue(config.storage.base_data_dir), _WatchedLocks(config.storage.run_dir)
    listings = PlaylistAssembler(config.storage, PageBuffer(database), locks, DiskSpace())
    try:
        await listings.add_page(page("a", 0, "video_____1").model_copy(update=here))
        async with locks.hold(tree.key, f"playlist/{PLAYLIST}"):
            await locks.came.acquire()
            done = completed(1, "a").model_copy(update=here)
            end = asyncio.create_task(listings.complete(done, at=AT, trace_id="t"))
            await locks.came.acquire()  # it has seen that every part is here
            keeping = asyncio.create_task(listings.add_playlist_metadata(told))
            coming = asyncio.create_task(locks.came.acquire())
            await asyncio.wait({keeping, coming}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(end, keeping)
        coming.cancel()
        file = read_playlist_file(tree.playlist_metadata(PLAYLIST))
        assert file is not None
        assert file.description == "its own words"
    finally:
        database.close()


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    video, listed, planned = tmp_path / "v.json", tmp_path / "p.json", tmp_path / "j.json"
    for path in (video, listed, planned):
        path.write_text("half of a histo")
    save_metadata(video, fetched("yt_dlp", AT), "t")
    save_listing(listed, PLAYLIST, finished(AT, completed(1, "a"), page("a", 0, "video_____1")))
    plan = WorkPlan(
        plan_id="j", job_id="j", trace_id="t", root="/a", type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(),
        targets=[PLAYLIST], created_at=AT, updated_at=AT,
    )  # fmt: skip
    save_plan(tmp_path, None, plan)
    for path in (video, listed, planned):
        assert path.with_name(f"{path.name}.unreadable").read_text() == "half of a histo"
        json.loads(path.read_text())
