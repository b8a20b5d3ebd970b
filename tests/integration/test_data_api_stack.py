"""Jobs with an API key through all five services: sources, metadata-only jobs, and secrecy of the key."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import nats
import pytest

from services.common.domain.jobs import Item, Job
from services.common.infra import logs
from services.common.settings.load import Config
from tests.fixtures.emulated import emulated_config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

CONFIGURED_KEY, REST_KEY, NATS_KEY, WRONG_KEY = (
    "k-configured-4711",
    "k-rest-zebra",
    "k-by-hand-heron",
    "k-invalid-otter",
)


@pytest.fixture
def emulated(config: Config, emulator: EmulatorClient) -> Config:
    return emulated_config(
        config,
        emulator,
        YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint,
        YTARCHIVE_GENERAL__LOG_LEVEL="DEBUG",
        YOUTUBE_API_KEY=CONFIGURED_KEY,
    )


class Client:
    """A client of a stack over REST and NATS."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self._http = http
        self._jobs = f"{stack.services['jobs'].url}/api/v1/jobs"

    async def save(self, target: str, type: str = "playlist_download", **options: Any) -> tuple[Job, dict[str, Item]]:
        body = {"targets": [target], "type": type, "options": options}
        async with self._http.post(self._jobs, json=body) as response:
            assert response.status == 201, await response.text()
            return await self.wait_for_end((await response.json())["data"]["job_id"])

    async def publish(self, target: str, **options: Any) -> str:
        """Publish a job with plain nats-py."""
        job_id = str(uuid4())
        settings = self.stack.settings
        assert settings.token is not None
        connection = await nats.connect(settings.url, token=settings.token.get_secret_value())
        envelope = {
            "id": str(uuid4()),
            "version": "1.0",
            "type": "job.created",
            "trace_id": "by-hand",
            "timestamp": "2026-01-01T00:00:00Z",
            "source": "cli/by-hand",
            "data": {"job_id": job_id, "targets": [target], "options": options},
        }
        for _ in range(2):  # twice, without a Nats-Msg-Id: the stream stores two copies
            await connection.jetstream().publish("job.created", json.dumps(envelope).encode())
        await connection.close()
        return job_id

    async def wait_for_end(self, job_id: str) -> tuple[Job, dict[str, Item]]:
        async with asyncio.timeout(60):
            while True:
                async with self._http.get(f"{self._jobs}/{job_id}") as response:
                    data = (await response.json())["data"]
                if data and data["job"]["status"] in {"completed", "failed", "cancelled"}:
                    break
                await asyncio.sleep(0.05)
        items = [Item.model_validate(item) for item in data["items"]]
        return Job.model_validate(data["job"]), {item.video_id: item for item in items}


@asynccontextmanager
async def running_stack(config: Config) -> AsyncIterator[Client]:
    async with Stack(config) as stack, aiohttp.ClientSession() as http:
        yield Client(stack, http)


def requested_videos(emulator: EmulatorClient) -> set[str]:
    return {entry["video_id"] for entry in emulator.log() if entry.get("video_id")}


async def test_metadata_of_both_sources_are_stored_side_by_side(emulated: Config, emulator: EmulatorClient) -> None:
    async with running_stack(emulated) as client:
        job, items = await client.save(sample.PLAYLIST_3)
    assert (job.status, job.counts.archived) == ("completed", 3)
    assert emulator.log(kind="data_api")
    for video_id in items:
        file = json.loads((emulated.storage.metadata_dir / "videos" / f"{video_id}.json").read_text())
        assert set(file["sources"]) == {"data_api", "yt_dlp"}
        described = file["sources"]["data_api"]["metadata"]
        assert described["title"] == file["sources"]["yt_dlp"]["metadata"]["title"] == file["title"]
        assert described["duration_seconds"] == file["sources"]["yt_dlp"]["metadata"]["duration_seconds"]
        assert described["categories"] == ["Education"]
    playlist = json.loads((emulated.storage.metadata_dir / "playlists" / f"{sample.PLAYLIST_3}.json").read_text())
    assert [entry["video_id"] for entry in playlist["entries"]] == list(items)


async def test_a_metadata_only_job_uses_yt_dlp_only_for_videos_the_data_api_lacks(
    emulated: Config, emulator: EmulatorClient
) -> None:
    """Videos that the Data API does not return are tried once with yt-dlp, which provides the reason."""
    gone = set(sample.PLAYLIST_250_DELETED + sample.PLAYLIST_250_PRIVATE)
    async with running_stack(emulated) as client:
        job, items = await client.save(sample.PLAYLIST_250, "metadata_only")
        first = list(items.values())
        asked = requested_videos(emulator)
        again, _items = await client.save(sample.PLAYLIST_250, "metadata_only")
        emulator.clear_log()
        forced, _items = await client.save(sample.PLAYLIST_3, "metadata_only", skip_existing=False)
        assert requested_videos(emulator) == set()
    assert (job.status, job.counts.archived, job.counts.unavailable) == ("completed", 250 - len(gone), len(gone))
    assert asked == {item.video_id for item in first if item.position in gone}
    assert {item.result.status for item in first if item.result and item.position not in gone} == {"success"}
    assert (again.counts.archived, again.counts.unavailable) == (250 - len(gone), len(gone))  # fetched again, and kept
    assert forced.counts.archived == 3


@pytest.fixture
def recorded() -> Iterator[None]:
    logs.setup(level="DEBUG", console="DEBUG")
    yield
    logs.tear_down()


def files_containing(text: str, *folders: Path) -> list[Path]:
    """Return the files of any format that contain a text."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.mark.usefixtures("recorded")
async def test_an_api_key_is_in_no_file_no_log_and_no_stored_message(
    emulated: Config, emulator: EmulatorClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    emulator.add_fault("data_api", "status", status=503, times=1)  # causes a retry, which is logged
    async with running_stack(emulated) as client:
        job, _items = await client.save(sample.PLAYLIST_3, api_key=REST_KEY)
        over_nats, _items = await client.wait_for_end(await client.publish(sample.PLAYLIST_20, api_key=NATS_KEY))
        configured, _items = await client.save(sample.VIDEO_OK)
        refused, _items = await client.save(sample.PLAYLIST_3, api_key=WRONG_KEY)
        refused_over_nats, _items = await client.wait_for_end(
            await client.publish(sample.PLAYLIST_3, api_key=WRONG_KEY)
        )
        stream = await client.stack.services["jobs"].bus.js.stream_info("EVENTS", subjects_filter="job.created")
    assert [one.status for one in (job, over_nats, configured)] == ["completed"] * 3
    assert over_nats.trace_id == "by-hand"
    for one in (refused, refused_over_nats):  # the error shows that the key of the job was used
        assert one.status == "failed"
        assert one.error is not None
        assert one.error.code == "E005"
        assert "the API key that came with this job" in one.error.message
    assert stream.state.subjects == {"job.created": 3}  # both copies of each job published over NATS are erased

    told = capfd.readouterr()
    places = (emulated.storage.base_data_dir, emulated.storage.base_path, tmp_path)
    assert "call_again" in told.err
    assert {path.suffix for path in files_containing(job.trace_id, *places)} >= {".blk", ".jsonl", ".db", ".json"}
    for key in (CONFIGURED_KEY, REST_KEY, NATS_KEY, WRONG_KEY):
        assert files_containing(key, *places) == []
        assert key not in told.err + told.out
