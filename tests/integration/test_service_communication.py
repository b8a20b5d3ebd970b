"""SPEC's request between services, as it is on the wire: what jobs, metadata, storage and download say to each other
while a video is saved, heard by a client that knows nothing of our code."""

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
TOLD_BY = {
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
async def heard(config: Config, emulator: EmulatorClient) -> AsyncIterator[list[Json]]:
    """Every message of the bus, of a job that saved one video."""
    youtube = config.youtube.model_copy(update={"proxy": emulator.proxy_url, "ca_file": emulator.ca_file})
    messages: list[Json] = []
    ended = asyncio.Event()

    async def hear(message: Any) -> None:
        if message.subject in TOLD_BY:
            messages.append({"subject": message.subject, **json.loads(message.data)})
        if {"job.completed", *TOLD_BY} == {one["subject"] for one in messages} | {message.subject}:
            ended.set()

    async with Stack(config.model_copy(update={"youtube": youtube}), embedded=True) as stack:
        token = stack.settings.token
        client = await nats.connect(stack.settings.url, token=token.get_secret_value() if token else None)
        await client.subscribe(">", cb=hear)
        await client.flush()
        jobs = f"{stack.services['jobs'].url}/api/v1/jobs"
        async with (
            aiohttp.ClientSession() as http,
            http.post(jobs, json={"targets": [sample.VIDEO_OK]}, headers={"X-Trace-Id": "story-1"}) as answer,
        ):
            assert answer.status == 201
        await asyncio.wait_for(ended.wait(), 60)
        await client.close()
        yield messages


@pytest.mark.claim("4.3", "7.9")
async def test_services_tell_each_other_with_trace_timestamp_and_data(heard: list[Json]) -> None:
    assert {message["subject"] for message in heard} == set(TOLD_BY)
    for message in heard:
        assert message["source"].partition("/")[0] == TOLD_BY[message["subject"]]
        assert message["trace_id"] == "story-1"
        assert datetime.fromisoformat(message["timestamp"]) <= datetime.now(UTC)
        assert isinstance(message["data"], dict)


async def test_every_fact_names_the_message_that_caused_it(heard: list[Json]) -> None:
    """The story can be followed back to the request that began it."""
    by_id = {message["id"]: message for message in heard}
    causes = {message["subject"]: by_id[message["caused_by"]]["subject"]
              for message in heard if message.get("caused_by") in by_id}  # fmt: skip
    expected = {
        "job.queued": "job.created",
        "listing.page_fetched": "job.queued",
        "archive.checked": "listing.page_fetched",
        "metadata.fetched": "download.requested",
        "download.completed": "download.requested",
        "video.archived": "download.completed",
    }
    assert {subject: causes.get(subject) for subject in expected} == expected
