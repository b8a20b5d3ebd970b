"""The storage service on a real broker: facts in, files on the disk, facts out."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bus import Bus, BusSettings, Envelope, Event
from services.common.config import Config
from services.common.errors import ServiceUnavailable
from services.common.events import (
    ArchiveChecked,
    DownloadCompleted,
    ListingCompleted,
    ListingFailed,
    ListingPageFetched,
    MetadataArchived,
    MetadataFetched,
    PlaylistFetched,
    StorageFailed,
    VideoArchived,
    VideoFailed,
    WorkPlanUpdated,
)
from services.common.models import (
    Entry,
    ErrorCode,
    FailedDownload,
    FailureKind,
    FileFact,
    FileRole,
    JobOptions,
    JobType,
    KnownGone,
    PlaylistMetadata,
    Provenance,
    UnavailableVideo,
    VideoMetadata,
    Wanted,
)
from services.storage.search import SearchQuery
from services.storage.service import StorageService
from services.storage.space import Space

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"
PLAYLIST = "PL0123456789abcdef"
TIMEOUT = 60
FACTS = (ArchiveChecked, MetadataArchived, VideoArchived, StorageFailed, WorkPlanUpdated)
E = TypeVar("E", bound=Event)


class Others:
    """The rest of the system, as storage sees it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[Envelope] = []
        self.news = asyncio.Condition()

    async def hear(self) -> None:
        async with self.bus.tail(*FACTS) as envelopes:
            async for envelope in envelopes:
                async with self.news:
                    self.heard.append(envelope)
                    self.news.notify_all()

    async def tell(self, event: Event, trace_id: str = "trace-1") -> Envelope:
        return await self.bus.publish(event, trace_id=trace_id)

    async def answer(self, event: Event, kind: type[E], trace_id: str = "trace-1") -> E:
        """Tell storage, and wait for what it says to that."""
        return await self.reply_to(await self.tell(event, trace_id), kind)

    async def reply_to(self, told: Envelope, kind: type[E]) -> E:
        def found() -> list[Envelope]:
            return [one for one in self.heard if one.caused_by == told.id]

        async with asyncio.timeout(TIMEOUT), self.news:
            await self.news.wait_for(found)
        (reply,) = found()
        assert reply.type == kind.subject, reply
        assert reply.trace_id == told.trace_id
        return kind.read(reply)


@pytest.fixture
async def others(broker: BusSettings) -> AsyncIterator[Others]:
    bus = await Bus.connect(broker, source="jobs/test")
    others = Others(bus)
    hearing = asyncio.create_task(others.hear())
    yield others
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await bus.close()


@asynccontextmanager
async def running(config: Config, broker: BusSettings, space: Space | None = None) -> AsyncIterator[StorageService]:
    service = StorageService(config, broker, space)
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(5.0)


def delivery(
    config: Config, video_id: str, dispatch: str = "d1", *, wanted: Wanted | None = None, **files: bytes
) -> DownloadCompleted:
    """Lay files into the video's partial directory, as download does, and the event that announces them."""
    directory = config.storage.tmp_dir / f"{video_id}.part"
    directory.mkdir(parents=True, exist_ok=True)
    names = {"mp4": FileRole.VIDEO, "jpg": FileRole.THUMBNAIL, "vtt": FileRole.CAPTION}
    facts = []
    for ending, data in files.items():
        (directory / f"{video_id}.{ending}").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        language = "en" if ending == "vtt" else None
        fact = FileFact(
            name=f"{video_id}.{ending}", role=names[ending], size=len(data), sha256=digest, language=language
        )
        facts.append(fact)
    return DownloadCompleted(
        dispatch_id=dispatch,
        fetch_id="f1",
        job_id="job-1",
        video_id=video_id,
        root=str(config.storage.base_path),
        wanted=wanted or Wanted(),
        directory=str(directory),
        files=tuple(facts),
        metadata=VideoMetadata(video_id=video_id, title=f"Title of {video_id}", duration_seconds=12.5),
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
    )


def page(config: Config, key: str, *entries: Entry, root: str | None = None, listing: int = 1) -> ListingPageFetched:
    return ListingPageFetched(
        job_id="job-1",
        root=root or str(config.storage.base_path),
        type=JobType.PLAYLIST_DOWNLOAD,
        options=JobOptions(),
        target_index=0,
        listing=listing,
        page_key=key,
        playlist_id=PLAYLIST,
        entries=entries,
    )


def entry(video_id: str, position: int) -> Entry:
    return Entry(video_id=video_id, title=f"Title of {video_id}", position=position)


def given_up(
    config: Config, video_id: str, *, number: int = 1, job_id: str = "job-1", private: bool = True
) -> VideoFailed:
    gone = UnavailableVideo(video_id=video_id, reason="private", detected_at=AT, playlist_id=PLAYLIST)
    error = {"code": "E003", "message": "timed out"}
    failed = FailedDownload(video_id=video_id, title="T", attempts=3, last_attempt=AT, errors=[error])
    return VideoFailed(
        job_id=job_id,
        video_id=video_id,
        root=str(config.storage.base_path),
        number=number,
        type=JobType.PLAYLIST_DOWNLOAD,
        options=JobOptions(),
        targets=(PLAYLIST,),
        unavailable=gone if private else None,
        failed=None if private else failed,
    )


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def names_in(directory: str) -> list[str]:
    return sorted(path.name for path in Path(directory).iterdir())


async def test_a_delivery_is_archived_and_held_from_then_on(
    config: Config, broker: BusSettings, others: Others
) -> None:
    event = delivery(config, A, mp4=b"film", jpg=b"picture")
    async with running(config, broker):
        archived = await others.answer(event, VideoArchived)
        folder = config.storage.base_path / "videos" / A
        assert Path(archived.directory) == folder
        assert {file.name: file.role for file in archived.files} == {
            f"{A}.mp4": FileRole.VIDEO,
            f"{A}_thumb.jpg": FileRole.THUMBNAIL,
        }
        assert archived.bytes == 11
        assert archived.duration_seconds == 12.5
        assert (archived.held.qualities, archived.held.thumbnail) == (("1080p",), True)
        for file in archived.files:
            assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
        record = read(folder / f"{A}_metadata.json")
        assert record["provenance"]["trace_id"] == "trace-1"
        assert record["fixity"][f"{A}.mp4"]["size"] == 4

        assert await others.answer(event, VideoArchived) == archived  # told again, the sources are gone
        checked = await others.answer(page(config, "p", entry(B, 0), entry(A, 1)), ArchiveChecked)
        assert [held.video_id for held in checked.held] == [B, A]
        assert checked.held[0].qualities == ()
        assert checked.held[1] == archived.held

        (folder / f"{A}.mp4").unlink()
        again = await others.answer(page(config, "p2", entry(A, 0)), ArchiveChecked)
        assert again.held[0].qualities == ()
        assert again.held[0].thumbnail


async def test_a_delivery_that_overtakes_its_metadata_brings_them_along(
    config: Config, broker: BusSettings, others: Others
) -> None:
    """As after a crash: jobs would take them for missing, and have the video fetched once more."""
    async with running(config, broker):
        archived = await others.answer(delivery(config, A, mp4=b"film", jpg=b"picture"), VideoArchived)
        assert archived.held.metadata
        kept = read(config.storage.base_path / "metadata" / "videos" / f"{A}.json")
        assert kept["sources"]["yt_dlp"]["metadata"]["title"] == f"Title of {A}"
        unwanted = delivery(config, B, mp4=b"other", wanted=Wanted(metadata=False))
        assert not (await others.answer(unwanted, VideoArchived)).held.metadata


async def test_what_another_source_said_before_is_not_enough(
    config: Config, broker: BusSettings, others: Others
) -> None:
    """A job that is told to be done would otherwise leave a video without what yt-dlp says of it."""
    told = MetadataFetched(
        job_id="job-1",
        root=str(config.storage.base_path),
        video_id=A,
        source_name="data_api",
        fetched_at=AT,
        metadata=VideoMetadata(video_id=A, title="by the Data API"),
    )
    path = config.storage.base_path / "metadata" / "videos" / f"{A}.json"
    async with running(config, broker):
        await others.answer(told, MetadataArchived)
        await others.answer(delivery(config, A, "d1", mp4=b"film"), VideoArchived)
        assert set(read(path)["sources"]) == {"data_api", "yt_dlp"}

        newer = told.model_copy(update={"source_name": "yt_dlp", "fetched_at": datetime.now(UTC), "dispatch_id": "d2"})
        await others.answer(newer, MetadataArchived)
        await others.answer(delivery(config, A, "d2", mp4=b"better"), VideoArchived)
        assert read(path)["sources"]["yt_dlp"]["metadata"]["title"] == "by the Data API"  # the newest of this source


async def test_metadata_of_two_sources_become_one_file(config: Config, broker: BusSettings, others: Others) -> None:
    async with running(config, broker):
        for hours, source in enumerate(("data_api", "yt_dlp")):
            event = MetadataFetched(
                job_id="job-1",
                root=str(config.storage.base_path),
                video_id=A,
                source_name=source,
                fetched_at=AT + timedelta(hours=hours),
                metadata=VideoMetadata(video_id=A, title=source),
                dispatch_id="d1",
            )
            answer = await others.answer(event, MetadataArchived)
            assert (answer.video_id, answer.source_name, answer.dispatch_id) == (A, source, "d1")
        path = config.storage.base_path / "metadata" / "videos" / f"{A}.json"
        assert answer.path == str(path)
        assert set(read(path)["sources"]) == {"data_api", "yt_dlp"}
        assert read(path)["title"] == "yt_dlp"
        checked = await others.answer(page(config, "p", entry(A, 0)), ArchiveChecked)
        assert checked.held[0].metadata
        assert checked.held[0].qualities == ()


async def test_a_playlist_is_written_once_it_is_listed_to_its_end(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    path = config.storage.base_path / "metadata" / "playlists" / f"{PLAYLIST}.json"
    root = str(config.storage.base_path)
    playlist = PlaylistMetadata(playlist_id=PLAYLIST, title="Songs", channel="Somebody")

    async def titled() -> bool:
        return path.exists() and read(path)["title"] == "Songs"

    async def looked_twice() -> bool:
        return len(read(path)["listings"]) == 2

    async with running(config, broker):
        await others.tell(
            ListingCompleted(
                job_id="job-1",
                root=root,
                target_index=0,
                listing=1,
                page_keys=("p1", "p2"),
                total=3,
                playlist_id=PLAYLIST,
            )
        )
        await others.answer(page(config, "p2", entry(C, 2)), ArchiveChecked)
        assert not path.exists()
        await others.answer(page(config, "p1", entry(A, 0), entry(B, 1)), ArchiveChecked)
        await others.tell(PlaylistFetched(job_id="job-1", root=root, target_index=0, listing=1, playlist=playlist))
        await eventually(titled)
        first = read(path)
        assert [one["video_id"] for one in first["entries"]] == [A, B, C]
        assert first["trace_id"] == "trace-1"

        failed = page(config, "q1", entry(A, 0), listing=2).model_copy(update={"target_index": 1})
        await others.answer(failed, ArchiveChecked)
        error = {"code": "E003", "message": "timed out"}
        await others.tell(
            ListingFailed.model_validate(
                {"job_id": "job-1", "root": root, "target_index": 1, "listing": 2, "error": error}
            )
        )
        later = page(config, "r1", entry(B, 0), listing=3).model_copy(update={"target_index": 1})
        await others.answer(later, ArchiveChecked)
        await others.tell(
            ListingCompleted(
                job_id="job-1", root=root, target_index=1, listing=3, page_keys=("r1",), total=1, playlist_id=PLAYLIST
            )
        )
        await eventually(looked_twice)
        assert [one["video_id"] for one in read(path)["entries"]] == [B]


async def test_work_plans_are_kept_and_resolved_by_an_arrival(
    config: Config, broker: BusSettings, others: Others
) -> None:
    path = config.storage.work_plans_dir / "job-1.json"
    async with running(config, broker) as service:
        seen = MetadataFetched(
            job_id="job-1",
            root=str(config.storage.base_path),
            video_id=A,
            source_name="data_api",
            fetched_at=AT - timedelta(days=1),
            metadata=VideoMetadata(video_id=A, title="Once"),
        )
        await others.answer(seen, MetadataArchived)
        first = await others.answer(given_up(config, A), WorkPlanUpdated)
        assert (first.path, first.unavailable, first.failed, first.resolved) == (str(path), 1, 0, 0)
        second = await others.answer(given_up(config, B, private=False), WorkPlanUpdated)
        assert (second.unavailable, second.failed, second.resolved) == (1, 1, 0)
        before = path.read_bytes()
        assert await others.answer(given_up(config, A), WorkPlanUpdated) == second.model_copy(
            update={"video_ids": (A,)}
        )
        assert path.read_bytes() == before
        (gone,) = read(path)["unavailable_videos"]
        assert (gone["title"], gone["last_available"]) == ("Once", "2026-04-30T12:00:00Z")

        checked = await others.answer(page(config, "p", entry(A, 0), entry(B, 1)), ArchiveChecked)
        assert checked.held[0].known_gone == KnownGone(reason="private", at=AT)
        assert checked.held[1].known_gone is None

        await others.answer(given_up(config, A, job_id="job-2"), WorkPlanUpdated)
        archived = await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
        assert archived.held.known_gone is None
        for plan in (path, path.with_name("job-2.json")):
            assert read(plan)["unavailable_videos"][0]["resolved_at"]
        assert read(path)["failed_downloads"][0].get("resolved_at") is None
        assert (await service.catalogue.totals()).open_plan_entries == 1


async def test_a_work_plan_that_cannot_be_read_is_not_forgotten(
    config: Config, broker: BusSettings, others: Others
) -> None:
    """As one that a person is editing, or that is given back from a backup."""
    path = config.storage.work_plans_dir / "job-1.json"
    async with running(config, broker):
        await others.answer(given_up(config, A), WorkPlanUpdated)
        text = path.read_text()
        path.write_text("{")
        await others.answer(delivery(config, A, "d1", mp4=b"film"), VideoArchived)
        assert path.read_text() == "{"
        path.write_text(text)
        await others.answer(delivery(config, A, "d2", mp4=b"a film again"), VideoArchived)
        assert read(path)["unavailable_videos"][0]["resolved_at"]


@pytest.mark.claim("9.4", "13.4")
async def test_a_full_disk_is_waited_for_and_then_reported(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    event = delivery(config, A, mp4=b"film")
    async with running(config, broker, Space(min_free=1 << 62, patience=0.3, recheck=0.05)):
        failed = await others.answer(event, StorageFailed)
        assert failed.failure.code is ErrorCode.STORAGE_FULL
        assert failed.failure.kind is FailureKind.LOCAL
        assert failed.failure.retry_after is not None
        assert failed.failure.retry_after > datetime.now(UTC)
        assert not (config.storage.base_path / "videos" / A).exists()
        assert (Path(event.directory) / f"{A}.mp4").exists()
    async with running(config, broker):
        await others.answer(event.model_copy(update={"dispatch_id": "d2"}), VideoArchived)


async def test_what_cannot_be_taken_in_is_said_and_changes_nothing(
    config: Config, broker: BusSettings, others: Others, tmp_path: Path
) -> None:
    missing = delivery(config, A, mp4=b"film")
    (Path(missing.directory) / f"{A}.mp4").unlink()
    changed = delivery(config, B, mp4=b"film")
    (Path(changed.directory) / f"{B}.mp4").write_bytes(b"f1lm")
    outside = delivery(config, C, mp4=b"film").model_copy(update={"directory": str(tmp_path)})
    elsewhere = delivery(config, C, mp4=b"film").model_copy(update={"root": "/etc"})
    escaping = delivery(config, C, mp4=b"film")
    fact = escaping.files[0].model_copy(update={"name": "../../../secret"})
    escaping = escaping.model_copy(update={"files": (fact,)})
    empty = delivery(config, C)
    async with running(config, broker):
        for event, reason, kind in (
            (missing, "source_missing", FailureKind.PASSING),
            (changed, "hash_mismatch", FailureKind.PASSING),
            (outside, "invalid_request", FailureKind.LOCAL),
            (elsewhere, "invalid_request", FailureKind.LOCAL),
            (escaping, "invalid_request", FailureKind.LOCAL),
            (empty, "no_media", FailureKind.PASSING),
        ):
            failed = await others.answer(event, StorageFailed)
            assert (failed.failure.reason, failed.failure.kind) == (reason, kind)
        videos = config.storage.base_path / "videos"
        assert not videos.exists() or not any(videos.iterdir())


async def test_metadata_alone_need_no_shelf_but_absences_are_remembered(
    config: Config, broker: BusSettings, others: Others
) -> None:
    only_metadata = delivery(config, A, wanted=Wanted(media=False, thumbnail=False))
    captions = delivery(config, B, wanted=Wanted(media=False, thumbnail=False, captions=("de",)))
    async with running(config, broker):
        told = await others.tell(only_metadata)
        archived = await others.answer(captions.model_copy(update={"absent": ("captions/de",)}), VideoArchived)
        assert archived.held.absent == ("captions/de",)
        assert archived.held.qualities == ()
    assert [one for one in others.heard if one.caused_by == told.id] == []
    assert not (config.storage.base_path / "videos" / A).exists()


async def test_the_catalogue_can_be_thrown_away(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    below = config.storage.base_path / "music"
    async with running(config, broker) as service:
        await others.answer(delivery(config, A, mp4=b"film", jpg=b"picture"), VideoArchived)
        await others.answer(delivery(config, B, mp4=b"sub").model_copy(update={"root": str(below)}), VideoArchived)
        await others.answer(given_up(config, C), WorkPlanUpdated)
        await others.answer(given_up(config, A, private=False), WorkPlanUpdated)
        before = await service.catalogue.dump()
        tables = ("videos", "known_gone", "seen", "plan_entries", "searched")
        assert [len(before[table]) for table in tables] == [2, 1, 2, 2, 2]
    for path in config.storage.base_data_dir.glob("catalogue.db*"):
        path.unlink()
    async with running(config, broker) as service:

        async def equal() -> bool:
            return await service.catalogue.dump() == before

        checked = await others.answer(page(config, "p", entry(A, 0), entry(C, 1)), ArchiveChecked)
        assert checked.held[0].qualities == ("1080p",)
        assert checked.held[1].known_gone is not None
        await eventually(equal)

        (below / "videos" / B / f"{B}_metadata.json").unlink()
        await service.rescan(config.storage.base_path)
        assert [row[1] for row in (await service.catalogue.dump())["videos"]] == [A]


KilledAt = Callable[..., Awaitable[None]]


async def found(service: StorageService, words: str) -> list[str]:
    page = await service.search.find(SearchQuery(q=words))
    return [hit.video_id for hit in page.hits]


@pytest.mark.parametrize(
    "point", ["storage.before_stage_2", "storage.after_rename_1", "storage.after_commit", "storage.before_index"]
)
async def test_a_service_that_is_killed_in_a_take_in_finishes_it_at_the_next_start(
    config: Config, broker: BusSettings, others: Others, killed_at: KilledAt, point: str
) -> None:
    told = await others.tell(delivery(config, A, mp4=b"film", jpg=b"picture"))
    await killed_at(point)
    async with running(config, broker) as service:
        assert service.metrics()["take_ins_recovered"] == 1
        assert await service.catalogue.taking_in() == []
        if point in {"storage.after_commit", "storage.before_index"}:
            assert await found(service, "title of") == [A]  # before the message comes again
        archived = await others.reply_to(told, VideoArchived)
        assert await found(service, "title of") == [A]
    assert names_in(archived.directory) == [f"{A}.mp4", f"{A}_metadata.json", f"{A}_thumb.jpg"]
    assert len(read(Path(archived.directory) / f"{A}_metadata.json")["take_ins"]) == 1


def described(config: Config, video_id: str, description: str) -> MetadataFetched:
    return MetadataFetched(
        job_id="job-1",
        root=str(config.storage.base_path),
        video_id=video_id,
        source_name="yt_dlp",
        fetched_at=datetime.now(UTC),
        metadata=VideoMetadata(video_id=video_id, title=f"Title of {video_id}", description=description),
    )


async def test_a_service_that_is_killed_with_new_metadata_indexes_them_at_the_next_start(
    config: Config, broker: BusSettings, others: Others, killed_at: KilledAt
) -> None:
    async with running(config, broker) as service:
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
        await others.answer(described(config, A, "first words"), MetadataArchived)
        assert await found(service, "first") == [A]
    told = await others.tell(described(config, A, "second words"))
    await killed_at("storage.metadata_written")
    async with running(config, broker) as service:
        await others.reply_to(told, MetadataArchived)
        assert (await found(service, "first"), await found(service, "second")) == ([], [A])


async def test_a_catalogue_of_a_version_without_search_is_indexed_after_the_start(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    said = b"WEBVTT\n\n00:01:02.500 --> 00:01:04.000\nthe quick brown fox\n"
    async with running(config, broker) as service:
        await others.answer(delivery(config, A, mp4=b"film", vtt=said), VideoArchived)
        await others.answer(delivery(config, B, mp4=b"other"), VideoArchived)
    with closing(sqlite3.connect(config.storage.base_data_dir / "catalogue.db")) as db:
        db.executescript("DROP TABLE search_index; DROP VIEW searched; DROP TABLE searched_videos;")
        db.executescript("DROP TABLE searched_rows; DROP TABLE searched_captions; PRAGMA user_version = 1;")
    async with running(config, broker) as service:

        async def indexed() -> bool:
            return len(await found(service, "title")) == 2

        await eventually(indexed)
        (hit,) = (await service.search.find(SearchQuery(q="brown fox"))).hits
        assert (hit.video_id, [moment.start_seconds for moment in hit.moments]) == (A, [62.5])
        assert service.metrics()["unindexed"] == 0


async def test_health_says_what_storage_holds(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    async with running(config, broker) as service:

        async def counted() -> bool:
            return service.metrics().get("videos") == 0

        await eventually(counted)
        assert await service.dependencies_available()
        assert config.storage.base_path in service.disk_paths()


async def test_an_archive_that_is_not_mounted_is_not_begun_anew(
    config: Config, broker: BusSettings, others: Others
) -> None:
    async with running(config, broker):
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
    root = config.storage.base_path
    unmounted = root.rename(root.with_name("unmounted"))
    with pytest.raises(ServiceUnavailable, match=r"held 1 videos and is empty now\. Is its disk mounted\?"):
        await StorageService(config, broker).startup()
    root.rmdir()
    unmounted.rename(root)
    async with running(config, broker):
        assert (await others.answer(page(config, "p1", entry(A, 0)), ArchiveChecked)).held[0].qualities
