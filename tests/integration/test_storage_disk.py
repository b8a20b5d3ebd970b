"""Storage and its disk: full, not mounted, gone while it is used, slow to read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

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
from tests.fixtures.storage_world import AT, TIMEOUT, A, B, C, Others, delivery, entry, listening, page, running

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
async def others(broker: BusSettings) -> AsyncIterator[Others]:
    async with listening(broker) as others:
        yield others


@contextmanager
def unmounted(root: Path) -> Iterator[None]:
    """The empty mount point is there, what was on the disk is not."""
    away = root.rename(root.with_name("unmounted"))
    root.mkdir()
    try:
        yield
    finally:
        assert list(root.iterdir()) == [], "something was written below the mount point"
        root.rmdir()
        away.rename(root)


async def test_a_full_disk_is_waited_for_and_then_reported(
    config: Config, broker: BusSettings, others: Others, eventually: Any
) -> None:
    event = delivery(config, A, mp4=b"film")
    async with running(config, broker, DiskSpace(min_free=1 << 62, patience=0.3, recheck=0.05)):
        failed = await others.answer(event, StorageFailed)
        assert failed.failure.code is ErrorCode.STORAGE_FULL
        assert failed.failure.kind is FailureKind.LOCAL
        assert failed.failure.retry_after is not None
        assert failed.failure.retry_after > datetime.now(UTC)
        assert not (config.storage.base_path / "videos" / A).exists()
        assert (Path(event.directory) / f"{A}.mp4").exists()
    async with running(config, broker):
        await others.answer(event.model_copy(update={"dispatch_id": "d2"}), VideoArchived)


async def test_an_archive_that_is_not_mounted_is_not_begun_anew(
    config: Config, broker: BusSettings, others: Others
) -> None:
    async with running(config, broker):
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
    root = config.storage.base_path
    unmounted = root.rename(root.with_name("unmounted"))
    with pytest.raises(ServiceUnavailable, match=r"held 1 video and is empty now\. Is its disk mounted\?"):
        await StorageService(config, broker).startup()
    root.rmdir()
    unmounted.rename(root)
    async with running(config, broker):
        assert (await others.answer(page(config, "p1", entry(A, 0)), ArchiveChecked)).held[0].qualities


@pytest.fixture
async def storage(config: Config, broker: BusSettings, others: Others) -> AsyncIterator[StorageService]:
    """It holds one video, and looks for a disk that is away every 50 ms."""
    async with running(config, broker, DiskSpace(recheck=0.05)) as service:
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
        yield service


async def test_what_arrives_while_the_disk_is_away_waits_for_it(
    config: Config, storage: StorageService, others: Others, eventually: Eventually
) -> None:
    root = config.storage.base_path
    described = MetadataFetched(
        job_id="job-1", root=str(root), video_id=B, source_name="yt_dlp", fetched_at=AT,
        metadata=VideoMetadata(video_id=B, title="B"),
    )  # fmt: skip

    async def told() -> bool:
        return any("Is its disk mounted?" in error for error in storage.critical_errors())

    with unmounted(root):
        delivered = await others.tell(delivery(config, B, "d2", mp4=b"second"))
        checked = await others.tell(page(config, "p1", entry(A, 0)))
        noted = await others.tell(described)
        await eventually(told)
        assert not {one.caused_by for one in others.heard} & {delivered.id, checked.id, noted.id}
    assert (await others.reply_to(delivered, VideoArchived)).video_id == B
    assert (await others.reply_to(checked, ArchiveChecked)).held[0].qualities, "A was never forgotten"

    async def well() -> bool:
        return not storage.critical_errors()

    await eventually(well)


async def test_one_disk_that_is_away_keeps_nothing_of_another_waiting(
    config: Config, broker: BusSettings, others: Others, tmp_path: Path
) -> None:
    """However much is asked of the one that is away."""
    second = tmp_path / "second"
    both = config.storage.model_copy(update={"roots": (second,)})
    async with running(config.model_copy(update={"storage": both}), broker, DiskSpace(recheck=0.5)):
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
        with unmounted(config.storage.base_path):
            for number in range(20):
                await others.tell(page(config, f"p{number}", entry(A, number)))
            for number, video in enumerate((B, C, "ddddddddddd")):
                await others.tell(delivery(config, video, f"d{number + 5}", mp4=b"x"))
            there = delivery(config, "eeeeeeeeeee", "d9", mp4=b"y").model_copy(update={"root": str(second)})
            assert (await others.answer(there, VideoArchived)).root == str(second)
            assert await others.answer(page(config, "q", entry(A, 0), root=str(second)), ArchiveChecked)


async def test_a_folder_below_a_root_that_is_away_is_not_begun(
    config: Config, storage: StorageService, others: Others
) -> None:
    """An --output-dir below the root, which would be made below the mount point."""
    root = config.storage.base_path
    with unmounted(root):
        below = delivery(config, B, "d2", mp4=b"x").model_copy(update={"root": str(root / "music")})
        told = await others.tell(below)
        with pytest.raises(ServiceUnavailable):
            await storage.parts.archive.held(str(root / "music"), [B])
    assert (await others.reply_to(told, VideoArchived)).root == str(root / "music")


async def test_what_is_for_the_root_of_another_command_waits_for_that(
    config: Config, broker: BusSettings, others: Others, tmp_path: Path, eventually: Eventually
) -> None:
    """`--output-dir` of a command that was interrupted: the next one, without it, is no reason to give that up."""
    own = tmp_path / "own"
    extra = config.storage.model_copy(update={"roots": (own,)})
    with_own = config.model_copy(update={"storage": extra})
    async with running(with_own, broker) as service:

        async def read() -> bool:
            return await service.parts.catalogue.is_scanned(str(own))

        await eventually(read)
    async with running(config, broker):
        waiting = await others.tell(page(config, "p1", entry(A, 0), root=str(own)))
        await others.answer(page(config, "p2", entry(A, 0)), ArchiveChecked)
    async with running(with_own, broker):
        assert (await others.reply_to(waiting, ArchiveChecked)).root == str(own)


async def test_a_service_whose_disk_is_away_can_be_stopped(
    config: Config, broker: BusSettings, others: Others, eventually: Eventually
) -> None:
    """What waits is given back, and done after the next start."""
    root = config.storage.base_path
    async with running(config, broker) as service:
        await others.answer(delivery(config, A, mp4=b"film"), VideoArchived)
        with unmounted(root):
            checked = await others.tell(page(config, "p1", entry(A, 0)))

            async def waits() -> bool:
                return bool(service.parts.roots.unavailable)

            await eventually(waits)
            async with asyncio.timeout(TIMEOUT):
                await service.shutdown(0.5)
    async with running(config, broker):
        assert (await others.reply_to(checked, ArchiveChecked)).held[0].qualities


async def test_a_rescan_without_the_disk_is_refused_and_forgets_nothing(
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
                assert response.status == 503, "neither held nor not held"
            with pytest.raises(ServiceUnavailable):
                await storage.parts.indexer.rescan(root)
        assert await storage.parts.catalogue.count_videos(str(root)) == 1
        async with http.post(f"{storage.url}/api/v1/storage/rescan", json={}) as response:
            assert response.status == 201


async def test_what_is_archived_while_a_root_is_read_is_not_forgotten(
    config: Config, storage: StorageService, others: Others, eventually: Eventually
) -> None:
    """The list of folders is older than the folder."""
    root = config.storage.base_path
    await others.answer(delivery(config, C, "d3", mp4=b"third"), VideoArchived)
    left = [root / "videos" / one / f".{one}.mp4.{dispatch_tag('dead')}.new" for one in (A, C)]
    for path in left:
        path.write_bytes(b"of a take-in that was killed")
    another = NamedLocks(config.storage.run_dir / "storage-locks")  # of another process
    async with another.hold(str(root), C):
        reading = asyncio.create_task(storage.parts.indexer.rescan(root))

        async def is_at_the_second() -> bool:
            return not left[0].exists()

        await eventually(is_at_the_second)
        await others.answer(delivery(config, B, "d2", mp4=b"second"), VideoArchived)
        assert left[1].exists()
    assert (await reading).forgotten == 0
    assert await storage.parts.catalogue.count_videos(str(root)) == 3
