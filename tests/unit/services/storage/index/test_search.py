"""Search in an archive of real files, and the updates of its index."""

import asyncio
import fcntl
import hashlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.errors import ServiceUnavailable
from services.common.events import DownloadCompleted, MetadataFetched
from services.common.settings.load import Config
from services.storage.archive.video_metadata_file import save_metadata
from services.storage.formats.playlist import PlaylistFile
from services.storage.index.queries import VideoQuery
from services.storage.index.search import SearchHit, SearchQuery
from services.storage.offline import OfflineStorage
from tests.fixtures.archive_parts import ArchiveParts, archive_parts
from tests.fixtures.old_catalogue import write_old_catalogue

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


@dataclass
class Archive:
    """The archive, with queries that open the catalogue themselves as offline commands do."""

    config: Config
    parts: ArchiveParts
    dispatches: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        return str(self.config.storage.base_path)

    async def take_in(self, video_id: str, captions: dict[str, bytes] | None = None, **metadata: Any) -> None:
        dispatch = f"d{len(self.dispatches)}"
        self.dispatches.append(dispatch)
        directory = self.config.storage.tmp_dir / f"{video_id}.part"
        directory.mkdir(parents=True, exist_ok=True)
        named: list[tuple[str, FileRole, str | None, bytes]] = [("x.mp4", FileRole.VIDEO, None, video_id.encode())]
        named += [(f"{code}.vtt", FileRole.CAPTION, code, text) for code, text in (captions or {}).items()]
        facts = []
        for name, role, language, data in named:
            (directory / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            facts.append(FileFact(name=name, role=role, size=len(data), sha256=digest, language=language))
        event = DownloadCompleted(
            dispatch_id=dispatch,
            fetch_id="f1",
            job_id="j1",
            video_id=video_id,
            root=self.root,
            wanted=Wanted(thumbnail=False, captions=tuple(captions or ())),
            directory=str(directory),
            files=tuple(facts),
            metadata=VideoMetadata.model_validate({"video_id": video_id, "title": "Untitled", **metadata}),
            provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
        )
        await self.parts.store.take_in(event, "t")

    async def fetch_metadata(self, video_id: str, hours: int = 1, **metadata: Any) -> None:
        """Save and index metadata of a video, as the service does for a metadata.fetched event."""
        tree = self.parts.roots.tree(self.root)
        event = MetadataFetched(
            job_id="j1",
            root=self.root,
            video_id=video_id,
            source_name="yt_dlp",
            fetched_at=AT + timedelta(hours=hours),
            metadata=VideoMetadata.model_validate({"video_id": video_id, "title": "Untitled", **metadata}),
        )
        await asyncio.to_thread(save_metadata, tree, event, "t")
        await self.parts.indexer.follow_metadata(tree, video_id)

    async def hits(self, words: str, **also: Any) -> list[SearchHit]:
        query = SearchQuery.model_validate({"q": words, **also})
        return (await OfflineStorage(self.config).search(query)).hits

    async def ids(self, words: str, **also: Any) -> list[str]:
        return [hit.video_id for hit in await self.hits(words, **also)]

    async def listed(self, **filters: Any) -> list[str]:
        page = await OfflineStorage(self.config).videos(VideoQuery.model_validate({"sort": "title", **filters}))
        return [video.video_id for video in page.videos]

    async def check(self) -> None:
        """Raise an error if the index does not match the indexed texts."""
        query = "INSERT INTO search_index (search_index, rank) VALUES ('integrity-check', 1)"
        await self.parts.database.run(lambda db: db.execute(query))


@pytest.fixture
async def archive(config: Config) -> AsyncIterator[Archive]:
    with archive_parts(config.storage) as parts:
        yield Archive(config, parts)


def vtt(*lines: str) -> bytes:
    """Return captions with a line every ten seconds, starting at 0:05."""
    cues = [f"00:{n // 6:02}:{n % 6}5.250 --> 00:{n // 6:02}:{n % 6}9.000\n{line}\n" for n, line in enumerate(lines)]
    return ("WEBVTT\n\n" + "\n".join(cues)).encode()


async def test_a_video_is_found_by_title_channel_description_and_captions(archive: Archive) -> None:
    captions = {"en": vtt(*["hm"] * 70, "the quick brown", "fox jumps"), "ja": vtt("東京タワーへようこそ")}
    await archive.take_in(
        A, captions, title="Animals at night", channel="Nature Hour", channel_id="UCx", description="All\nin the dark"
    )
    for words in ("night", "hour animals", '"in the dark"', '"quick brown fox"', "jump* nature", "京タワー"):
        assert await archive.ids(words) == [A], words
    (hit,) = await archive.hits('hour "in the dark" "brown fox"')
    assert (hit.title, hit.channel, hit.root) == ("Animals at night", "Nature Hour", archive.root)
    assert [(text.place, text.text, text.matches) for text in hit.texts] == [
        ("channel", "Nature Hour", [(7, 11)]),
        ("description", "All in the dark", [(4, 15)]),
    ]
    (moment,) = hit.moments
    assert (moment.text, moment.matches) == ("the quick brown fox jumps", [(10, 19)])
    assert (moment.language, moment.start_seconds) == ("en", 705.25)
    assert moment.url == f"https://www.youtube.com/watch?v={A}&t=705s"
    assert Path(moment.file) == archive.parts.roots.tree(archive.root).video_dir(A) / "captions" / f"{A}_en.vtt"
    assert await archive.ids("nobody") == []
    await archive.check()


async def test_search_filters_by_place_channel_language_and_playlist(archive: Archive) -> None:
    await archive.take_in(A, {"en": vtt("fox"), "de": vtt("Fuchs")}, title="One", channel="First", channel_id="UC1")
    await archive.take_in(B, {"de": vtt("der fox")}, title="Fox", channel="Second", channel_id="UC2")
    await archive.take_in(C, description="a fox", channel="Fox")
    assert await archive.ids("fox") == [B, C, A]
    for place, ids in {"title": [B], "channel": [C], "description": [C], "captions": [A, B]}.items():
        assert sorted(await archive.ids("fox", **{"in": place})) == ids, place
    assert await archive.ids("fox", channel="first") == await archive.ids("fox", channel="UC1") == [A]
    assert await archive.ids("fox", language="de") == [B]
    assert await archive.ids("fuchs fox") == []  # captions in two languages are two texts,
    assert await archive.ids("fox -fuchs") == [B, C]  # but belong to one video
    assert await archive.ids("fox", limit=1, offset=1) == [C]
    path = archive.parts.roots.tree(archive.root).playlist_metadata("PL1")
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"video_id": A, "position": 0}, {"video_id": "ddddddddddd", "position": 1}]
    about = {"playlist_id": "PL1", "fetched_at": AT, "trace_id": "t", "entries": entries, "listings": []}
    path.write_text(PlaylistFile.model_validate(about).model_dump_json())
    assert await archive.ids("fox", playlist="PL1") == [A]
    assert await archive.ids("fox", playlist="PL2") == []


async def test_matches_in_the_title_rank_above_frequent_matches_in_captions(archive: Archive) -> None:
    others = {"en": vtt(*["something else"] * 50)}
    for number in range(8):  # a word in every text would have no weight
        await archive.take_in(f"other-{number:05}", others, title="Nothing", description="at all")
    await archive.take_in(A, {"en": vtt(*["fox fox fox"] * 60)}, title="Last")
    await archive.take_in(B, others, title="Second", channel="The Fox Channel")
    await archive.take_in(C, others, title="A fox", description="long " * 500)
    await archive.take_in("ddddddddddd", others, title="Third", description="one fox")
    assert await archive.ids("fox") == [C, B, "ddddddddddd", A]
    (hit,) = await archive.hits("fox", channel=None, **{"in": "captions"}, moments=3)
    assert (len(hit.moments), hit.moments_total) == (3, 60)


async def test_replaced_and_removed_captions_leave_the_index(archive: Archive) -> None:
    await archive.take_in(A, {"en": vtt("old words"), "de": vtt("alte Worte")})
    await archive.take_in(A, {"en": vtt("new words")})
    assert await archive.ids("old") == []
    assert await archive.ids("new") == await archive.ids("alte") == [A]
    place = archive.parts.roots.tree(archive.root).video_dir(A) / "captions" / f"{A}_de.vtt"
    place.unlink()
    await archive.parts.indexer.rescan(archive.root)
    assert await archive.ids("alte") == []
    assert await archive.ids("new") == [A]
    await archive.check()
    archive.parts.roots.tree(archive.root).manifest(A).unlink()
    await archive.parts.indexer.rescan(archive.root)
    assert await archive.ids("new") == []
    await archive.check()
    assert (await archive.parts.catalogue.dump())["searched"] == []


async def test_new_metadata_of_a_held_video_updates_the_index(archive: Archive) -> None:
    await archive.fetch_metadata(A, title="Once", description="first words")
    assert await archive.parts.texts.fingerprints(archive.root, [A]) == {}  # no files are held
    await archive.take_in(A, {"en": vtt("said")}, title="Once", description="first words")
    await archive.fetch_metadata(A, hours=2, title="Now", description="second words")
    assert await archive.ids("first") == []
    assert await archive.ids("second said") == [A]
    (hit,) = await archive.hits("now")
    assert (hit.title, hit.texts[0].text) == ("Once", "Now")
    assert await archive.ids("once") == await archive.listed(q="once") == await archive.listed(q="now") == [A]
    before = await archive.parts.catalogue.dump()
    await archive.parts.indexer.rescan(archive.root)
    assert await archive.parts.catalogue.dump() == before
    await archive.check()


async def test_the_video_list_is_filtered_by_words_of_title_and_channel(archive: Archive) -> None:
    await archive.take_in(A, {"en": vtt("said")}, title="Über Füchse", channel="Nature", description="told")
    await archive.take_in(B, title="Another", channel="Nature")
    assert await archive.listed(q="fuchse") == [A]
    assert await archive.listed(q="nature") == [B, A]
    assert await archive.listed(q="nature -uber") == [B]
    assert await archive.listed(q="fuch*") == [A]
    for nothing in ("said", "told", "fuch", "!!!", "-nature"):
        assert await archive.listed(q=nothing) == [], nothing


async def test_unreadable_captions_do_not_prevent_a_commit(archive: Archive) -> None:
    await archive.take_in(A, {"en": b"<html>sorry</html>", "de": b"\xff\xfe\x00broken", "fr": vtt("bien")}, title="One")
    assert await archive.ids("one", language="fr") == await archive.ids("bien") == [A]
    assert await archive.ids("sorry") == []


async def test_a_changed_manifest_is_detected_and_indexed_again(archive: Archive) -> None:
    """The manifest is changed outside this process."""
    await archive.take_in(A, {"en": vtt("word")}, title="Old")
    manifest = archive.parts.roots.tree(archive.root).manifest(A)
    manifest.write_text(manifest.read_text().replace('"Old"', '"Changed"'))
    assert not archive.parts.indexer.texts_missing.is_set()
    await archive.parts.store.held(archive.root, [A])
    assert archive.parts.indexer.texts_missing.is_set()
    assert await archive.parts.texts.missing() == [(archive.root, A)]
    await archive.parts.indexer.index_missing()
    assert await archive.ids("changed word") == [A]
    assert await archive.parts.texts.missing() == []
    assert (archive.parts.indexer.texts_missing.is_set(), archive.parts.indexer.unindexed) == (False, 0)


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_catalogue_of_an_older_version_is_renewed_by_the_next_start(config: Config, version: int) -> None:
    path = config.storage.base_data_dir / "catalogue.db"
    with archive_parts(config.storage) as parts:
        archive = Archive(config, parts)
        for video_id in (A, B):
            await archive.take_in(video_id, {"en": vtt("word")})
        before = await parts.catalogue.dump()
    write_old_catalogue(path, version)
    for asked in (archive.hits("word"), archive.listed()):
        with pytest.raises(ServiceUnavailable, match="ytarchive up"):
            await asked
    with archive_parts(config.storage) as parts:
        assert bool(await parts.texts.missing()) == (version == 1)
        await parts.indexer.index_missing()
        assert await parts.catalogue.dump() == before
        await Archive(config, parts).check()
    assert await archive.ids("word") == [A, B]
    assert await archive.listed(q="untitled", status="complete") == [A, B]


async def test_a_rescan_does_not_index_unchanged_captions_again(archive: Archive) -> None:
    await archive.take_in(A, {"en": vtt("word")})
    before = await archive.parts.texts.fingerprints(archive.root, [A])
    changes = await archive.parts.database.run(sqlite3.Connection.total_changes.__get__)
    await archive.parts.indexer.rescan(archive.root)
    after = await archive.parts.database.run(sqlite3.Connection.total_changes.__get__)
    assert await archive.parts.texts.fingerprints(archive.root, [A]) == before
    assert after - changes < 6  # rows of the video only; indexing texts would change a dozen


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="file leases are a feature of Linux")
async def test_a_rescan_does_not_overwrite_newer_texts(archive: Archive) -> None:
    """The rescan has read the old text of the first video and is blocked by a file lease while newer texts are
    indexed."""
    await archive.take_in(A, title="Old", description="first words")
    await archive.take_in(B, {"en": vtt("word")})
    await archive.parts.database.run(lambda db: db.execute("UPDATE searched_videos SET format = 0"))
    captions = archive.parts.roots.tree(archive.root).video_dir(B) / "captions" / f"{B}_en.vtt"
    await asyncio.to_thread(captions.write_bytes, vtt("overtaken"))
    opening, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGURG, opening.set)
    leased = os.open(captions, os.O_RDWR)
    fcntl.fcntl(leased, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    rescan = asyncio.create_task(archive.parts.indexer.rescan(archive.root))
    await asyncio.wait_for(opening.wait(), 30)
    await archive.fetch_metadata(A, title="Old", description="second words")
    await asyncio.to_thread(captions.unlink)
    await asyncio.to_thread(captions.write_bytes, vtt("last"))
    os.close(leased)
    await rescan
    loop.remove_signal_handler(signal.SIGURG)
    assert (await archive.ids("first"), await archive.ids("second")) == ([], [A])
    assert (await archive.ids("overtaken"), await archive.ids("last")) == ([], [B])
    await archive.check()


async def test_the_video_list_is_filtered_by_status(archive: Archive) -> None:
    await archive.take_in(A, {"en": vtt("word")})
    await archive.take_in(B)
    entry = (await archive.parts.catalogue.get(archive.root, [B]))[B]
    manifest = archive.parts.roots.tree(archive.root).manifest(B)
    text = manifest.read_text()
    for wanted in ('"captions": [\n      "de"\n    ]', '"thumbnail": true'):
        name = wanted.split(":")[0]
        old = f"{name}: []" if "captions" in name else f"{name}: false"
        assert old in text
        manifest.write_text(text.replace(old, wanted))
        await archive.parts.indexer.rescan(archive.root)
        assert await archive.listed(status="incomplete") == [B], wanted
        assert await archive.listed(status="complete") == [A]
    manifest.write_text(text.replace('"absent": []', '"absent": ["captions/de"]'))
    await archive.parts.indexer.rescan(archive.root)
    assert await archive.listed(status="incomplete") == [B]
    assert await archive.listed(status="gone") == []
    gone = "INSERT INTO known_gone VALUES (?, 'private', ?)"
    await archive.parts.database.run(lambda db: db.execute(gone, (A, AT.isoformat())))
    assert await archive.listed(status="gone") == [A]
    assert entry.holding.asked.qualities == ("1080p",)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"*-東a '), min_size=1, max_size=200),
    place=st.sampled_from([None, "title", "channel", "description", "captions"]),
)
def test_no_search_text_is_an_error(config: Config, words: str, place: str | None) -> None:
    async def search() -> None:
        with archive_parts(config.storage) as parts:
            archive = Archive(config, parts)
            if not await archive.listed():
                await archive.take_in(A, {"en": vtt("東京 a word")}, title="a b 東京", description="a")
            await archive.hits(words, **{"in": place})
            await archive.listed(q=words)

    asyncio.run(search())
