"""metadata/playlists/{playlist_id}.json, and files that cannot be read."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from services.common.domain.videos import PlaylistMetadata, VideoMetadata
from services.common.events import ListingCompleted, ListingPageFetched, MetadataFetched
from services.common.models import JobOptions, JobType
from services.storage.archive.video_metadata_file import save_metadata
from services.storage.formats import playlist
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
    """The first attempt delivered a page and failed; the next one resumed at its cursor, where the list ended."""
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
