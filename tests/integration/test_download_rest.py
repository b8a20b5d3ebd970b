"""REST of download with a whole stack: requests, tasks, progress and cancellation, compared with jobs."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from services.common.events import CredentialsOffered, JobCreated
from services.common.names import SERVICES
from services.common.settings.load import load_config
from services.download.api import Ordered
from services.download.service import DownloadService
from services.download.tasks import Task, TaskOutcome, TaskProgress, TaskState
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
KEY = "a-key-that-nobody-may-read-4711"
THROTTLED = 200_000  # bytes per second


class Client:
    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self._http = http
        service = stack.services["download"]
        assert isinstance(service, DownloadService)
        self.service = service

    async def ask(self, method: str, path: str, status: int = 200, of: str = "download", **words: Any) -> Any:
        url = f"{self.stack.services[of].url}/api/v1/{path}"
        async with asyncio.timeout(60), self._http.request(method, url, **words) as response:
            answer = await response.json()
            assert response.status == status, answer
        return answer["data"] if status < 400 else answer["error"]

    async def request_download(self, video: str, **body: Any) -> Ordered:
        return Ordered.model_validate(await self.ask("POST", "download/video", 201, json={"video": video} | body))

    async def tasks(self, **query: int) -> list[Task]:
        found = (await self.ask("GET", "download/tasks", params=query))["tasks"]
        return [Task.model_validate(task) for task in found]

    async def progress(self, task_id: str) -> TaskProgress:
        return TaskProgress.model_validate(await self.ask("GET", f"download/progress/{task_id}"))

    async def job(self, job_id: str) -> Any:
        url = f"{self.stack.services['jobs'].url}/api/v1/jobs/{job_id}"
        async with self._http.get(url) as response:
            return (await response.json())["data"]

    async def task_of(self, job_id: str, *states: TaskState) -> Task | None:
        for task in await self.tasks(limit=500):
            if task.job_id == job_id and (not states or task.state in states):
                return task
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, emulator_child: EmulatorClient) -> AsyncIterator[Client]:
    root = tmp_path_factory.mktemp("download")
    env = {f"YTARCHIVE_SERVICES__{name.upper()}__PORT": "0" for name in SERVICES} | {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(root / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(root / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_YOUTUBE__PROXY": emulator_child.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(Path(emulator_child.ca_file)),
        "YTARCHIVE_YOUTUBE__API_ENDPOINT": emulator_child.api_endpoint,
    }
    async with Stack(load_config(env=env, cwd=root)) as stack, aiohttp.ClientSession() as http:
        yield Client(stack, http)


async def test_a_requested_video_is_a_job_and_a_task_until_both_complete(
    client: Client, emulator: EmulatorClient, eventually: Eventually
) -> None:
    assert emulator.log() == []
    watch = f"https://www.youtube.com/watch?v={sample.VIDEO_OK}"
    async with client.service.bus.tail(JobCreated) as told:
        ordered = await client.request_download(
            watch, options={"quality": "144p", "include_captions": False}, priority=3
        )
        created = await asyncio.wait_for(anext(told), 60)
    assert (ordered.video_id, created.trace_id) == (sample.VIDEO_OK, ordered.trace_id)
    assert created.source == f"download/{client.service.instance}"

    async def ended() -> Any:
        found = await client.job(ordered.job_id)
        return found if found and found["job"]["status"] == "completed" else None

    found: Any = await eventually(ended)
    job = found["job"]
    assert (job["type"], job["priority"], job["targets"], job["trace_id"]) == (
        "video_download", 3, [watch], ordered.trace_id,
    )  # fmt: skip
    assert [(item["video_id"], item["status"]) for item in found["items"]] == [(sample.VIDEO_OK, "archived")]

    task = await client.task_of(ordered.job_id)
    assert task is not None
    assert (task.video_id, task.state, task.outcome) == (sample.VIDEO_OK, TaskState.ENDED, TaskOutcome.COMPLETED)
    assert (task.title, task.trace_id) == ("Loopback, part 1: Hello", ordered.trace_id)
    assert task.finished_at
    assert task.finished_at > task.started_at
    told_last = await client.progress(task.task_id)
    assert (told_last.percentage, told_last.message, told_last.outcome) == (100.0, "completed", "completed")
    assert told_last.current == told_last.total > 0
    assert client.service.metrics()["bytes_downloaded"] == told_last.current
    assert client.service.metrics()["tasks_ended"]["completed"] == 1


async def test_a_failed_task_has_its_reason(client: Client, emulator: EmulatorClient, eventually: Eventually) -> None:
    assert emulator.log() == []
    ordered = await client.request_download(sample.VIDEO_PRIVATE)
    task = await eventually(lambda: client.task_of(ordered.job_id, TaskState.ENDED))
    assert isinstance(task, Task)
    assert task.outcome is TaskOutcome.FAILED
    assert task.failure
    assert task.failure.reason == "private"
    told = await client.progress(task.task_id)
    assert told.failure == task.failure
    assert "rivate" in told.message


async def test_an_api_key_is_used_for_metadata_and_stored_nowhere(
    client: Client, emulator: EmulatorClient, eventually: Eventually
) -> None:
    ordered = await client.request_download(sample.VIDEO_480P, options={"api_key": KEY, "quality": "144p"})

    async def ended() -> Any:
        found = await client.job(ordered.job_id)
        return found if found and found["job"]["status"] == "completed" else None

    found: Any = await eventually(ended)
    assert "api_key" not in found["job"]["options"]
    assert emulator.log(kind="data_api")  # the key was used
    data = client.stack.config.storage.base_data_dir
    for path in [*data.rglob("*"), *client.stack.config.storage.base_path.rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert "download" in CredentialsOffered.publishers


GOOD = sample.VIDEO_OK


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"video": sample.PLAYLIST_3}, "playlist"),
        ({"video": f"https://www.youtube.com/playlist?list={sample.PLAYLIST_3}"}, "POST /api/v1/jobs"),
        ({"video": f"https://www.youtube.com/watch?v={GOOD}&list={sample.PLAYLIST_3}"}, "playlist"),
        ({"video": sample.CHANNEL_HANDLE}, "channel"),
        ({"video": "short"}, "short"),
        ({"video": "https://example.com/watch?v=" + GOOD}, "example.com"),
        ({"video": ""}, "video"),
        ({"video": None}, "video"),
        ({"video": [GOOD]}, "video"),
        ({"video": "x" * 3000}, "video"),
        ({}, "video"),
        ({"video": GOOD, "options": {"quality": "1081p"}}, "quality"),
        ({"video": GOOD, "options": {"quality": "(" * 300}}, "quality"),
        ({"video": GOOD, "options": {"caption_languages": ["../en"]}}, "caption language"),
        ({"video": GOOD, "options": {"output_dir": "/etc"}}, "output_dir"),
        ({"video": GOOD, "options": {"output_dir": "relative"}}, "output_dir"),
        ({"video": GOOD, "options": {"api_key": "k" * 201}}, "api_key"),
        ({"video": GOOD, "options": None}, "options"),
        ({"video": GOOD, "priority": 101}, "priority"),
        ({"video": GOOD, "job_id": "mine"}, "job_id"),
    ],
)
async def test_an_invalid_download_request_is_refused_and_creates_no_job(
    client: Client, body: dict[str, Any], message: str
) -> None:
    total = (await client.ask("GET", "jobs", of="jobs"))["total"]
    error = await client.ask("POST", "download/video", 400, json=body)
    assert error["code"] == "E007"
    assert message in error["message"]
    assert (await client.ask("GET", "jobs", of="jobs"))["total"] == total


async def test_cancelling_a_task_stops_the_download_for_all_its_jobs(
    client: Client, emulator: EmulatorClient, eventually: Eventually
) -> None:
    """Two jobs wait for one download. Its process group has ended with the response; neither job gets the video."""
    emulator.add_fault("media", "throttle", rate=THROTTLED)
    mine = await client.request_download(sample.VIDEO_LARGE)
    task = await eventually(lambda: client.task_of(mine.job_id, TaskState.DOWNLOADING))
    assert isinstance(task, Task)
    body = {"targets": [sample.VIDEO_LARGE], "type": "video_download"}
    other: str = (await client.ask("POST", "jobs", 201, of="jobs", json=body))["job_id"]

    async def joined() -> Any:
        return [item["status"] for item in (await client.job(other))["items"]] == ["waiting"]

    await eventually(joined)

    async def moving() -> TaskProgress | None:
        told = await client.progress(task.task_id)
        return told if told.percentage > task.progress.percentage and told.speed_bps else None

    told = await eventually(moving)
    assert isinstance(told, TaskProgress)
    assert (told.state, told.outcome, told.message) == (TaskState.DOWNLOADING, None, "downloading")
    assert 0 < told.current < told.total
    assert 0 < told.percentage < 100
    assert told.eta_seconds
    assert told.eta_seconds > 0
    metrics = client.service.metrics()
    assert metrics["tasks"] == {"waiting": 0, "claiming": 0, "extracting": 0, "downloading": 1, "finishing": 0}
    # a format lookup needs no slot
    assert (await client.ask("GET", f"download/formats/{sample.VIDEO_LARGE}"))["choices"]

    pids = [slot.child.pid for slot in client.service.parts.slots._all if slot.child.pid is not None]
    partial = client.service.parts.context.partial_of(sample.VIDEO_LARGE)
    assert partial.exists()
    begun = asyncio.get_running_loop().time()
    stopped = Task.model_validate(await client.ask("POST", f"download/cancel/{task.task_id}"))
    assert asyncio.get_running_loop().time() - begun < 4
    assert (stopped.outcome, stopped.state, stopped.job_id) == (TaskOutcome.CANCELLED, TaskState.ENDED, mine.job_id)
    assert not partial.exists()
    assert sum(not alive(pid) for pid in pids) == 1

    async def both_cancelled() -> bool:
        found = [await client.job(job_id) for job_id in (mine.job_id, other)]
        items = {item["status"] for job in found for item in job["items"]}
        return items == {"cancelled"} and all(job["job"]["finished_at"] for job in found)

    await eventually(both_cancelled)
    mark = emulator.last()
    error = await client.ask("POST", f"download/cancel/{task.task_id}", 400)
    assert (error["code"], error["details"]["outcome"]) == ("E007", "cancelled")
    assert (await client.progress(task.task_id)).outcome is TaskOutcome.CANCELLED
    emulator.clear_faults()
    again = await client.request_download(sample.VIDEO_OK, options={"skip_existing": False, "quality": "144p"})
    await eventually(lambda: client.task_of(again.job_id, TaskState.ENDED))  # the slot is free again
    assert emulator.log(since=mark, video_id=sample.VIDEO_LARGE) == []


def alive(pid: int) -> bool:
    """Whether any process of this group exists."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_ended_task_cannot_be_cancelled(client: Client, eventually: Eventually) -> None:
    ordered = await client.request_download(sample.VIDEO_NO_CAPTIONS, options={"quality": "144p"})
    task = await eventually(lambda: client.task_of(ordered.job_id, TaskState.ENDED))
    assert isinstance(task, Task)
    error = await client.ask("POST", f"download/cancel/{task.task_id}", 400)
    assert (error["code"], error["details"]["outcome"]) == ("E007", "completed")


async def test_an_option_that_is_misspelled_is_refused(client: Client) -> None:
    body = {"video": sample.VIDEO_OK, "options": {"qualty": "144p"}}
    error = await client.ask("POST", "download/video", 400, json=body)
    assert error["code"] == "E007" and "options.qualty: is not known" in error["message"]


@pytest.mark.parametrize("task_id", ["nobody", "f.1", "%00", "a%2Fb", "a" * 129, "%F0%9F%92%A9"])
async def test_an_unknown_task_is_not_found(client: Client, task_id: str) -> None:
    for method, path in (("GET", "progress"), ("POST", "cancel")):
        assert (await client.ask(method, f"download/{path}/{task_id}", 404))["code"] == "E007"


async def test_tasks_are_paged_with_running_ones_first(
    client: Client, emulator: EmulatorClient, eventually: Eventually
) -> None:
    for video_id in (sample.VIDEO_DELETED, sample.VIDEO_PRIVATE):
        gone = await client.request_download(video_id, options={"skip_existing": False})
        await eventually(functools.partial(client.task_of, gone.job_id, TaskState.ENDED))
    emulator.add_fault("media", "throttle", rate=THROTTLED)
    ordered = await client.request_download(sample.VIDEO_LARGE, options={"quality": "480p"})
    await eventually(lambda: client.task_of(ordered.job_id, TaskState.DOWNLOADING))
    whole = await client.ask("GET", "download/tasks")
    assert whole["total"] == len(whole["tasks"]) > 2
    states = [task["state"] for task in whole["tasks"]]
    assert states == ["downloading", *["ended"] * (len(states) - 1)]
    ends = [task["finished_at"] for task in whole["tasks"][1:]]
    assert ends == sorted(ends, reverse=True)
    page = await client.ask("GET", "download/tasks", params={"limit": 1, "offset": 1})
    assert (page["total"], page["tasks"]) == (whole["total"], whole["tasks"][1:2])
    for query in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"state": "x"}):
        assert (await client.ask("GET", "download/tasks", 400, params=query))["code"] == "E007"
    await client.ask("POST", f"download/cancel/{whole['tasks'][0]['task_id']}")
