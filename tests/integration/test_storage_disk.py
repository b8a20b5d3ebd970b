"""Storage whose disk is full, not mounted, or removed while it is in use."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from bus import BusSettings
from services.common.domain.failures import FailureKind
from services.common.domain.videos import VideoMetadata
from services.common.errors import ServiceUnavailable
from services.common.events import ArchiveChecked, MetadataFetched, StorageFailed, VideoArchived
from services.common.models import ErrorCode
from services.common.settings.load import Config
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.formats.layout import dispatch_tag
from services.storage.service import StorageService
from tests.fixtures.storage_world import (
    AT,
    TIMEOUT,
    A,
    B,
    C,
    StorageClient,
    delivery,
    entry,
    page,
    running_storage,
    storage_client,
)

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
async def client(broker: BusSettings) -> AsyncIterator[StorageClient]:
    async with storage_client(broker) as client:
        yield client


@contextmanager
def unmounted(root: Path) -> Iterator[None]:
    """Leave only the empty mount point inside the context."""
    away = root.rename(root.with_name("unmounted"))
    root.mkdir()
    try:
        yield
    finally:
        assert list(root.iterdir()) == [], "something was written below the mount point"
        root.rmdir()
        away.rename(root)


@pytest.mark.claim("9.4", "13.4")
async def test_a_full_disk_is_reported_after_waiting_for_space(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Any
) -> None:
    event = delivery(config, A, mp4=b"film")
    async with running_storage(config, broker, DiskSpace(min_free=1 << 62, patience=0.3, recheck=0.05)):
        failed = await client.request(event, StorageFailed)
        assert failed.failure.code is ErrorCode.STORAGE_FULL
        assert failed.failure.kind is FailureKind.LOCAL
        assert failed.failure.retry_after is not None
        assert failed.failure.retry_after > datetime.now(UTC)
        assert not (config.storage.base_path / "videos" / A).exists()
        assert (Path(event.directory) / f"{A}.mp4").exists()
    async with running_storage(config, broker):
        await client.request(event.model_copy(update={"dispatch_id": "d2"}), VideoArchived)


@pytest.mark.claim("13.4")
async def test_a_delivery_waits_for_the_space_that_is_configured(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Eventually
) -> None:
    storage = config.storage.model_copy(update={"min_free": 1 << 62})

    async def decided() -> bool:
        return bool(client.events) or any(record["event"] == "waiting_for_space" for record in records)

    with capture_logs() as records:
        async with running_storage(config.model_copy(update={"storage": storage}), broker):
            await client.publish(delivery(config, A, mp4=b"film"))
            await eventually(decided)
            assert client.events == []
            assert not (config.storage.base_path / "videos" / A).exists()
    assert {record["min_free"] for record in records if record["event"] == "waiting_for_space"} == {1 << 62}


async def test_an_unmounted_archive_prevents_the_start(
    config: Config, broker: BusSettings, client: StorageClient
) -> None:
    async with running_storage(config, broker):
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
    root = config.storage.base_path
    unmounted = root.rename(root.with_name("unmounted"))
    with pytest.raises(ServiceUnavailable, match=r"held 1 video and is empty now\. Is its disk mounted\?"):
        await StorageService(config, broker).startup()
    root.rmdir()
    unmounted.rename(root)
    async with running_storage(config, broker):
        assert (await client.request(page(config, "p1", entry(A, 0)), ArchiveChecked)).held[0].qualities


@pytest.fixture
async def storage(config: Config, broker: BusSettings, client: StorageClient) -> AsyncIterator[StorageService]:
    """A storage service with one video that checks for a missing disk every 50 ms."""
    async with running_storage(config, broker, DiskSpace(recheck=0.05)) as service:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        yield service


async def test_messages_wait_while_the_disk_is_not_mounted(
    config: Config, storage: StorageService, client: StorageClient, eventually: Eventually
) -> None:
    root = config.storage.base_path
    described = MetadataFetched(
        job_id="job-1", root=str(root), video_id=B, source_name="yt_dlp", fetched_at=AT,
        metadata=VideoMetadata(video_id=B, title="B"),
    )  # fmt: skip

    async def told() -> bool:
        return any("Is its disk mounted?" in error for error in storage.critical_errors())

    with unmounted(root):
        delivered = await client.publish(delivery(config, B, "d2", mp4=b"second"))
        checked = await client.publish(page(config, "p1", entry(A, 0)))
        noted = await client.publish(described)
        await eventually(told)
        assert not {one.caused_by for one in client.events} & {delivered.id, checked.id, noted.id}
    assert (await client.wait_for_reply(delivered, VideoArchived)).video_id == B
    assert (await client.wait_for_reply(checked, ArchiveChecked)).held[0].qualities, "A is still in the catalogue"

    async def healthy() -> bool:
        return not storage.critical_errors()

    await eventually(healthy)


async def test_a_missing_disk_does_not_delay_messages_for_another(
    config: Config, broker: BusSettings, client: StorageClient, tmp_path: Path
) -> None:
    """Not even with many messages for the missing disk."""
    second = tmp_path / "second"
    both = config.storage.model_copy(update={"roots": (second,)})
    async with running_storage(config.model_copy(update={"storage": both}), broker, DiskSpace(recheck=0.5)):
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        with unmounted(config.storage.base_path):
            for number in range(20):
                await client.publish(page(config, f"p{number}", entry(A, number)))
            for number, video in enumerate((B, C, "ddddddddddd")):
                await client.publish(delivery(config, video, f"d{number + 5}", mp4=b"x"))
            there = delivery(config, "eeeeeeeeeee", "d9", mp4=b"y").model_copy(update={"root": str(second)})
            assert (await client.request(there, VideoArchived)).root == str(second)
            assert await client.request(page(config, "q", entry(A, 0), root=str(second)), ArchiveChecked)


async def test_no_folder_is_created_below_a_root_that_is_not_mounted(
    config: Config, storage: StorageService, client: StorageClient
) -> None:
    """An --output-dir below the root would be created below the mount point."""
    root = config.storage.base_path
    with unmounted(root):
        below = delivery(config, B, "d2", mp4=b"x").model_copy(update={"root": str(root / "music")})
        told = await client.publish(below)
        with pytest.raises(ServiceUnavailable):
            await storage.parts.archive.held(str(root / "music"), [B])
    assert (await client.wait_for_reply(told, VideoArchived)).root == str(root / "music")


async def test_messages_for_an_unknown_root_wait_for_a_service_with_that_root(
    config: Config, broker: BusSettings, client: StorageClient, tmp_path: Path, eventually: Eventually
) -> None:
    """The messages of an interrupted command with `--output-dir` survive a run without that root."""
    own = tmp_path / "own"
    extra = config.storage.model_copy(update={"roots": (own,)})
    with_own = config.model_copy(update={"storage": extra})
    async with running_storage(with_own, broker) as service:

        async def read() -> bool:
            return await service.parts.catalogue.is_scanned(str(own))

        await eventually(read)
    async with running_storage(config, broker):
        waiting = await client.publish(page(config, "p1", entry(A, 0), root=str(own)))
        await client.request(page(config, "p2", entry(A, 0)), ArchiveChecked)
    async with running_storage(with_own, broker):
        assert (await client.wait_for_reply(waiting, ArchiveChecked)).root == str(own)


async def test_storage_can_be_stopped_while_its_disk_is_not_mounted(
    config: Config, broker: BusSettings, client: StorageClient, eventually: Eventually
) -> None:
    """Waiting messages are released and handled after the next start."""
    root = config.storage.base_path
    async with running_storage(config, broker) as service:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)
        with unmounted(root):
            checked = await client.publish(page(config, "p1", entry(A, 0)))

            async def waits() -> bool:
                return bool(service.parts.roots.unavailable)

            await eventually(waits)
            async with asyncio.timeout(TIMEOUT):
                await service.shutdown(0.5)
    async with running_storage(config, broker):
        assert (await client.wait_for_reply(checked, ArchiveChecked)).held[0].qualities


async def test_a_rescan_of_an_unmounted_disk_is_refused_and_keeps_the_catalogue(
    config: Config, storage: StorageService
) -> None:
    root = config.storage.base_path
    async with aiohttp.ClientSession() as http:
        with unmounted(root):
            async with http.post(f"{storage.url}/api/v1/storage/rescan", json={}) as response:
                error = (await response.json())["error"]
                assert (response.status, error["code"]) == (503, "E006")
                assert "Is its disk mounted?" in error["message"]
            url = f"{storage.url}/api/v1/storage/holdings"
            async with http.post(url, json={"video_ids": [A]}) as response:
                assert response.status == 503, "neither held nor missing is a correct answer"
            with pytest.raises(ServiceUnavailable):
                await storage.parts.indexer.rescan(root)
        assert await storage.parts.catalogue.count_videos(str(root)) == 1
        async with http.post(f"{storage.url}/api/v1/storage/rescan", json={}) as response:
            assert response.status == 201


async def test_a_video_archived_during_a_rescan_stays_in_the_catalogue(
    config: Config, storage: StorageService, client: StorageClient, eventually: Eventually
) -> None:
    """The list of folders of the rescan is older than the new folder."""
    root = config.storage.base_path
    await client.request(delivery(config, C, "d3", mp4=b"third"), VideoArchived)
    left = [root / "videos" / one / f".{one}.mp4.{dispatch_tag('dead')}.new" for one in (A, C)]
    for path in left:
        path.write_bytes(b"of a take-in that was killed")
    another = NamedLocks(config.storage.run_dir / "storage-locks")  # as if held by another process
    async with another.hold(str(root), C):
        reading = asyncio.create_task(storage.parts.indexer.rescan(root))

        async def is_at_the_second() -> bool:
            return not left[0].exists()

        await eventually(is_at_the_second)
        await client.request(delivery(config, B, "d2", mp4=b"second"), VideoArchived)
        assert left[1].exists()
    assert (await reading).forgotten == 0
    assert await storage.parts.catalogue.count_videos(str(root)) == 3


@pytest.fixture
def disk(config: Config) -> Iterator[Path]:
    """A disk of its own for the archive, which can be made read-only."""
    root = config.storage.base_path
    root.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(root)], check=False).returncode:
        pytest.skip("mounting a disk needs CAP_SYS_ADMIN")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


async def test_downloads_wait_while_the_archive_is_read_only(
    config: Config, broker: BusSettings, client: StorageClient, disk: Path, eventually: Eventually
) -> None:
    async with running_storage(config, broker, DiskSpace(recheck=0.05)) as storage:
        await client.request(delivery(config, A, mp4=b"film"), VideoArchived)

        async def reported() -> bool:
            return any(f"{disk} is read-only" in error for error in storage.critical_errors())

        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(disk)], check=True)
        delivered = await client.publish(delivery(config, B, "d2", mp4=b"second"))
        await eventually(reported)
        assert not [event for event in client.events if event.caused_by == delivered.id]
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", str(disk)], check=True)
        assert (await client.wait_for_reply(delivered, VideoArchived)).video_id == B

        async def healthy() -> bool:
            await storage.parts.roots.recheck_unavailable()
            return storage.critical_errors() == []

        await eventually(healthy)
