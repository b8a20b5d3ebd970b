"""metadata/videos/{video_id}.json: the metadata of several sources in one file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.common.domain.videos import VideoMetadata
from services.common.events import MetadataFetched
from services.storage.archive.video_metadata_file import is_up_to_date, read_video_file, save_metadata
from services.storage.formats.layout import ArchiveTree
from services.storage.reporting.timeline import title_events

VIDEO = "dQw4w9WgXcQ"
PLAYLIST = "PL0123456789abcdef"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fetched(source: str, at: datetime, **fields: object) -> MetadataFetched:
    metadata = VideoMetadata.model_validate({"video_id": VIDEO, "title": f"by {source}", **fields})
    return MetadataFetched(job_id="j", root="/a", video_id=VIDEO, source_name=source, fetched_at=at, metadata=metadata)


def tree_below(root: Path) -> tuple[ArchiveTree, Path]:
    """Return an archive, and the path of the video's metadata in it."""
    tree = ArchiveTree(root, root / "metadata", root / "videos")
    return tree, tree.video_metadata(VIDEO)


def test_all_sources_are_kept_and_the_newest_has_precedence_in_the_top_level_fields(tmp_path: Path) -> None:
    tree, path = tree_below(tmp_path)
    save_metadata(tree, fetched("yt_dlp", AT + HOUR, view_count=7, tags=["a"]), "t1")
    save_metadata(tree, fetched("data_api", AT, view_count=5, like_count=3), "t2")
    file = json.loads(path.read_text())
    assert set(file["sources"]) == {"data_api", "yt_dlp"}
    assert file["sources"]["data_api"]["metadata"]["view_count"] == 5
    assert file["sources"]["yt_dlp"]["fetched_at"] == "2026-05-01T13:00:00Z"
    assert (file["title"], file["view_count"], file["like_count"], file["tags"]) == ("by yt_dlp", 7, 3, ["a"])
    assert file["fetched_at"] == "2026-05-01T13:00:00Z"


def test_older_metadata_of_the_same_source_changes_nothing(tmp_path: Path) -> None:
    tree, path = tree_below(tmp_path)
    save_metadata(tree, fetched("yt_dlp", AT, title="new"), "t1")
    before = (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
    save_metadata(tree, fetched("yt_dlp", AT - HOUR, title="old"), "t0")
    save_metadata(tree, fetched("yt_dlp", AT, title="new"), "t1")
    assert (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) == before
    path.write_text("broken")
    save_metadata(tree, fetched("yt_dlp", AT, title="new"), "t1")
    assert json.loads(path.read_text())["title"] == "new"


def test_a_title_change_of_the_same_source_is_recorded(tmp_path: Path) -> None:
    tree, path = tree_below(tmp_path)
    hours_titles = [
        (0, "yt_dlp", "A"),
        (1, "data_api", "Ä"),
        (2, "yt_dlp", "B"),
        (1, "yt_dlp", "late"),
        (3, "yt_dlp", "B"),
    ]
    for hours, source, title in hours_titles:
        save_metadata(tree, fetched(source, AT + hours * HOUR, title=title), "t")
    file = read_video_file(path)
    assert file is not None
    assert [(line.change, line.before, line.title, line.source, line.at) for line in title_events(file, "/a")] == [
        ("retitled", "A", "B", "yt_dlp", AT + 2 * HOUR)
    ]


def test_an_answer_of_a_clock_that_was_ahead_is_replaced(tmp_path: Path) -> None:
    tree, path = tree_below(tmp_path)
    ahead = fetched("yt_dlp", datetime.now(UTC) + timedelta(days=3650), title="of the future")
    save_metadata(tree, ahead, "t")
    assert is_up_to_date(path, ahead)  # the same message again
    save_metadata(tree, fetched("data_api", AT, title="of the other source"), "t")
    assert json.loads(path.read_text())["title"] == "of the other source"
    assert not is_up_to_date(path, fetched("yt_dlp", AT))
    save_metadata(tree, fetched("yt_dlp", AT + HOUR, title="of today"), "t")
    assert json.loads(path.read_text())["title"] == "of today"
