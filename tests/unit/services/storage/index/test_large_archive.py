"""What makes a large archive fast, and must not change an answer: pages by cursor, kept totals, capped searches, the
catalogue's compressed rows, and rescans that read only what has changed."""

import asyncio
import itertools
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.domain.archive import FileRole, Provenance, Revisit, RevisitReason
from services.common.domain.videos import VideoMetadata
from services.common.errors import InvalidRequest
from services.common.infra.sqlite import Database
from services.common.names import VideoSort
from services.common.settings.load import Config, Storage
from services.storage.archive.fingerprint import TextFingerprints
from services.storage.formats.captions import CaptionLine
from services.storage.formats.manifest import Holding, Manifest, ManifestEntry, Requested
from services.storage.index import holdings
from services.storage.index.catalogue import Catalogue, IndexEntry
from services.storage.index.fts import CaptionTrack, VideoTexts
from services.storage.index.queries import CatalogueQueries, VideoPage, VideoQuery
from services.storage.index.schema import SORT_KEYS, catalogue_path, open_catalogue
from services.storage.index.search import ArchiveSearch, SearchPage, SearchQuery
from tests.benchmarks import archive_growth
from tests.benchmarks.archive_world import World
from tests.fixtures.archive_parts import ArchiveParts, archive_parts

AT = datetime(2026, 5, 1, tzinfo=UTC)
SORTS: Sequence[VideoSort] = [
    "title", "-title", "archived_at", "-archived_at", "upload_date", "-upload_date", "duration", "-duration", "bytes",
    "-bytes",
]  # fmt: skip
ROOTS = ("/archive", "/other")


class Index:
    """A catalogue without an archive tree."""

    def __init__(self, folder: Path) -> None:
        self.database: Database = open_catalogue(folder)
        self.catalogue = Catalogue(self.database)
        storage = Storage(base_path=folder / "archive", base_data_dir=folder)
        self.queries = CatalogueQueries(self.database, storage, ())
        self._search = ArchiveSearch(self.database, storage)

    async def videos(self, **options: Any) -> VideoPage:
        return await self.queries.videos(VideoQuery.model_validate(options))

    async def search(self, words: str, **options: Any) -> SearchPage:
        return await self._search.find(SearchQuery.model_validate({"q": words, **options}))


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    made = Index(tmp_path)
    yield made
    made.database.close()


def entry(number: int, root: str = ROOTS[0], *, captions: str = "", **facts: Any) -> IndexEntry:
    """`facts`: `size`, `absent`, `reasons`, `archived_at`, and the fields of VideoMetadata."""
    video_id = f"v{number:010d}"
    archived_at = facts.pop("archived_at", AT + timedelta(minutes=number))
    size, absent, reasons = facts.pop("size", 1), facts.pop("absent", ()), facts.pop("reasons", ())
    held = ManifestEntry(role=FileRole.VIDEO, size=size, sha256="0" * 64, dispatch_id="d", archived_at=archived_at)
    metadata = VideoMetadata.model_validate({"video_id": video_id, "title": f"Video {number}", **facts})
    manifest = Manifest(
        video_id=video_id,
        fixity={f"{video_id}.mp4": held},
        metadata=metadata,
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
        archived_at=archived_at,
        updated_at=archived_at,
        absent=absent,
        revisit=Revisit(reasons=reasons, since=AT),
    )
    track = (CaptionTrack("en", (CaptionLine(1000, captions),)),) if captions else ()
    texts = VideoTexts(
        TextFingerprints("1", "1", "1"), metadata.title, metadata.channel or "", metadata.description, track
    )
    return IndexEntry(root, "1", manifest, texts)


# --- pages ----------------------------------------------------------------------------------------------------------

described = st.builds(
    entry,
    st.integers(0, 25),
    st.sampled_from(ROOTS),
    title=st.sampled_from(["alpha", "Alpha", "beta", "Ärger", "", "x" * 300]),
    channel=st.sampled_from([None, "One", "two"]),
    channel_id=st.sampled_from([None, "UC1"]),
    duration_seconds=st.sampled_from([None, 0.0, 1.5, 60.0]),
    upload_date=st.sampled_from([None, "2026-01-01", "2026-02-01"]),
    archived_at=st.sampled_from([AT, AT + timedelta(days=1)]),
    size=st.integers(0, 3),
    absent=st.sampled_from([(), ("thumbnail",)]),
    reasons=st.sampled_from([(), (RevisitReason.LOWER,)]),
)
archives = st.lists(described, max_size=30, unique_by=lambda one: (one.root, one.manifest.video_id))
on_disk = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_index(folder: Path, work: Callable[[Index], Any]) -> None:
    async def run() -> None:
        catalogue_path(folder).unlink(missing_ok=True)
        index = Index(folder)
        try:
            await work(index)
        finally:
            index.database.close()

    asyncio.run(run())


def key_of(one: IndexEntry, sort: str) -> Any:
    metadata = one.manifest.metadata
    keys = {
        "title": metadata.title.translate({code: code + 32 for code in range(ord("A"), ord("Z") + 1)}),
        "archived_at": one.manifest.archived_at,
        "upload_date": metadata.upload_date,
        "duration": metadata.duration_seconds,
        "bytes": one.manifest.bytes,
    }
    return keys[sort]


def expected(entries: Sequence[IndexEntry], sort: str) -> list[str]:
    """Return the ids in order: rows without a value last, equal ones by id."""
    name, down = sort.removeprefix("-"), sort.startswith("-")
    valued = [one for one in entries if key_of(one, name) is not None]
    others = [one for one in entries if key_of(one, name) is None]
    ordered = sorted(valued, key=lambda one: (key_of(one, name), one.manifest.video_id), reverse=down)
    ordered += sorted(others, key=lambda one: one.manifest.video_id, reverse=down)
    return [one.manifest.video_id for one in ordered]


def matches(one: IndexEntry, filters: dict[str, Any]) -> bool:
    checks: dict[str, Callable[[Any], bool]] = {
        "status": lambda status: (status == "incomplete") == bool(one.manifest.absent),
        "below_wanted": lambda wanted: not wanted or bool(one.manifest.revisit and one.manifest.revisit.reasons),
        "channel": lambda name: one.manifest.metadata.channel_id == name or _equal(one.manifest.metadata.channel, name),
        "q": lambda word: word in one.manifest.metadata.title.lower().split(),
    }
    return all(checks[name](value) for name, value in filters.items())


def _equal(channel: str | None, name: str) -> bool:
    return channel is not None and channel.lower() == name.lower()


@on_disk
@given(
    entries=archives,
    sort=st.sampled_from(SORTS),
    limit=st.integers(1, 7),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["complete", "incomplete"]),
            "below_wanted": st.booleans(),
            "channel": st.sampled_from(["ONE", "UC1", "nobody"]),
            "q": st.sampled_from(["alpha", "nothing"]),
        },
    ),
)
def test_pages_by_cursor_and_by_offset_list_the_same_videos_in_order(
    tmp_path: Path, entries: list[IndexEntry], sort: VideoSort, limit: int, filters: dict[str, Any]
) -> None:
    chosen = expected([one for one in entries if matches(one, filters)], sort)

    async def walk(index: Index) -> None:
        await index.catalogue.put(entries)
        asked: dict[str, Any] = {"sort": sort, "limit": limit, **filters}
        by_cursor, after = list[str](), None
        while True:
            page = await index.videos(**asked, **({"after": after} if after else {}))
            by_offset = await index.videos(**asked, offset=len(by_cursor))
            assert page.videos == by_offset.videos
            assert page.next == by_offset.next
            assert page.total == by_offset.total == len(chosen)
            by_cursor += [video.video_id for video in page.videos]
            if (after := page.next) is None:
                break
        assert by_cursor == chosen

    with_index(tmp_path, walk)


async def test_a_cursor_of_another_list_is_refused(index: Index) -> None:
    await index.catalogue.put([entry(number) for number in range(3)])
    cursor = (await index.videos(limit=1)).next
    with pytest.raises(InvalidRequest, match="sorted by -archived_at, this one is sorted by title"):
        await index.videos(sort="title", after=cursor)
    for broken in ("x", "%%%", "e30", (cursor or "")[:-4]):
        with pytest.raises(InvalidRequest, match="begin without it"):
            await index.videos(after=broken)
    with pytest.raises(ValueError, match="not both"):
        await index.videos(after=cursor, offset=1)


@pytest.mark.parametrize("sort", SORTS)
async def test_a_page_is_read_from_the_index_of_its_order(index: Index, sort: VideoSort) -> None:
    """No sorting, and no scan of the rows themselves, however large the archive is."""
    await index.catalogue.put([entry(number) for number in range(10)])
    statements = list[str]()

    def plans(db: sqlite3.Connection) -> list[str]:
        db.set_trace_callback(statements.append)
        return []

    for options in ({}, {"offset": 5}, {"status": "incomplete"}, {"below_wanted": True}):
        await index.database.read(plans)
        page = await index.videos(sort=sort, limit=3, **options)
        if page.next:
            await index.videos(sort=sort, limit=3, after=page.next)
    await index.database.read(lambda db: db.set_trace_callback(None))
    selected = [one for one in statements if one.lstrip().startswith("SELECT id")]
    assert len(selected) >= 4

    def explain(db: sqlite3.Connection) -> list[str]:
        return [row["detail"] for one in selected for row in db.execute(f"EXPLAIN QUERY PLAN {one}")]

    name = sort.removeprefix("-")
    assert name in SORT_KEYS
    for detail in await index.database.read(explain):
        assert f"USING COVERING INDEX videos_by_{name}" in detail or "LAST TERM" in detail, detail


# --- totals ---------------------------------------------------------------------------------------------------------

changes = st.lists(st.one_of(described, st.tuples(st.sampled_from(ROOTS), st.integers(0, 25))), max_size=40)


@on_disk
@given(changes=changes)
def test_kept_totals_equal_a_full_count_after_any_changes(
    tmp_path: Path, changes: list[IndexEntry | tuple[str, int]]
) -> None:
    """A change adds or replaces a video, or removes one."""
    held = dict[tuple[str, str], IndexEntry]()

    async def apply(index: Index) -> None:
        for change in changes:
            if isinstance(change, IndexEntry):
                await index.catalogue.put([change])
                held[change.root, change.manifest.video_id] = change
            else:
                root, video_id = change[0], f"v{change[1]:010d}"
                await index.catalogue.remove_video(root, video_id)
                held.pop((root, video_id), None)
        stats = await index.queries.stats([])
        sizes = Counter[str]()
        videos = Counter(one.root for one in held.values())
        for one in held.values():
            sizes[one.root] += one.manifest.bytes
        lengths = sum(one.manifest.metadata.duration_seconds or 0 for one in held.values())
        assert {one.root: one.videos for one in stats.roots} == dict(videos)
        assert {one.root: one.bytes for one in stats.roots} == {root: sizes[root] for root in videos}
        assert (stats.videos, stats.bytes, stats.duration_seconds) == (len(held), sizes.total(), lengths)
        told = [one.manifest.metadata for one in held.values()]
        channels = Counter(one.channel or one.channel_id or "" for one in told)
        assert {one.channel: one.videos for one in stats.channels} == dict(channels)
        times = [one.manifest.archived_at for one in held.values()]
        assert (stats.oldest, stats.newest) == (min(times, default=None), max(times, default=None))
        totals = await index.catalogue.totals()
        assert (totals.videos, totals.bytes) == (len(held), sizes.total())
        for status in ("complete", "incomplete"):
            page = await index.videos(status=status, limit=500)
            assert page.total == len(page.videos)

    with_index(tmp_path, apply)


def churn(folder: str) -> None:
    """Add, replace and remove videos without end, and print a line after each transaction."""

    async def work(index: Index) -> None:
        for number in itertools.count():
            facts: dict[str, Any] = {"size": number, "channel": f"Channel {number % 3}", "title": f"Title {number % 7}"}
            facts["absent"] = ("thumbnail",) if number % 5 == 0 else ()
            await index.catalogue.put([entry((number + n) % 40, captions="said", **facts) for n in range(5)])
            await index.catalogue.remove_video(ROOTS[0], f"v{number % 40:010d}")
            sys.stdout.write("done\n")
            sys.stdout.flush()

    with_index(Path(folder), work)


async def test_a_kill_at_any_moment_leaves_totals_and_indexes_equal_to_the_rows(tmp_path: Path) -> None:
    for round_number, transactions in enumerate((1, 7, 23)):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        code = f"from {__name__} import churn; churn({str(folder)!r})"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(transactions):
            assert await child.stdout.readline() == b"done\n"
        child.kill()
        await child.wait()
        index = Index(folder)
        await index.database.run(_expect_consistent)
        index.database.close()


def _expect_consistent(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError when an index lacks a text, or has another one."""
    for name in ("search_index", "name_index"):
        db.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)")  # noqa: S608 - constants
    counted = "SELECT count(*), total(bytes) FROM videos"
    kept = "SELECT total(videos), total(bytes) FROM video_totals"
    assert tuple(db.execute(kept).fetchone()) == tuple(db.execute(counted).fetchone())
    channels = "SELECT coalesce(channel, ''), count(*), sum(bytes) FROM videos GROUP BY 1 ORDER BY 1"
    kept = "SELECT channel, videos, bytes FROM channel_totals ORDER BY 1"
    assert [tuple(row) for row in db.execute(kept)] == [tuple(row) for row in db.execute(channels)]
    ids = {row[0] for row in db.execute("SELECT id FROM videos")}
    assert ids
    for table, column in (("holdings", "id"), ("searched_videos", "id"), ("searched_rows", "video")):
        assert {row[0] for row in db.execute(f"SELECT {column} FROM {table}")} == ids  # noqa: S608 - constants


# --- search ---------------------------------------------------------------------------------------------------------


async def test_a_word_of_most_videos_is_counted_up_to_a_thousand_and_the_best_come_first(index: Index) -> None:
    many = [entry(number, captions="word", channel=f"Channel {number % 600}") for number in range(1200)]
    many[3] = entry(3, title="The word", captions="other")
    many[4] = entry(4, description="a word", captions="other")
    await index.catalogue.put(many)
    page = await index.search("word", limit=3)
    assert (page.total, page.more_than_total) == (1000, True)
    assert [hit.video_id for hit in page.hits][:2] == ["v0000000003", "v0000000004"]
    assert page.hits[2].moments[0].text == "word"
    assert len({hit.video_id for hit in (await index.search("wo*", limit=100, offset=900)).hits}) == 100
    assert (await index.search("word", offset=1000)).hits == []
    exact = await index.search("word", channel="Channel 7")
    assert (exact.total, exact.more_than_total) == (2, False)
    without = await index.search("word -other", limit=1)
    assert (without.total, without.more_than_total) == (1000, True)
    in_titles = await index.search("video", limit=2)
    assert (in_titles.total, in_titles.more_than_total) == (1000, True)
    assert [hit.texts[0].place for hit in in_titles.hits] == ["title", "title"]


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_stored_holding_is_small_and_readable_by_every_later_version() -> None:
    """The bytes were written by the first version that compressed rows: the dictionary must never change."""
    manifest = entry(7, reasons=(RevisitReason.LOWER,)).manifest
    holding = Holding.model_validate(manifest.model_dump(include=set(Holding.model_fields)))
    assert holdings.unpack(holdings.pack(holding)) == holding
    assert holdings.unpack(bytes.fromhex(STORED)) == holding
    assert len(holdings.pack(holding)) < len(holding.model_dump_json(exclude_none=True)) / 3


STORED = (
    "78f984e7504e43c91d650630608e925190c489ce330614027c119c8223864d619e34b7c21bb5a8710a2926d0c21211a160696262145ac6"
    "a2973f24449229722481dc0f00869677e1"
)


@pytest.mark.parametrize(
    ("asked", "absent", "held", "lacks"),
    [
        ({}, [], [], False),
        ({"qualities": ["1080p"]}, [], [("video", None)], False),
        ({"qualities": ["audio"]}, [], [("audio", None)], False),
        ({"qualities": ["1080p"]}, [], [("info", None)], True),
        ({"thumbnail": True}, [], [("video", None)], True),
        ({"thumbnail": True}, [], [("thumbnail", None)], False),
        ({"captions": ["en", "de"]}, [], [("caption", "en")], True),
        ({"captions": ["en"]}, [], [("caption", "en"), ("caption", "de")], False),
        ({}, ["captions/de"], [("video", None)], True),
    ],
)
def test_a_video_is_incomplete_when_something_requested_is_not_held(
    asked: dict[str, Any], absent: list[str], held: list[tuple[str, str | None]], lacks: bool
) -> None:
    files = {
        f"{role}{language}": ManifestEntry(
            role=FileRole(role), language=language, size=1, sha256="", dispatch_id="d", archived_at=AT
        )
        for role, language in held
    }
    found = {"video_id": "v", "fixity": files, "asked": Requested.model_validate(asked), "absent": absent}
    assert holdings.lacks_something(Holding.model_validate(found)) == lacks


# --- rescans --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(config: Config) -> AsyncIterator[ArchiveParts]:
    """An archive of three videos that is indexed."""
    with archive_parts(config.storage) as parts:
        await World(config.storage).fill(parts.catalogue, 3)
        yield parts


async def test_a_rescan_reads_no_unchanged_file(world: ArchiveParts, config: Config) -> None:
    tree = world.roots.tree(config.storage.base_path)
    complete = await world.catalogue.dump()
    files = [path for folder in (tree.videos, tree.metadata) for path in folder.rglob("*.*") if path.is_file()]
    for path in files:
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)  # what cannot be read would be logged and left out
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = await world.indexer.rescan(config.storage.base_path)
    assert (result.videos, result.forgotten, result.unreadable) == (3, 0, 0)
    assert await world.catalogue.dump() == complete


@pytest.mark.parametrize("place", ["", "v0000000001_metadata.json"])
async def test_a_link_in_place_of_an_unchanged_manifest_or_folder_is_not_followed(
    world: ArchiveParts, config: Config, tmp_path: Path, place: str
) -> None:
    tree = world.roots.tree(config.storage.base_path)
    path, before = tree.video_dir("v0000000001") / place, await world.catalogue.dump()
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    await world.indexer.rescan(config.storage.base_path)
    after = await world.catalogue.dump()
    assert after["videos"] == [before["videos"][0], before["videos"][2]]


@pytest.mark.parametrize("kind", ["manifest", "metadata", "captions", "captions gone"])
async def test_a_rescan_finds_each_changed_file(world: ArchiveParts, config: Config, kind: str) -> None:
    tree, video_id = world.roots.tree(config.storage.base_path), "v0000000001"
    captions = tree.video_dir(video_id) / "captions" / f"{video_id}_en.vtt"
    paths = {"manifest": tree.manifest(video_id), "metadata": tree.video_metadata(video_id), "captions": captions}
    before = await world.catalogue.dump()
    if kind == "captions gone":
        captions.unlink()
    elif kind == "captions":
        captions.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nother words\n")
    else:
        text = paths[kind].read_text()
        title = before["videos"][1][3]
        paths[kind].write_text(text.replace(f'"title": "{title}"', '"title": "Another title"'))
    await world.indexer.rescan(config.storage.base_path)
    after = await world.catalogue.dump()
    assert after["searched"] != before["searched"]
    assert [after["searched"][n] == before["searched"][n] for n in (0, 2)] == [True, True]
    again = await world.indexer.rescan(config.storage.base_path)
    assert (again.videos, await world.catalogue.dump() == after) == (3, True)


# --- the measurement ------------------------------------------------------------------------------------------------


async def test_the_measurement_of_growth_runs(tmp_path: Path) -> None:
    parts = [name for name in archive_growth.PARTS if name != "start"]
    figures = await archive_growth.measure(tmp_path, 120, parts)
    assert all(figure.value > 0 for figure in figures.values())
    shown = archive_growth.table({120: figures})
    assert all(name in shown for name in figures)
