"""The storage service with a real broker: events in, files on disk, events out."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bus import BusSettings
from services.common.domain.archive import FileRole, KnownGone
from services.common.domain.failures import FailureKind
from services.common.domain.videos import PlaylistMetadata, VideoMetadata, Wanted
from services.common.events import (
    ArchiveChecked,
    ListingCompleted,
    ListingFailed,
    MetadataArchived,
    MetadataFetched,
    PlaylistFetched,
    StorageFailed,
    VideoArchived,
    WorkPlanUpdated,
)
from services.common.models import JobOptions
from services.common.settings.load import Config
from services.storage.index.search import SearchQuery
from services.storage.service import StorageService
from tests.fixtures.old_catalogue import write_old_catalogue
from tests.fixtures.storage_world import (
    AT,
    PLAYLIST,
    A,
    B,
    C,
    StorageClient,
    delivery,
    entry,
    names_in,
    page,
    read,
    running_storage,
    storage_client,
    video_failed,
)


@pytest.fixture
async def client(broker: BusSettings) -> AsyncIterator[StorageClient]:
    async with storage_client(broker) as client:
        yield client


async def test_a_delivery_is_archived_and_reported_as_held(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    event = delivery(config, A, mp4=b"film", jpg=b"picture")
    async with running_storage(config, broker):
        archived = await client.request(event, VideoArchived)
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
        manifest = read(folder / f"{A}_metadata.json")
        assert manifest["provenance"]["trace_id"] == "trace-1"
        assert manifest["fixity"][f"{A}.mp4"]["size"] == 4

        assert await client.request(event, VideoArchived) == archived  # redelivered after the source files were removed
        checked = await client.request(page(config, "p", entry(B, 0), entry(A, 1)), ArchiveChecked)
        assert [held.video_id for held in checked.held] == [B, A]
        assert checked.held[0].qualities == ()
        assert checked.held[1] == archived.held

        (folder / f"{A}.mp4").unlink()
        again = await client.request(page(config, "p2", entry(A, 0)), ArchiveChecked)
        assert again.held[0].qualities == ()
        assert again.held[0].thumbnail


async def test_a_delivery_that_arrives_before_its_metadata_stores_them(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    """After a crash jobs would otherwise regard them as missing and download the video again."""
    async with running_storage(config, broker):
        archived = await client.request(delivery(config, A, mp4=b"film", jpg=b"picture"), VideoArchived)
        assert archived.held.metadata
        kept = read(config.storage.base_path / "metadata" / "videos" / f"{A}.json")
        assert kept["sources"]["yt_dlp"]["metadata"]["title"] == f"Title of {A}"
        unwanted = delivery(config, B, mp4=b"other", wanted=Wanted(metadata=False))
        assert not (await client.request(unwanted, VideoArchived)).held.metadata


async def test_metadata_of_another_source_do_not_replace_those_of_yt_dlp(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    """Otherwise a completed job could leave a video without yt-dlp's metadata."""
    told = MetadataFetched(
        job_id="job-1",
        root=str(config.storage.base_path),
        video_id=A,
        source_name="data_api",
        fetched_at=AT,
        metadata=VideoMetadata(video_id=A, title="by the Data API"),
    )
    path = config.storage.base_path / "metadata" / "videos" / f"{A}.json"
    async with running_storage(config, broker):
        await client.request(told, MetadataArchived)
        await client.request(delivery(config, A, "d1", mp4=b"film"), VideoArchived)
        assert set(read(path)["sources"]) == {"data_api", "yt_dlp"}

        newer = told.model_copy(update={"source_name": "yt_dlp", "fetched_at": datetime.now(UTC), "dispatch_id": "d2"})
        await client.request(newer, MetadataArchived)
        await client.request(delivery(config, A, "d2", mp4=b"better"), VideoArchived)
        assert read(path)["sources"]["yt_dlp"]["metadata"]["title"] == "by the Data API"  # the newest of this source


async def test_metadata_of_two_sources_are_merged_into_one_file(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    async with running_storage(config, broker):
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
            answer = await client.request(event, MetadataArchived)
            assert (answer.video_id, answer.source_name, answer.dispatch_id) == (A, source, "d1")
        path = config.storage.base_path / "metadata" / "videos" / f"{A}.json"
        assert answer.path == str(path)
        assert set(read(path)["sources"]) == {"data_api", "yt_dlp"}
        assert read(path)["title"] == "yt_dlp"
        checked = await client.request(page(config, "p", entry(A, 0)), ArchiveChecked)
        assert checked.held[0].metadata
        assert checked.held[0].qualities == ()


async def test_a_playlist_is_written_once_its_listing_is_complete(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Any
) -> None:
    path = config.storage.base_path / "metadata" / "playlists" / f"{PLAYLIST}.json"
    root = str(config.storage.base_path)
    playlist = PlaylistMetadata(playlist_id=PLAYLIST, title="Songs", channel="Somebody")

    async def titled() -> bool:
        return path.exists() and read(path)["title"] == "Songs"

    async def looked_twice() -> bool:
        return len(read(path)["listings"]) == 2

    async with running_storage(config, broker):
        await client.publish(
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
        await client.request(page(config, "p2", entry(C, 2)), ArchiveChecked)
        assert not path.exists()
        await client.request(page(config, "p1", entry(A, 0), entry(B, 1)), ArchiveChecked)
        await client.publish(PlaylistFetched(job_id="job-1", root=root, target_index=0, listing=1, playlist=playlist))
        await eventually(titled)
        first = read(path)
        assert [one["video_id"] for one in first["entries"]] == [A, B, C]
        assert first["trace_id"] == "trace-1"

        failed = page(config, "q1", entry(A, 0), listing=2).model_copy(update={"target_index": 1})
        await client.request(failed, ArchiveChecked)
        error = {"code": "E003", "message": "timed out"}
        await client.publish(
            ListingFailed.model_validate(
                {"job_id": "job-1", "root": root, "target_index": 1, "listing": 2, "error": error}
            )
        )
        later = page(config, "r1", entry(B, 0), listing=3).model_copy(update={"target_index": 1})
        await client.request(later, ArchiveChecked)
        await client.publish(
            ListingCompleted(
                job_id="job-1", root=root, target_index=1, listing=3, page_keys=("r1",), total=1, playlist_id=PLAYLIST
            )
        )
        await eventually(looked_twice)
        assert [one["video_id"] for one in read(path)["entries"]] == [B]


async def test_work_plans_are_stored_and_resolved_when_the_video_arrives(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    path = config.storage.work_plans_dir / "job-1.json"
    async with running_storage(config, broker) as service:
        seen = MetadataFetched(
            job_id="job-1",
            root=str(config.storage.base_path),
            video_id=A,
            source_name="data_api",
            fetched_at=AT - timedelta(days=1),
            metadata=VideoMetadata(video_id=A, title="Once"),
        )
        await client.request(seen, MetadataArchived)
        first = await client.request(video_failed(config, A), WorkPlanUpdated)
        assert (first.path, first.unavailable, first.failed, first.resolved) == (str(path), 1, 0, 0)
        second = await client.request(video_failed(config, B, private=False), WorkPlanUpdated)
        assert (second.unavailable, second.failed, second.resolved) == (1, 1, 0)
        before = path.read_bytes()
        assert await client.request(video_failed(config, A), WorkPlanUpdated) == second.model_copy(
            update={"video_ids": (A,)}
        )
        assert path.read_bytes() == before
        (gone,) = read(path)["unavailable_videos"]
        assert (gone["title"], gone["last_available"]) == ("Once", "2026-04-30T12:00:00Z")

        checked = await client.request(page(config, "p", entry(A, 0), entry(B, 1)), ArchiveChecked)
        assert checked.held[0].known_gone == KnownGone(reason="private", at=AT)
        assert checked.held[1].known_gone is None

        await client.request(video_failed(config, A, job_id="job-2"), WorkPlanUpdated)
        archived = await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        assert archived.held.known_gone is None
        for plan in (path, path.with_name("job-2.json")):
            assert read(plan)["unavailable_videos"][0]["resolved_at"]
        assert read(path)["failed_downloads"][0].get("resolved_at") is None
        assert (await service.parts.catalogue.totals()).open_plan_entries == 1


async def test_a_plan_is_resolved_when_its_video_is_found_in_the_archive(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    """A retry skips a video that is held, so no delivery would resolve the plan."""
    async with running_storage(config, broker) as service:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        first = await client.request(video_failed(config, A, private=False), WorkPlanUpdated)
        other = video_failed(config, A, private=False, job_id="job-2")
        finer = other.model_copy(update={"options": JobOptions(quality="2160p")})
        second = await client.request(finer, WorkPlanUpdated)
        await client.request(page(config, "p1", entry(A, 0)), ArchiveChecked)
        assert read(Path(first.path))["failed_downloads"][0]["resolved_at"] is not None
        assert read(Path(second.path))["failed_downloads"][0].get("resolved_at") is None, (
            "the plan wants a higher quality"
        )
        assert (await service.parts.catalogue.totals()).open_plan_entries == 1


async def test_an_unreadable_work_plan_is_resolved_once_it_is_readable(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    """A person may be editing the file, or a backup restoring it."""
    path = config.storage.work_plans_dir / "job-1.json"
    async with running_storage(config, broker):
        await client.request(video_failed(config, A), WorkPlanUpdated)
        text = path.read_text()
        path.write_text("{")
        await client.request(delivery(config, A, "d1", mp4=b"film"), VideoArchived)
        assert path.read_text() == "{"
        path.write_text(text)
        await client.request(delivery(config, A, "d2", mp4=b"a film again"), VideoArchived)
        assert read(path)["unavailable_videos"][0]["resolved_at"]


@pytest.mark.claim("9.4", "13.4")
async def test_an_invalid_delivery_is_reported_and_changes_nothing(
    config: Config, broker: BusSettings, client: StorageClient, tmp_path: Path
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
    linked = delivery(config, "ddddddddddd", mp4=b"film")
    outside_file = tmp_path / "film"
    (Path(linked.directory) / linked.files[0].name).rename(outside_file)
    (Path(linked.directory) / linked.files[0].name).symlink_to(outside_file)
    empty = delivery(config, C)
    async with running_storage(config, broker):
        for event, reason, kind in (
            (linked, "not_a_file", FailureKind.LOCAL),
            (missing, "source_missing", FailureKind.PASSING),
            (changed, "hash_mismatch", FailureKind.PASSING),
            (outside, "invalid_request", FailureKind.LOCAL),
            (elsewhere, "invalid_request", FailureKind.LOCAL),
            (escaping, "invalid_request", FailureKind.LOCAL),
            (empty, "no_media", FailureKind.PASSING),
        ):
            failed = await client.request(event, StorageFailed)
            assert (failed.failure.reason, failed.failure.kind) == (reason, kind)
        videos = config.storage.base_path / "videos"
        assert not videos.exists() or not any(videos.iterdir())
    assert outside_file.read_bytes() == b"film"


async def test_a_metadata_only_delivery_creates_no_folder_and_absences_are_recorded(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    only_metadata = delivery(config, A, wanted=Wanted(media=False, thumbnail=False))
    captions = delivery(config, B, wanted=Wanted(media=False, thumbnail=False, captions=("de",)))
    async with running_storage(config, broker):
        told = await client.publish(only_metadata)
        archived = await client.request(captions.model_copy(update={"absent": ("captions/de",)}), VideoArchived)
        assert archived.held.absent == ("captions/de",)
        assert archived.held.qualities == ()
    assert [one for one in client.events if one.caused_by == told.id] == []
    assert not (config.storage.base_path / "videos" / A).exists()


async def test_a_deleted_catalogue_is_rebuilt_from_the_archive(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Any
) -> None:
    below = config.storage.base_path / "music"
    async with running_storage(config, broker) as service:
        await client.request(delivery(config, A, mp4=b"film", jpg=b"picture"), VideoArchived)
        await client.request(delivery(config, B, mp4=b"sub").model_copy(update={"root": str(below)}), VideoArchived)
        await client.request(video_failed(config, C), WorkPlanUpdated)
        await client.request(video_failed(config, "ddddddddddd", private=False), WorkPlanUpdated)
        before = await service.parts.catalogue.dump()
        tables = ("videos", "known_gone", "seen", "plan_entries", "searched")
        assert [len(before[table]) for table in tables] == [2, 1, 2, 2, 2]
    for path in config.storage.base_data_dir.glob("catalogue.db*"):
        path.unlink()
    async with running_storage(config, broker) as service:

        async def equal() -> bool:
            return await service.parts.catalogue.dump() == before

        checked = await client.request(page(config, "p", entry(A, 0), entry(C, 1)), ArchiveChecked)
        assert checked.held[0].qualities == ("1080p",)
        assert checked.held[1].known_gone is not None
        await eventually(equal)

        (below / "videos" / B / f"{B}_metadata.json").unlink()
        await service.parts.rescans.rescan(config.storage.base_path)
        assert [row[1] for row in (await service.parts.catalogue.dump())["videos"]] == [A]


KilledAt = Callable[..., Awaitable[None]]


async def search(service: StorageService, words: str) -> list[str]:
    page = await service.parts.search.find(SearchQuery(q=words))
    return [hit.video_id for hit in page.hits]


@pytest.mark.parametrize(
    "point", ["storage.before_stage_2", "storage.after_rename_1", "storage.after_commit", "storage.before_index"]
)
async def test_an_interrupted_delivery_is_completed_at_the_next_start(
    config: Config, broker: BusSettings, client: StorageClient, killed_at: KilledAt, point: str
) -> None:
    told = await client.publish(delivery(config, A, mp4=b"film", jpg=b"picture"))
    await killed_at(point)
    async with running_storage(config, broker) as service:
        assert service.metrics()["take_ins_recovered"] == 1
        assert await service.parts.catalogue.unfinished_take_ins() == []
        if point in {"storage.after_commit", "storage.before_index"}:
            assert await search(service, "title of") == [A]  # before the message is redelivered
        archived = await client.wait_for_reply(told, VideoArchived)
        assert await search(service, "title of") == [A]
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


async def test_metadata_written_before_a_crash_are_indexed_at_the_next_start(
    config: Config, broker: BusSettings, client: StorageClient, killed_at: KilledAt
) -> None:
    async with running_storage(config, broker) as service:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        await client.request(described(config, A, "first words"), MetadataArchived)
        assert await search(service, "first") == [A]
    told = await client.publish(described(config, A, "second words"))
    await killed_at("storage.metadata_written")
    async with running_storage(config, broker) as service:
        await client.wait_for_reply(told, MetadataArchived)
        assert (await search(service, "first"), await search(service, "second")) == ([], [A])


async def test_a_catalogue_without_a_search_index_is_indexed_after_the_start(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Any
) -> None:
    captions = b"WEBVTT\n\n00:01:02.500 --> 00:01:04.000\nthe quick brown fox\n"
    async with running_storage(config, broker) as service:
        await client.request(delivery(config, A, mp4=b"film", vtt=captions), VideoArchived)
        await client.request(delivery(config, B, mp4=b"other"), VideoArchived)
    write_old_catalogue(config.storage.base_data_dir / "catalogue.db", 1)
    async with running_storage(config, broker) as service:

        async def indexed() -> bool:
            return len(await search(service, "title")) == 2

        await eventually(indexed)
        (hit,) = (await service.parts.search.find(SearchQuery(q="brown fox"))).hits
        assert (hit.video_id, [moment.start_seconds for moment in hit.moments]) == (A, [62.5])
        assert service.metrics()["unindexed"] == 0


async def test_metrics_count_the_videos_and_health_checks_the_archive_disk(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Any
) -> None:
    async with running_storage(config, broker) as service:

        async def counted() -> bool:
            return service.metrics().get("videos") == 0

        await eventually(counted)
        assert await service.dependencies_available()
        assert config.storage.base_path in service.disk_paths()


@pytest.mark.parametrize(("path", "old"), [("holdings", "held"), ("throughput", "experience")])
async def test_a_renamed_path_is_also_served_under_its_deprecated_name(
    config: Config, broker: BusSettings, client: StorageClient, path: str, old: str
) -> None:
    async with running_storage(config, broker) as service, aiohttp.ClientSession(f"{service.url}/api/v1/") as http:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        answers = []
        for one in (path, old):
            method, body = ("POST", {"video_ids": [A, B]}) if path == "holdings" else ("GET", None)
            async with http.request(method, f"storage/{one}", json=body) as response:
                assert response.status == 200
                answers.append((await response.json())["data"])
                answers[-1].pop("free_bytes", None)  # other programs write to this disk too
        assert answers[0]["root"] == str(config.storage.base_path)
        assert answers[0] == answers[1]
        async with http.get("openapi.json") as response:
            paths = (await response.json())["paths"]
    marks = [next(iter(paths[f"/api/v1/storage/{one}"].values())).get("deprecated", False) for one in (path, old)]
    assert marks == [False, True]
