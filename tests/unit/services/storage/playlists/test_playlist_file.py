"""metadata/playlists/{playlist_id}.json, and unreadable files."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from services.common.domain.videos import PlaylistMetadata, VideoMetadata
from services.common.events import ListingCompleted, ListingPageFetched, MetadataFetched
from services.common.models import JobOptions, JobType
from services.storage.archive.video_metadata_file import save_metadata
from services.storage.formats import playlist
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.playlist import FinishedListing
from services.storage.formats.work_plan import WorkPlan
from services.storage.playlists.playlist_file import save_listing
from services.storage.workplans.plan_file import save_plan
from tests.fixtures.listing_events import AT, HOUR, PLAYLIST, VIDEO, completed, page


def fetched(source: str, at: datetime, **fields: object) -> MetadataFetched:
    metadata = VideoMetadata.model_validate({"video_id": VIDEO, "title": f"by {source}", **fields})
    return MetadataFetched(job_id="j", root="/a", video_id=VIDEO, source_name=source, fetched_at=at, metadata=metadata)


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
        # a video that is in the playlist twice
        (
            [page("a", 0, "video_____1", "video_____2", "video_____1")],
            ["a"],
            ["video_____1", "video_____2", "video_____1"],
        ),
        # a second attempt resumed at the third entry; the page of the first attempt is older there
        (
            [page("1/a", 0, "video_____1", "video_____2", "old________"), page("2/a", 2, "video_____3", listing=2)],
            ["2/a"],
            ["video_____1", "video_____2", "video_____3"],
        ),
        # a second attempt started from the beginning
        (
            [page("1/a", 0, "other_____1", "other_____2"), page("2/a", 0, "video_____1", listing=2)],
            ["2/a"],
            ["video_____1"],
        ),
        ([], [], []),
    ],
)
def test_entries_of_pages_are_sorted_by_position(
    pages: list[ListingPageFetched], keys: list[str], ids: list[str]
) -> None:
    assert [entry.video_id for entry in playlist.entries_of(pages, keys, total=len(ids))] == ids


def test_a_resumed_listing_without_further_entries_keeps_the_earlier_pages() -> None:
    """The first attempt delivered a page and failed; the next one resumed at the end of the playlist."""
    pages = [page("1/a", 0, "video_____1", "video_____2")]
    assert [entry.video_id for entry in playlist.entries_of(pages, [], total=2)] == ["video_____1", "video_____2"]


def test_a_playlist_file_contains_the_latest_listing_and_the_whole_history(tmp_path: Path) -> None:
    tree = ArchiveTree(tmp_path, tmp_path / "metadata", tmp_path / "videos")
    path = tree.playlist_metadata(PLAYLIST)
    save_listing(tree, PLAYLIST, finished(AT, completed(2, "a"), page("a", 0, "video_____1", "video_____2")))
    file = json.loads(path.read_text())
    assert [(line["change"], line["total"]) for line in file["history"]] == [("first_look", 2)]
    unknown_change = {"at": "2026-05-01T12:30:00Z", "video_id": "video_____1", "change": "blessed"}
    file["history"].append(unknown_change)
    path.write_text(json.dumps(file))
    save_listing(tree, PLAYLIST, finished(AT + HOUR, completed(1, "a"), page("a", 0, "video_____2"), title="Q"))
    newer = json.loads(path.read_text())
    assert newer["playlist_id"] == PLAYLIST
    assert newer["title"] == "Q"
    assert [entry["video_id"] for entry in newer["entries"]] == ["video_____2"]
    assert [listing["total"] for listing in newer["listings"]] == [2, 1]
    vanished = {
        "at": "2026-05-01T13:00:00Z", "job_id": "j", "change": "vanished", "video_id": "video_____1",
        "title": "video_____1",
    }  # fmt: skip
    assert newer["history"] == [*file["history"], vanished]
    save_listing(tree, PLAYLIST, finished(AT - HOUR, completed(1, "a"), page("a", 0, "video_____9")))
    late = json.loads(path.read_text())
    assert (late["entries"], late["history"]) == (newer["entries"], newer["history"])
    assert [listing["total"] for listing in late["listings"]] == [1, 2, 1]
    before = path.stat()
    save_listing(tree, PLAYLIST, finished(AT - HOUR, completed(1, "a"), page("a", 0, "video_____9")))
    assert path.stat() == before


def test_an_incomplete_listing_says_nothing_about_the_entries_that_it_leaves_out(tmp_path: Path) -> None:
    tree = ArchiveTree(tmp_path, tmp_path / "metadata", tmp_path / "videos")
    names = ("video_____1", "video_____2", "video_____3")

    def listed(hours: int, *videos: str, announced: int) -> dict[str, Any]:
        end = completed(len(videos), "a").model_copy(update={"announced": announced})
        save_listing(tree, PLAYLIST, finished(AT + hours * HOUR, end, page("a", 0, *videos)))
        return cast(dict[str, Any], json.loads(tree.playlist_metadata(PLAYLIST).read_text()))

    listed(0, *names, announced=3)
    short = listed(1, names[1], announced=3)
    assert short["listings"][-1]["incomplete"] is True
    assert [entry["video_id"] for entry in short["entries"]] == [names[1], names[0], names[2]]
    assert [line["change"] for line in short["history"]] == ["first_look"]

    whole = listed(2, *names, announced=3)
    assert [line["change"] for line in whole["history"]] == ["first_look"]
    assert whole["listings"][-1]["incomplete"] is False

    listed(3, *names[:2], announced=3)  # one is missing: hidden, or the list was cut short
    again = listed(4, *names[:2], announced=3)  # it is missing again
    assert [(line["change"], line.get("video_id")) for line in again["history"][1:]] == [("vanished", names[2])]


def test_an_unreadable_file_is_renamed_before_it_is_written(tmp_path: Path) -> None:
    tree = ArchiveTree(tmp_path, tmp_path / "metadata", tmp_path / "videos")
    video, listed = tree.video_metadata(VIDEO), tree.playlist_metadata(PLAYLIST)
    planned = tmp_path / "j.json"
    for path in (video, listed, planned):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half of a histo")
    save_metadata(tree, fetched("yt_dlp", AT), "t")
    save_listing(tree, PLAYLIST, finished(AT, completed(1, "a"), page("a", 0, "video_____1")))
    plan = WorkPlan(
        plan_id="j", job_id="j", trace_id="t", root="/a", type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(),
        targets=[PLAYLIST], created_at=AT, updated_at=AT,
    )  # fmt: skip
    save_plan(tmp_path, None, plan)
    for path in (video, listed, planned):
        assert path.with_name(f"{path.name}.unreadable").read_text() == "half of a histo"
        json.loads(path.read_text())
