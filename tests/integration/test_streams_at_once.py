"""Picture and sound of a video are downloaded at once: each resumes by itself, and a failure of one ends the other."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.common.domain.failures import FailureKind
from services.common.settings.load import Config
from services.common.youtube.classify import classify
from services.common.youtube.partial import media_of
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from tests.fixtures.media import decodes
from tests.fixtures.youtube_child import Messages, emulated, fetch_messages, fetch_request
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIDEO = sample.VIDEO_LARGE
PICTURE, SOUND = 137, 140

Fetch = Callable[[int], Coroutine[Any, Any, Messages]]


@pytest.fixture(scope="module")
def config(emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return emulated(emulator_child, tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(config: Config) -> AsyncIterator[YtDlpChild]:
    child = YtDlpChild(ChildSettings.of(config))
    yield child
    await child.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / "video.part"


@pytest.fixture
def fetch(child: YtDlpChild, directory: Path, emulator: EmulatorClient) -> Fetch:
    async def run(connections: int) -> Messages:
        request = fetch_request(directory, VIDEO, connections=connections, thumbnail=False)
        return await fetch_messages(child, request)

    return run


def requested(emulator: EmulatorClient, since: int = 0) -> list[int]:
    """Return the formats of the requests for media, in their order."""
    return [int(request["query"]["itag"]) for request in emulator.log(kind="media", since=since)]


def parts(directory: Path) -> dict[int, int]:
    """Return the formats of the partial files, and their sizes."""
    return {int(path.name.split(".")[1][1:]): path.stat().st_size for path in directory.glob("*.part")}


async def until_both_arrive(directory: Path) -> None:
    async with asyncio.timeout(60):
        while not {PICTURE, SOUND} <= {itag for itag, size in parts(directory).items() if size}:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)  # files of another process raise no event


async def test_with_one_connection_the_sound_follows_the_picture(
    fetch: Fetch, directory: Path, emulator: EmulatorClient
) -> None:
    await fetch(1)
    itags = requested(emulator)
    assert set(itags) == {PICTURE, SOUND}
    assert itags == sorted(itags)
    assert decodes(directory / f"{VIDEO}.mp4")


async def test_with_two_connections_the_same_requests_are_made_at_once(
    fetch: Fetch, directory: Path, emulator: EmulatorClient
) -> None:
    await fetch(1)
    one_by_one = requested(emulator)
    shutil.rmtree(directory)
    since = emulator.last()
    emulator.add_fault("media", "throttle", itag=PICTURE, rate=4_000_000)
    running = asyncio.create_task(fetch(2))
    await asyncio.to_thread(emulator.wait_for, since=since, kind="media", count=2)
    assert set(requested(emulator, since)) == {PICTURE, SOUND}
    assert PICTURE in parts(directory)
    messages = await running
    assert sorted(requested(emulator, since)) == one_by_one
    progress = [message for message in messages if message["type"] == "downloading"]
    assert progress[-1]["downloaded"] == progress[-1]["total"]
    assert [one["downloaded"] for one in progress] == sorted(one["downloaded"] for one in progress)
    assert decodes(directory / f"{VIDEO}.mp4")
    assert sorted(media_of(directory, VIDEO)) == [directory / f"{VIDEO}.mp4"]


async def test_both_streams_are_resumed_after_a_kill(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient
) -> None:
    slow = emulator.add_fault("media", "throttle", rate=50_000)
    running = asyncio.create_task(fetch(2))
    await until_both_arrive(directory)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildCrashed):
        await running
    emulator.remove_fault(slow)
    held = parts(directory)
    since = emulator.last()
    messages = await fetch(2)
    assert messages[1]["downloaded"] == sum(held.values()) - 2
    first: dict[int, str] = {}
    for request in emulator.log(kind="media", since=since):
        first.setdefault(int(request["query"]["itag"]), request["range"])
    assert {itag: start.partition("-")[0] for itag, start in first.items()} == {
        itag: f"bytes={size - 1}" for itag, size in held.items()
    }
    assert decodes(directory / f"{VIDEO}.mp4")


@pytest.mark.parametrize(("failing", "other"), [(SOUND, PICTURE), (PICTURE, SOUND)], ids=["sound", "picture"])
async def test_when_one_stream_fails_the_other_stops_and_is_resumed_later(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient, failing: int, other: int
) -> None:
    slow = emulator.add_fault("media", "throttle", itag=other, rate=20_000)
    refused = emulator.add_fault("media", "status", itag=failing, status=503)
    pid = await served(child)
    with pytest.raises(ChildFailed) as caught:
        await fetch(2)
    failure = classify(caught.value.facts, datetime.now(UTC))
    assert failure.kind is FailureKind.PASSING
    assert "503" in failure.message
    assert child.pid == pid  # no download is left in it
    held = parts(directory).get(other, 0)
    for fault in (slow, refused):
        emulator.remove_fault(fault)
    since = emulator.last()
    await fetch(2)
    resumed = [r["range"] for r in emulator.log(kind="media", since=since) if int(r["query"]["itag"]) == other]
    assert resumed[0].startswith(f"bytes={max(held - 1, 0)}-")
    assert decodes(directory / f"{VIDEO}.mp4")


async def test_a_video_whose_picture_is_refused_costs_one_request(fetch: Fetch, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "status", status=404)
    with pytest.raises(ChildFailed):
        await fetch(2)
    assert requested(emulator) == [PICTURE]


async def served(child: YtDlpChild) -> int:
    await child.start()
    assert child.pid is not None
    return child.pid
