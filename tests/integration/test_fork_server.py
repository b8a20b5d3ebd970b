"""Children that are forked from a process with yt-dlp imported."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.common.settings.load import Config
from services.common.youtube.fork_server import AVAILABLE, ForkServer
from services.common.youtube.process import ChildCrashed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from tests.fixtures.emulated import emulated_config
from tests.fixtures.process_tree import children_of, command_of, is_running, parent_of
from tests.fixtures.waiting import until
from tests.fixtures.youtube_child import fetch_request
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="children are forked on Linux only")


@pytest.fixture
def settings(emulator: EmulatorClient, config: Config) -> ChildSettings:
    return ChildSettings.of(emulated_config(config, emulator))


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    server = ForkServer().acquire()
    yield server
    await server.release()


def kind_of(message: dict[str, Any]) -> str:
    return str(message["type"])


async def extract(child: YtDlpChild, folder: Path, video_id: str = sample.VIDEO_OK) -> list[str]:
    kinds: list[str] = []

    async def record(message: dict[str, Any]) -> None:
        kinds.append(kind_of(message))

    request = fetch_request(folder / f"{video_id}.part", video_id, media=False, thumbnail=False)
    await child.run("fetch", request, on_message=record)
    return kinds


def sockets_of(pid: int) -> set[str]:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return {str(link.readlink()) for link in links} - {os.devnull}


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def catches(pid: int, number: int) -> bool:
    """Return whether the process handles a signal."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines["SigCgt"], 16) & 1 << (number - 1))


def pid_of(child: YtDlpChild) -> int:
    assert child.pid is not None
    return child.pid


async def test_children_share_a_server_and_each_leads_its_own_process_group(
    settings: ChildSettings, server: ForkServer, tmp_path: Path
) -> None:
    children = [YtDlpChild(settings, server) for _ in range(3)]
    videos = (sample.VIDEO_OK, sample.VIDEO_480P, sample.VIDEO_NO_CAPTIONS)
    kinds = await asyncio.gather(
        *(extract(child, tmp_path, video) for child, video in zip(children, videos, strict=True))
    )
    assert kinds == [["metadata", "result"]] * 3
    pids = [pid_of(child) for child in children]
    [parent] = {parent_of(pid) for pid in pids}
    assert parent_of(parent) == os.getpid()
    assert [os.getpgid(pid) for pid in pids] == pids
    await asyncio.gather(*(child.kill() for child in children))
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the server has reaped them")
    assert is_running(parent)


async def test_a_child_inherits_nothing_of_the_server(settings: ChildSettings, server: ForkServer) -> None:
    child = YtDlpChild(settings, server)
    await child.start()
    pid = pid_of(child)
    parent = parent_of(pid)
    until(lambda: threads_of(pid) == 3, "it serves, with a thread that reads and one that is its sign of life")
    assert threads_of(parent) == 1, "a forked child would wait forever for the locks of other threads"
    assert len(sockets_of(pid)) == 2, "one for orders and answers, one for stderr"
    assert not sockets_of(pid) & sockets_of(parent)
    assert catches(parent, signal.SIGCHLD)
    assert not catches(pid, signal.SIGCHLD)
    await child.kill()


async def test_a_child_that_is_killed_is_replaced_by_the_same_server(
    settings: ChildSettings, server: ForkServer, tmp_path: Path
) -> None:
    child = YtDlpChild(settings, server)
    await child.start()
    first = pid_of(child)
    parent = parent_of(first)
    os.kill(first, signal.SIGKILL)
    with suppress(ChildCrashed):  # unless its end was noticed before the request
        await extract(child, tmp_path)
    assert await extract(child, tmp_path) == ["metadata", "result"]
    assert pid_of(child) != first
    assert parent_of(pid_of(child)) == parent
    await child.kill()


async def test_a_child_that_is_killed_at_work_says_how_it_ended(
    settings: ChildSettings, server: ForkServer, tmp_path: Path
) -> None:
    child = YtDlpChild(settings, server)

    async def kill(_message: dict[str, Any]) -> None:
        os.kill(pid_of(child), signal.SIGKILL)

    with pytest.raises(ChildCrashed, match="was killed, as Linux does when memory runs out"):
        await child.run("fetch", fetch_request(tmp_path / "part", sample.VIDEO_LARGE), on_message=kill)
    assert not child.alive


async def test_children_end_with_their_server_and_get_a_new_one(
    settings: ChildSettings, server: ForkServer, tmp_path: Path
) -> None:
    child = YtDlpChild(settings, server)
    await extract(child, tmp_path)
    first = pid_of(child)
    os.kill(parent_of(first), signal.SIGKILL)
    until(lambda: not is_running(first), "the child has ended with its server")
    with suppress(ChildCrashed):  # unless its end was noticed before the request
        await extract(child, tmp_path)
    assert await extract(child, tmp_path) == ["metadata", "result"]
    await child.kill()


async def test_without_a_server_a_child_is_a_process_of_its_own(
    settings: ChildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where the interpreter has moved: the server does not start, and the child says why."""
    server = ForkServer().acquire()
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\ncase "$*" in *fork_server*) exit 3;; esac\nexec ' + sys.executable + ' "$@"\n')
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    child = YtDlpChild(settings, server)
    assert await extract(child, tmp_path) == ["metadata", "result"]
    assert parent_of(pid_of(child)) == os.getpid()
    await child.kill()
    await server.release()


async def test_a_stopped_server_is_given_up_and_ended(settings: ChildSettings, tmp_path: Path) -> None:
    server = ForkServer(ready_within=1.0).acquire()
    server.start(settings.environment, settings.ffmpeg)
    [stopped] = until(lambda: [pid for pid in children_of(os.getpid()) if "fork_server" in command_of(pid)])
    os.kill(stopped, signal.SIGSTOP)
    child = YtDlpChild(settings, server)
    assert await extract(child, tmp_path) == ["metadata", "result"]
    assert parent_of(pid_of(child)) == os.getpid()
    until(lambda: not is_running(stopped), "the stopped one is killed")
    await child.kill()
    await server.release()


async def test_a_stopped_server_does_not_delay_the_end(settings: ChildSettings) -> None:
    server = ForkServer().acquire()
    child = YtDlpChild(settings, server)
    await child.start()
    pids = pid_of(child), parent_of(pid_of(child))
    os.kill(pids[1], signal.SIGSTOP)
    async with asyncio.timeout(60):
        await child.kill()
        await server.release()
    assert not any(map(is_running, pids))


async def test_an_idle_child_and_then_its_server_are_ended(settings: ChildSettings, tmp_path: Path) -> None:
    server = ForkServer(idle=0.2).acquire()
    child = YtDlpChild(settings, server, idle=0.2)
    for _ in range(2):
        assert await extract(child, tmp_path) == ["metadata", "result"]
        pids = [pid for pid in (child.pid, child.pid and parent_of(child.pid)) if pid]
        async with asyncio.timeout(60):
            while child.alive or any(map(is_running, pids)):  # noqa: ASYNC110  # processes have no event
                await asyncio.sleep(0.02)
    await server.release()


async def test_another_environment_gets_another_server(
    settings: ChildSettings, server: ForkServer, tmp_path: Path
) -> None:
    """As after an update of yt-dlp, or of a certificate."""
    old, new = (
        YtDlpChild(settings, server),
        YtDlpChild(ChildSettings(settings.options, settings.environment | {"LC_ALL": "C.UTF-8"}), server),
    )
    await extract(old, tmp_path)
    await extract(new, tmp_path)
    servers = [parent_of(pid_of(child)) for child in (old, new)]
    assert len(set(servers)) == 2
    assert await extract(old, tmp_path) == ["metadata", "result"], "it is not disturbed"
    await asyncio.gather(old.kill(), new.kill())


async def test_the_last_user_ends_the_server_and_what_is_left(settings: ChildSettings) -> None:
    server = ForkServer().acquire()
    server.acquire()
    child = YtDlpChild(settings, server)
    await child.start()
    pids = pid_of(child), parent_of(pid_of(child))
    await server.release()
    assert all(map(is_running, pids)), "another part uses it"
    await server.release()
    until(lambda: not any(map(is_running, pids)), "both have ended")
    await child.kill()


PARENT = """
import asyncio, json, sys
from services.common.youtube.fork_server import ForkServer
from services.common.youtube.process import YtDlpChild
from services.common.youtube.settings import ChildSettings

async def main():
    child = YtDlpChild(ChildSettings({}, json.loads(sys.argv[1])), ForkServer().acquire())
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_server_and_children_end_with_a_killed_parent(settings: ChildSettings) -> None:
    words = (sys.executable, "-c", PARENT, json.dumps(settings.environment))
    parent = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, env=settings.environment)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    pids = child, parent_of(child)
    assert all(map(is_running, pids))
    parent.kill()
    await parent.wait()
    until(lambda: not any(map(is_running, pids)), "both have ended")


async def test_a_cancelled_start_leaves_no_child(settings: ChildSettings, server: ForkServer) -> None:
    child = YtDlpChild(settings, server)
    starting = asyncio.create_task(child.start())
    await asyncio.sleep(0)  # the order is on its way to a server that is still importing
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    other = YtDlpChild(settings, server)
    await other.start()
    parent = parent_of(pid_of(other))
    until(lambda: children_of(parent) == [pid_of(other)], "only the other one is left")
    await other.kill()
