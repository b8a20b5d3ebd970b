"""The counts of an archive, and its channels in each order."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.infra.sqlite import Database
from services.common.settings.load import Storage
from services.storage.index.facets import ArchiveFacets, ChannelQuery
from services.storage.index.queries import CatalogueQueries, VideoFilter
from services.storage.index.schema import open_catalogue

VIDEOS = [  # channel, channel_id, upload_date, bytes
    ("Old", "UCold", "2005-04-23", 9),
    ("Old", "UCold", "2006-01-01", 1),
    ("new", "UCnew", "2024-03-01", 1),
    (None, "UCnameless", "2020-02-02", 2),
    ("Undated", None, None, 3),
]
LENGTHS = (None, 0.0, 240.0, 1_199.9, 1_200.0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_catalogue(tmp_path)

    def fill(db: sqlite3.Connection) -> None:
        for number, values in enumerate(VIDEOS):
            db.execute(
                "INSERT INTO videos (root, video_id, stamp, title, archived_at, qualities, incomplete, below_wanted,"
                " channel, channel_id, upload_date, bytes, duration_seconds)"
                " VALUES ('/', ?, '', 'T', '2026', '[\"1080p\"]', ?, 0, ?, ?, ?, ?, ?)",
                (f"v{number}", number % 2, *values, LENGTHS[number]),
            )
        db.execute("INSERT INTO searched_rows (video, language) VALUES (1, 'en'), (1, 'de'), (2, 'en'), (3, '')")
        db.execute("INSERT INTO known_gone VALUES ('v1', 'deleted', '2026'), ('elsewhere', 'deleted', '2026')")

    await opened.run(fill)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-newest", ["new", "UCnameless", "Old", "Undated"]),
        ("newest", ["Old", "UCnameless", "new", "Undated"]),  # what is not known comes last
        ("-bytes", ["Old", "Undated", "UCnameless", "new"]),
        ("-videos", ["Old", "UCnameless", "Undated", "new"]),
        ("title", ["new", "Old", "UCnameless", "Undated"]),
    ],
)
async def test_channels_are_sorted(database: Database, tmp_path: Path, sort: str, expected: list[str]) -> None:
    storage = Storage(base_path=tmp_path / "archive", base_data_dir=tmp_path)
    library = ArchiveFacets(database, CatalogueQueries(database, storage, ()))
    found = (await library.channels(ChannelQuery.model_validate({"sort": sort}))).channels
    assert [one.channel for one in found] == expected
    facts = {one.channel: (one.channel_id, one.newest) for one in found}
    assert facts == {
        "Old": ("UCold", "2006-01-01"),
        "new": ("UCnew", "2024-03-01"),
        "UCnameless": ("UCnameless", "2020-02-02"),
        "Undated": (None, None),
    }


async def test_counts_of_everything_are_those_of_a_filter_that_all_fulfil(database: Database, tmp_path: Path) -> None:
    """They are read in other ways: from totals, and from ranges of indexes."""
    storage = Storage(base_path=tmp_path / "archive", base_data_dir=tmp_path)
    library = ArchiveFacets(database, CatalogueQueries(database, storage, ()))
    everything = await library.facets(VideoFilter())
    assert everything == await library.facets(VideoFilter(watched=False))
    assert everything.model_dump() == {
        "total": 5,
        "channels": _counts({"Old": 2, "UCnameless": 1, "Undated": 1, "new": 1}),
        "years": _counts({"2024": 1, "2020": 1, "2006": 1, "2005": 1}),
        "lengths": _counts({"short": 1, "medium": 2, "long": 1}),
        "qualities": _counts({"1080p": 5}),
        "captions": _counts({"en": 2, "de": 1, "none": 3}),
        "gone": 1,
    }
    for status, years in (("complete", ["2024", "2005"]), ("incomplete", ["2020", "2006"])):
        flagged = await library.facets(VideoFilter.model_validate({"status": status}))
        assert flagged == await library.facets(VideoFilter.model_validate({"status": status, "watched": False}))
        assert [one.value for one in flagged.years] == years


def _counts(found: dict[str, int]) -> list[dict[str, object]]:
    return [{"value": value, "videos": videos} for value, videos in found.items()]
