"""The specified request between services on the wire: the messages of all services while a video is archived.

They are received by a client that shares no code with the product.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import nats
import pytest

from services.common.settings.load import Config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

Json = dict[str, Any]
PUBLISHERS = {
    "job.created": "jobs",  # REST of jobs
    "job.queued": "jobs",
    "listing.page_fetched": "metadata",
    "archive.checked": "storage",
    "download.requested": "jobs",
    "download.claim": "download",
    "metadata.fetched": "download",
    "download.completed": "download",
    "video.archived": "storage",
    "job.completed": "jobs",
}


@pytest.fixture
async def received(config: Config, emulator: EmulatorClient) -> AsyncIterator[list[Json]]:
    """All bus messages of a job that archives one video."""
    youtube = config.youtube.model_copy(update={"proxy": emulator.proxy_url, "ca_file": emulator.ca_file})
    messages: list[Json] = []
    ended = asyncio.Event()

    async def record(message: Any) -> None:
        if message.subject in PUBLISHERS:
            messages.append({"subject": message.subject, **json.loads(message.data)})
        if {"job.completed", *PUBLISHERS} == {one["subject"] for one in messages} | {message.subject}:
            ended.set()

    async with Stack(config.model_copy(update={"youtube": youtube}), embedded=True) as stack:
        token = stack.settings.token
        client = await nats.connect(stack.settings.url, token=token.get_secret_value() if token else None)
        await client.subscribe(">", cb=record)
        await client.flush()
        jobs = f"{stack.services['jobs'].url}/api/v1/jobs"
        async with (
            aiohttp.ClientSession() as http,
            http.post(jobs, json={"targets": [sample.VIDEO_OK]}, headers={"X-Trace-Id": "trace-1"}) as answer,
        ):
            assert answer.status == 201
        await asyncio.wait_for(ended.wait(), 60)
        await client.close()
        yield messages


@pytest.mark.claim("4.3", "7.9")
async def test_messages_between_services_have_a_source_trace_id_timestamp_and_data(received: list[Json]) -> None:
    assert {message["subject"] for message in received} == set(PUBLISHERS)
    for message in received:
        assert message["source"].partition("/")[0] == PUBLISHERS[message["subject"]]
        assert message["trace_id"] == "trace-1"
        assert datetime.fromisoformat(message["timestamp"]) <= datetime.now(UTC)
        assert isinstance(message["data"], dict)


async def test_every_event_names_the_message_that_caused_it(received: list[Json]) -> None:
    """Events can be traced back to the request that started them."""
    by_id = {message["id"]: message for message in received}
    causes = {message["subject"]: by_id[message["caused_by"]]["subject"]
              for message in received if message.get("caused_by") in by_id}  # fmt: skip
    expected = {
        "job.queued": "job.created",
        "listing.page_fetched": "job.queued",
        "archive.checked": "listing.page_fetched",
        "metadata.fetched": "download.requested",
        "download.completed": "download.requested",
        "video.archived": "download.completed",
    }
    assert {subject: causes.get(subject) for subject in expected} == expected
