"""The channels of an archive, in each order."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.infra.sqlite import Database
from services.common.settings.load import Storage
from services.storage.index.facets import ArchiveFacets, ChannelQuery
from services.storage.index.queries import CatalogueQueries
from services.storage.index.schema import open_catalogue

VIDEOS = [  # channel, channel_id, upload_date, bytes
    ("Old", "UCold", "2005-04-23", 9),
    ("Old", "UCold", "2006-01-01", 1),
    ("new", "UCnew", "2024-03-01", 1),
    (None, "UCnameless", "2020-02-02", 2),
    ("Undated", None, None, 3),
]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_catalogue(tmp_path)

    def fill(db: sqlite3.Connection) -> None:
        for number, values in enumerate(VIDEOS):
            db.execute(
                "INSERT INTO videos (root, video_id, stamp, title, archived_at, qualities, incomplete, below_wanted,"
                " channel, channel_id, upload_date, bytes) VALUES ('/', ?, '', 'T', '2026', '[]', 0, 0, ?, ?, ?, ?)",
                (f"v{number}", *values),
            )

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
