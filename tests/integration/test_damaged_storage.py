"""The storage service with damaged files: the catalogue is rebuilt from the tree and the plans, at the start and while
it runs; a work plan is named, and can be removed."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

import aiohttp
import pytest

from bus import BusSettings
from services.common.events import VideoArchived, WorkPlanUpdated
from services.common.settings.load import Config
from services.storage.index.schema import catalogue_path
from services.storage.service import StorageService
from tests.fixtures.damage import WAYS
from tests.fixtures.storage_world import A, B, C, delivery, running_storage, storage_client, video_failed

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.mark.parametrize("damage", WAYS)
async def test_the_catalogue_is_rebuilt_by_itself(
    config: Config, broker: BusSettings, eventually: Eventually, damage: Callable[[bytes], bytes]
) -> None:
    path = catalogue_path(config.storage.base_data_dir)

    async def rebuilt(service: StorageService) -> bool:
        parts = service.parts
        return service.metrics()["rebuilding"] is None and await parts.catalogue.dump() == complete

    async def archived(service: StorageService, *video_ids: str) -> bool:
        parts = service.parts
        held = [(await parts.queries.existence(video_id)).exists for video_id in video_ids]
        return service.metrics()["rebuilding"] is None and all(held)

    async with storage_client(broker) as others, running_storage(config, broker) as service:
        for video_id in (A, B):
            await others.request(delivery(config, video_id, mp4=b"film", vtt=b"WEBVTT"), VideoArchived)
        await others.request(video_failed(config, C), WorkPlanUpdated)
        complete = await service.parts.catalogue.dump()
        assert len(complete["videos"]) == 2
        assert len(complete["known_gone"]) == 1
    path.write_bytes(damage(path.read_bytes()))
    async with storage_client(broker) as others, running_storage(config, broker) as service:
        await eventually(lambda: rebuilt(service))
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damaged = damage(path.read_bytes())
        path.write_bytes(damaged)
        await others.request(delivery(config, C, mp4=b"film"), VideoArchived)  # it never fails for the catalogue
        await service.parts.database.check()  # what that needed may have been intact
        await eventually(lambda: archived(service, A, B, C))
        assert service.parts.catalogue.generation > 0
        await service.parts.catalogue.mark_scanned("/a root", 0)  # a scan that began before the damage
        assert not await service.parts.catalogue.is_scanned("/a root")
    assert path.with_name("catalogue.db.unreadable").exists()


@pytest.mark.parametrize("damage", WAYS)
async def test_a_damaged_work_plan_is_named_and_can_be_removed(
    config: Config, broker: BusSettings, damage: Callable[[bytes], bytes]
) -> None:
    async with (
        storage_client(broker) as others,
        running_storage(config, broker) as service,
        aiohttp.ClientSession() as http,
    ):
        plan_id = (await others.request(video_failed(config, C), WorkPlanUpdated)).plan_id
        path = config.storage.work_plans_dir / f"{plan_id}.json"
        path.write_bytes(damage(path.read_bytes()))
        url = f"{service.url}/api/v1/storage/work-plans/{plan_id}"
        async with http.get(url) as response:
            error = (await response.json())["error"]
        assert (response.status, error["code"]) == (503, "E006")
        assert str(path) in error["message"]
        assert "`ytarchive workplan delete`" in error["message"]
        async with http.delete(url) as response:
            assert response.ok
        assert not path.exists()
