"""The dispatcher at work on a real jobs.db."""

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.common import events as e
from services.common.models import ErrorCode, ErrorDetail, JobType, Target, TargetKind
from services.jobs import machine
from services.jobs.dispatcher import Dispatcher
from services.jobs.ledger import Out
from services.jobs.machine import Accepted
from services.jobs.registry import Registry
from services.jobs.sqlrows import SqlRows
from services.jobs.store import Store

LIST = "PLdispatcher"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "jobs.db", "jobs/test")
    yield store
    store.close()


async def test_a_paused_job_whose_listing_is_due_is_not_looked_at_again_and_again(store: Store, tmp_path: Path) -> None:
    def waits_for_quota_and_is_paused(rows: SqlRows, _sql: sqlite3.Connection, now: datetime) -> list[Out]:
        ordered = e.JobCreated(job_id="j", targets=(LIST,), type=JobType.PLAYLIST_DOWNLOAD)
        accepted = Accepted((Target(kind=TargetKind.PLAYLIST, id=LIST),), "/archive")
        machine.create(rows, ordered, "t", accepted, now)
        refused = e.ListingFailed(
            job_id="j",
            root="/archive",
            target_index=0,
            listing=1,
            error=ErrorDetail(code=ErrorCode.API_QUOTA_EXCEEDED, message="quota"),
            retry_after=now - timedelta(seconds=1),
            spent=False,
        )
        machine.step(rows, refused, now)
        return machine.step(rows, e.JobPauseRequested(job_id="j"), now)

    await store.change(waits_for_quota_and_is_paused)
    looks: list[object] = []
    dispatcher = Dispatcher(store, Registry(tmp_path / "services.json"), (), looks.append)
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(1.0)  # the absence of something can only be waited for
    running.cancel()
    assert 0 < len(looks) < 4
