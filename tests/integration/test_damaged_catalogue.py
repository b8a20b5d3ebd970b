"""The storage service with a damaged catalogue: it is rebuilt from the tree and the plans, at the start and while it
runs."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

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
    assert path.with_name("catalogue.db.unreadable").exists()
