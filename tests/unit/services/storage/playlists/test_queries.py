"""The playlists of an archive, and what is held of each."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.common.domain.videos import Entry
from services.common.infra.sqlite import Database
from services.common.settings.load import Storage
from services.storage.formats.layout import tree_of
from services.storage.formats.playlist import PlaylistFile
from services.storage.index.schema import open_catalogue
from services.storage.playlists.queries import EntryQuery, PlaylistQueries, PlaylistQuery

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(base_path=tmp_path / "archive", base_data_dir=tmp_path)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_catalogue(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """Threads that are exchanged after a microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def write(storage: Storage, playlist_id: str, *video_ids: str) -> None:
    entries = [Entry(video_id=one, position=number) for number, one in enumerate(video_ids)]
    file = PlaylistFile(playlist_id=playlist_id, title=playlist_id, fetched_at=AT, trace_id="t", entries=entries)
    path = tree_of(storage.base_path, storage).playlist_metadata(playlist_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.model_dump_json())


async def test_a_video_that_is_listed_twice_counts_twice_everywhere(storage: Storage, database: Database) -> None:
    """Else the second entry of a video would look as if it was not held."""
    held, gone, other = "held_______", "gone_______", "other______"

    def fill(db: sqlite3.Connection) -> None:
        db.executemany(
            "INSERT INTO videos (root, video_id, stamp, title, archived_at, bytes, qualities, incomplete, below_wanted)"
            " VALUES (?, ?, '', 'T', '2026-05-01', 1, '[]', 0, 0)",
            [("/one", held), ("/two", held)],
        )
        db.execute("INSERT INTO known_gone VALUES (?, 'deleted', '2026-05-01')", (gone,))

    await database.run(fill)
    write(storage, "PLtwice", held, gone, held, other, gone)
    queries = PlaylistQueries(database, storage)
    (row,) = (await queries.page(PlaylistQuery())).playlists
    assert (row.entries, row.held, row.gone) == (5, 2, 2)
    for state, number in (("held", row.held), ("missing", row.entries - row.held), ("gone", row.gone)):
        found = await queries.entries("PLtwice", EntryQuery.model_validate({"state": state}))
        assert (found.total, len(found.entries), found.playlist) == (number, number, row), state


@pytest.mark.usefixtures("hurried_threads")
async def test_playlists_are_read_by_several_threads_at_once(storage: Storage, database: Database) -> None:
    for number in range(12):
        write(storage, f"PL{number}", "video______")
    queries = PlaylistQueries(database, storage, kept=3)
    pages = await asyncio.gather(*(queries.page(PlaylistQuery()) for _ in range(200)))
    assert {page.total for page in pages} == {12}
