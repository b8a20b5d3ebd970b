"""Pages of lists with so many rows that they are read in the order of the list, or collected first (listing.py)."""

import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.common.infra.sqlite import utc_text
from services.common.settings.load import Storage
from services.storage.index.facets import ArchiveFacets, BucketQuery
from services.storage.index.queries import CatalogueQueries, VideoFilter, VideoQuery
from services.storage.index.schema import open_catalogue

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIZE = 10_000
AT = datetime(2026, 5, 1, tzinfo=UTC)
COLUMNS = "root, video_id, stamp, title, archived_at, bytes, qualities, incomplete, below_wanted, channel, upload_date"


@dataclass(frozen=True)
class Row:
    number: int
    title: str
    channel: str
    upload_date: str
    quality: str
    duration: float | None
    language: str

    @property
    def video_id(self) -> str:
        return f"v{self.number:05d}"


def rows() -> list[Row]:
    chance = random.Random(1)  # noqa: S311 - no secret
    return [
        Row(
            number,
            title=f"Title {chance.randrange(500)}",
            channel=chance.choice("aab"),
            upload_date=f"{chance.choice([2019, 2020, 2021, 2022])}-05-01",
            quality=chance.choice(["1080p", "720p"]),
            duration=chance.choice([None, 60.0, 2_000.0]),
            language=chance.choice(["", "en"]),
        )
        for number in range(SIZE)
    ]


ROWS = rows()
Library = tuple[CatalogueQueries, ArchiveFacets]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def library(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Library]:
    folder: Path = tmp_path_factory.mktemp("listing")
    database = open_catalogue(folder)

    def fill(db: sqlite3.Connection) -> None:
        for row in ROWS:
            values = (
                row.video_id,
                row.title,
                utc_text(AT + timedelta(minutes=row.number)),
                f'["{row.quality}"]',
                row.channel,
                row.upload_date,
            )
            cursor = db.execute(
                f"INSERT INTO videos ({COLUMNS}, duration_seconds) VALUES ('/', ?, '', ?, ?, 1, ?, 0, 0, ?, ?, ?)",  # noqa: S608 - a constant
                (*values, row.duration),
            )
            db.execute("INSERT INTO holdings VALUES (?, '')", (cursor.lastrowid,))
            db.execute("INSERT INTO searched_rows (video, language) VALUES (?, ?)", (cursor.lastrowid, row.language))

    await database.run(fill)
    queries = CatalogueQueries(database, Storage(base_path=folder / "archive", base_data_dir=folder), ())
    yield queries, ArchiveFacets(database, queries)
    database.close()


FILTERS: dict[str, tuple[dict[str, Any], Callable[[Row], bool]]] = {
    "half of all": ({"quality": "720p"}, lambda row: row.quality == "720p"),
    "a year": ({"year": 2020}, lambda row: row.upload_date.startswith("2020")),
    "two conditions": (
        {"min_length": 1_200, "captions": "en"},
        lambda row: row.duration == 2_000 and row.language == "en",
    ),
    "few": (
        {"year": 2020, "quality": "720p", "captions": "none", "max_length": 100},
        lambda row: (row.upload_date[:4], row.quality, row.language, row.duration) == ("2020", "720p", "", 60.0),
    ),
    "a set and conditions": (
        {"channel": "A", "captions": "none", "year": 2021},
        lambda row: row.channel == "a" and not row.language and row.upload_date.startswith("2021"),
    ),
    "a large set and a condition": (
        {"channel": "a", "quality": "1080p"},
        lambda row: row.channel == "a" and row.quality == "1080p",
    ),
}
SORTS: dict[str, Callable[[Row], Any]] = {
    "archived_at": lambda row: row.number,
    "title": lambda row: (row.title.lower(), row.number),
    "upload_date": lambda row: (row.upload_date, row.number),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_filtered_pages_and_counts(library: Library, name: str) -> None:
    queries, counts = library
    options, fits = FILTERS[name]
    wanted = [row for row in ROWS if fits(row)]
    for sort, key in SORTS.items():
        for descending in (False, True):
            ids = [row.video_id for row in sorted(wanted, key=key, reverse=descending)]
            for offset in (0, 1_990, 2_010, len(ids) - 5):
                query = {**options, "sort": "-" * descending + sort, "limit": 20, "offset": max(0, offset)}
                page = await queries.videos(VideoQuery.model_validate(query))
                found = [one.video_id for one in page.videos]
                assert (found, page.total) == (ids[max(0, offset) :][:20], len(ids)), (sort, offset)
    facets = await counts.facets(VideoFilter.model_validate(options))
    assert facets.total == len(wanted)
    assert sum(one.videos for one in facets.years) == sum(one.videos for one in facets.qualities) == len(wanted)
    assert sum(one.videos for one in facets.lengths) == sum(row.duration is not None for row in wanted)
    assert {one.value: one.videos for one in facets.captions}["none"] == sum(not row.language for row in wanted)
    months = await counts.buckets(BucketQuery.model_validate({**options, "by": "upload_date"}))
    assert months.total == len(wanted)
