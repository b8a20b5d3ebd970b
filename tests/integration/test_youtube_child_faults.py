"""Children that print garbage, hang, or need too much memory: the operation fails in bounded time and memory."""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.failures import Failure, FailureKind
from services.common.settings.load import Config
from services.common.youtube.messages import FetchMessage, FetchRequest, FetchResult
from services.common.youtube.process import ChildCrashed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.download.attempt import Attempt
from tests.fixtures.emulated import emulated_config
from tests.fixtures.youtube_child import faulty_plugin, fetch_request, with_plugin, write_plugin
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

BAD, GOOD = sample.VIDEO_480P, sample.VIDEO_OK
MIB = 1024**2
LIMIT = 512 * MIB  # of memory; several times what an extraction needs
IDLE = 120.0  # seconds; nothing here may last so long

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory of a process")


@pytest.fixture
def youtube(config: Config, emulator: EmulatorClient) -> Config:
    return emulated_config(config, emulator)


class Downloads:
    """Downloads in one child whose extraction of the video BAD is faulty."""

    def __init__(self, child: YtDlpChild, folder: Path) -> None:
        self.child = child
        self._folder = folder

    async def fetch(self, video_id: str) -> FetchResult | Failure:
        request = fetch_request(self._folder / f"{video_id}.part", video_id, media=False, thumbnail=False)
        async with asyncio.timeout(IDLE):
            return await Attempt(self.child, FetchRequest.model_validate(request), IDLE).run(_ignore)


async def _ignore(_message: FetchMessage) -> None:
    return


@pytest.fixture
async def children() -> AsyncIterator[list[YtDlpChild]]:
    started: list[YtDlpChild] = []
    yield started
    await asyncio.gather(*(child.kill() for child in started))


def downloads(children: list[YtDlpChild], youtube: Config, folder: Path, fault: str, **changes: Any) -> Downloads:
    settings = replace(with_plugin(youtube, folder, faulty_plugin(fault, BAD)), **changes)
    children.append(YtDlpChild(settings))
    return Downloads(children[-1], folder)


GARBAGE = {
    "binary": "os.write(channel, os.urandom(4096) + b'\\n')",
    "half JSON": 'os.write(channel, b\'{"message": {"type": "meta\\n\')',
    "deeply nested JSON": "write_all(channel, b'[' * 1_000_000 + b'\\n')",
    "a list": "os.write(channel, b'[1]\\n')",
    "a message that is no object": "os.write(channel, b'{\"message\": 7}\\n')",
    "an unknown message": 'os.write(channel, b\'{"message": {"type": "nonsense"}}\\n\')',
    "an error without facts": "os.write(channel, b'{\"error\": 5}\\n')",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_instead_of_a_message_fails_one_video(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path, name: str
) -> None:
    tried = downloads(children, youtube, tmp_path, GARBAGE[name])
    failure = await tried.fetch(BAD)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason) == (FailureKind.LOCAL, "child_crashed")
    assert "the child sent invalid data" in failure.message or "validation error" in failure.message
    assert len(failure.message) <= 500
    assert isinstance(await tried.fetch(GOOD), FetchResult)


PARENT = """
import asyncio, json, resource, sys
from services.common.youtube.process import ChildCrashed, YtDlpChild
from services.common.youtube.settings import ChildSettings

async def main():
    options, environment, request = map(json.loads, sys.argv[1:])
    child = YtDlpChild(ChildSettings(options, environment))
    async def ignore(message):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        await child.run("fetch", request, on_message=ignore)
        outcome = "done"
    except ChildCrashed as crashed:
        outcome = str(crashed)
    tail = child.stderr_tail()
    await child.kill()
    print(json.dumps([outcome, len(tail), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))

asyncio.run(main())
"""


async def outcome_in_parent(youtube: Config, folder: Path, fault: str) -> tuple[str, int, int]:
    """Run a fetch of BAD in a parent process. Return the outcome, the length of the tail of stderr, and by how many
    bytes the memory of the parent grew."""
    settings = with_plugin(youtube, folder, faulty_plugin(fault, BAD))
    request = fetch_request(folder / "part", BAD, media=False, thumbnail=False)
    words = map(json.dumps, (settings.options, settings.environment, request))
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, *words),
        stdout=asyncio.subprocess.PIPE,
        env=ChildSettings.of(youtube).environment,
        cwd=folder,
    )
    out, _ = await asyncio.wait_for(parent.communicate(), IDLE)
    outcome, tail, grown = json.loads(out)
    return outcome, tail, grown * 1024


HUNDRED_MIB = "for _ in range(1600):\n    write_all({fd}, b'x' * 65536)"


async def test_a_line_of_100_mib_is_not_kept_in_memory(youtube: Config, tmp_path: Path) -> None:
    outcome, _tail, grown = await outcome_in_parent(youtube, tmp_path, HUNDRED_MIB.format(fd="channel"))
    assert "the child sent invalid data" in outcome
    assert grown < 64 * MIB


async def test_a_line_of_100_mib_on_stderr_changes_nothing(youtube: Config, tmp_path: Path) -> None:
    outcome, tail, grown = await outcome_in_parent(youtube, tmp_path, HUNDRED_MIB.format(fd=2))
    assert outcome == "done"
    assert 0 < tail <= 500
    assert grown < 16 * MIB


async def test_garbage_on_stderr_is_readable_in_the_reason(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    fault = "os.write(2, bytes(range(256)) + b'\\nthe last words\\n')\nos._exit(3)"
    failure = await downloads(children, youtube, tmp_path, fault).fetch(BAD)
    assert isinstance(failure, Failure)
    assert failure.message.startswith("the child ended with 3: ")
    assert failure.message.endswith("the last words")


async def test_an_operation_without_messages_is_ended_although_the_process_lives(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    """Its second thread still reports that the process lives."""
    tried = downloads(children, youtube, tmp_path, "time.sleep(600)", patience=2.0)
    with pytest.raises(ChildCrashed, match="hung: no message in 2 s"):
        await asyncio.wait_for(
            tried.child.run("fetch", fetch_request(tmp_path / "part", BAD), on_message=_ignore_raw), IDLE
        )
    assert isinstance(await tried.fetch(GOOD), FetchResult)


async def _ignore_raw(_message: dict[str, Any]) -> None:
    return


def oom_score_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


# --- memory -----------------------------------------------------------------------------------------------------------

EAT = "kept = []\nwhile True:\n    kept.append(b'x' * 16 * 1024**2)"
ASK_FOR_MORE = "kept = []\nwhile True:\n    kept.append(bytearray(64 * 1024**2))"  # pages that are never touched


@needs_linux
async def test_a_child_that_needs_too_much_memory_fails_one_video_and_is_replaced(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    tried = downloads(children, youtube, tmp_path, EAT, memory_limit=LIMIT)
    failure = await tried.fetch(BAD)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason) == (FailureKind.LOCAL, "memory")
    assert "[download] memory_limit" in failure.message
    assert not tried.child.alive
    assert isinstance(await tried.fetch(GOOD), FetchResult)


@needs_linux
async def test_a_child_that_linux_kills_fails_one_video(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    tried = downloads(children, youtube, tmp_path, f"os.kill(os.getpid(), {signal.SIGKILL:d})")
    failure = await tried.fetch(BAD)
    assert isinstance(failure, Failure)
    assert failure.reason == "child_crashed"
    assert failure.message == "the child was killed, as Linux does when memory runs out"
    assert isinstance(await tried.fetch(GOOD), FetchResult)


@needs_linux
async def test_linux_kills_children_before_services_and_limits_all_that_they_start(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    helper = tmp_path / "helper"
    fault = (
        "import subprocess\n"
        "one = subprocess.Popen(['sleep', '600'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        f"open({str(helper)!r}, 'w').write(str(one.pid))"
    )
    tried = downloads(children, youtube, tmp_path, fault, memory_limit=LIMIT)
    assert isinstance(await tried.fetch(BAD), FetchResult)
    assert tried.child.pid is not None
    for pid in (tried.child.pid, int(helper.read_text())):
        assert oom_score_of(pid) == 500
        assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == LIMIT


@needs_linux
async def test_the_javascript_runtime_works_within_the_least_limit(
    children: list[YtDlpChild], youtube: Config, tmp_path: Path
) -> None:
    """V8 reserves much address space, and half a gigabyte of data at its start."""
    out = tmp_path / "out"
    fault = (
        "import subprocess\n"
        "script = 'const a = []; for (let i = 0; i < 1e5; i++) a.push({i}); console.log(a.length)'\n"
        f"out = open({str(out)!r}, 'w')\n"
        "subprocess.run(['deno', 'eval', script], stdin=subprocess.DEVNULL, stdout=out, check=True)"
    )
    tried = downloads(children, youtube, tmp_path, fault, memory_limit=1024 * MIB)
    assert isinstance(await tried.fetch(BAD), FetchResult)
    assert out.read_text() == "100000\n"


@needs_linux
def test_a_download_of_several_videos_survives_one_that_needs_too_much_memory(make_cli: Any, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, faulty_plugin(ASK_FOR_MORE, BAD))
    cli = make_cli(YTARCHIVE_DOWNLOAD__MEMORY_LIMIT="1GiB", YTARCHIVE_DOWNLOAD__SLOTS="1")
    cli.env["PYTHONPATH"] = f"{plugin}:{cli.env['PYTHONPATH']}"
    ran = cli("download", BAD, GOOD, "--json")
    assert ran.code == 3, ran.out + ran.err
    assert cli.mp4(GOOD).exists()
    assert not cli.mp4(BAD).exists()
    plan = json.loads(cli("workplan", "list", "--json").out)
    shown = cli("workplan", "show", plan["work_plans"][0]["plan_id"], "--json").out
    assert "memory_limit" in shown
