"""Clusters and jobs for the tests that kill services and brokers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from bus import Bus
from services.common.messaging import connect_bus
from tests.fixtures.cluster import Cluster, ClusterProvider, JobRun
from tests.fixtures.cluster import until as poll_until
from tests.fixtures.processes import ProcessPool
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample


@pytest.fixture(scope="session")
def short_ack_clusters(
    emulator_child: EmulatorClient, process_pool: ProcessPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProvider]:
    settings = {"YTARCHIVE_NATS__ACK_WAIT": "1"}
    provider = ClusterProvider(
        tmp_path_factory.mktemp("short_ack"), emulator_child, process_pool, settings, first_as_subprocess=True
    )
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def default_ack_clusters(
    emulator_child: EmulatorClient, process_pool: ProcessPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProvider]:
    provider = ClusterProvider(tmp_path_factory.mktemp("default_ack"), emulator_child, process_pool, {})
    yield provider
    provider.close()


@pytest.fixture
async def short_ack_cluster(short_ack_clusters: ClusterProvider, emulator: EmulatorClient) -> Cluster:
    """A cluster where an unacknowledged message is redelivered after 1 s."""
    return await short_ack_clusters.get()


@pytest.fixture
async def default_ack_cluster(default_ack_clusters: ClusterProvider, emulator: EmulatorClient) -> Cluster:
    """A cluster with the default ack_wait, which is longer than the timeout of a test."""
    return await default_ack_clusters.get()


@pytest.fixture
async def new_job(emulator: EmulatorClient) -> AsyncIterator[Callable[..., Awaitable[JobRun]]]:
    """`await new_job(cluster)`: a job for a playlist that no other test uses, with a bus and a REST client."""
    opened: list[Bus] = []
    async with aiohttp.ClientSession() as http:

        async def make(cluster: Cluster, *, count: int = 4) -> JobRun:
            playlist = f"PL{uuid4().hex}"
            made = emulator.put_playlist(playlist, count=count, channel=sample.CHANNEL, private=[1])
            bus = await connect_bus(cluster.broker.settings, source="cli/chaos")
            opened.append(bus)
            videos = list(made["entries"])
            unavailable = [videos.pop(1)]
            return JobRun(cluster, emulator, bus, http, playlist, videos, unavailable)

        yield make
        await asyncio.gather(*(bus.close() for bus in opened))


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return poll_until


@pytest.fixture
def worker_consumers() -> tuple[str, ...]:
    """Prefixes of consumers whose killed instances keep their in-flight messages until ack_wait is over."""
    return ("metadata-", "download-")


@pytest.fixture
def repeat_job() -> Callable[[JobRun], JobRun]:
    """Create a new job for the playlist of another one."""
    return lambda job_run: replace(job_run, job_id=str(uuid4()))
