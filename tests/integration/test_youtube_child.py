"""The yt-dlp child with the emulator: downloads, classification of failures, resumption, and its end."""

import asyncio
import fcntl
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.common.domain.failures import Failure, FailureKind
from services.common.models import ErrorCode
from services.common.settings.load import Config
from services.common.settings.sections import Download
from services.common.youtube.classify import classify
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.common.youtube.tools import find_ffmpeg
from services.download.formats import choose
from tests.fixtures.media import decodes
from tests.fixtures.process_tree import is_running
from tests.fixtures.youtube_child import Messages, emulated, fetch_messages, fetch_request, with_plugin
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

Fetch = Callable[..., Coroutine[Any, Any, Messages]]

LARGE = sample.VIDEO_LARGE


@pytest.fixture(scope="module")
def config(emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return emulated(emulator_child, tmp_path_factory.mktemp("home"), YTARCHIVE_DOWNLOAD__SOCKET_TIMEOUT="1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(config: Config) -> AsyncIterator[YtDlpChild]:
    """One child for all tests; it is started again after it was killed."""
    child = YtDlpChild(ChildSettings.of(config))
    yield child
    await child.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / "video.part"


@pytest.fixture
def fetch(child: YtDlpChild, directory: Path, emulator: EmulatorClient) -> Fetch:
    async def run(video_id: str, quality: str = "1080p", **wanted: Any) -> Messages:
        return await fetch_messages(child, fetch_request(directory, video_id, quality, **wanted))

    return run


async def failure_of(run: Awaitable[object]) -> Failure:
    with pytest.raises(ChildFailed) as caught:
        await run
    return classify(caught.value.facts, datetime.now(UTC))


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


async def test_a_video_is_downloaded_with_captions_in_two_languages(
    fetch: Fetch, directory: Path, emulator: EmulatorClient
) -> None:
    messages = await fetch(sample.VIDEO_TWO_CAPTIONS, captions=("en", "de", "fr"))
    kinds = [message["type"] for message in messages]
    assert (kinds[0], kinds[1], kinds[-1]) == ("metadata", "downloading", "result")
    metadata, result = messages[0]["metadata"], messages[-1]
    assert metadata["title"] == "Part 2: in two languages"
    assert metadata["channel_handle"] == sample.CHANNEL_HANDLE
    assert metadata["caption_languages"] == ["de", "en"]
    named = {file["name"]: file for file in result["files"]}
    video = sample.VIDEO_TWO_CAPTIONS
    assert {name: file["role"] for name, file in named.items()} == {
        f"{video}.mp4": "video",
        f"{video}_thumb.jpg": "thumbnail",
        f"{video}_en.vtt": "caption",
        f"{video}_de.vtt": "caption",
        f"{video}.info.json": "info",
    }
    for name, file in named.items():
        content = (directory / name).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), sha256(content).hexdigest())
    assert "(de)" in (directory / f"{video}_de.vtt").read_text()
    assert result["absent"] == ["captions/fr"]
    assert result["provenance"]["format_ids"] == ["137", "140"]
    assert result["provenance"]["height"] == 1080
    assert {"yt-dlp", "ffmpeg", "python", "ytarchive"} <= set(result["provenance"]["tools"])
    assert decodes(directory / f"{video}.mp4")
    text = (directory / f"{video}.info.json").read_text()
    assert json.loads(text)["title"] == metadata["title"]
    assert "googlevideo.com" not in text
    assert emulator.proxy_url not in text


async def test_progress_counts_all_formats(fetch: Fetch) -> None:
    progress = [message for message in await fetch(LARGE) if message["type"] == "downloading"]
    amounts = [step["downloaded"] for step in progress]
    assert amounts == sorted(amounts)
    assert amounts[0] == 0
    assert amounts[-1] == progress[-1]["total"] > sample.LARGE_SIZE


async def test_quality_audio_downloads_only_the_sound(fetch: Fetch, directory: Path) -> None:
    result = (await fetch(sample.VIDEO_OK, "audio"))[-1]
    assert [file["name"] for file in result["files"] if file["role"] == "audio"] == [f"{sample.VIDEO_OK}.m4a"]
    assert decodes(directory / f"{sample.VIDEO_OK}.m4a")


@pytest.mark.parametrize(
    ("video_id", "quality", "height"),
    [
        (sample.VIDEO_2160P, "best", 2160),
        (sample.VIDEO_480P, "1080p", 480),
        (sample.VIDEO_OK, "144p", 144),
        (sample.VIDEO_LEADING_DASH, "18", 360),
        (sample.VIDEO_HOSTILE_TITLE, "720p", 720),
    ],
)
async def test_the_requested_quality_is_downloaded(
    fetch: Fetch, directory: Path, video_id: str, quality: str, height: int
) -> None:
    result = (await fetch(video_id, quality))[-1]
    assert result["provenance"]["height"] == height
    assert result["files"][0]["name"] == f"{video_id}.mp4"
    assert (directory / f"{video_id}.mp4").is_file()


async def test_a_raw_audio_selector_produces_an_m4a(fetch: Fetch) -> None:
    result = (await fetch(sample.VIDEO_OK, "bestaudio"))[-1]
    assert (result["files"][0]["name"], result["files"][0]["role"]) == (f"{sample.VIDEO_OK}.m4a", "audio")


async def test_an_unavailable_format_fails_after_the_metadata_were_sent(child: YtDlpChild, directory: Path) -> None:
    messages: Messages = []

    async def record(message: dict[str, Any]) -> None:
        messages.append(message)

    failure = await failure_of(child.run("fetch", fetch_request(directory, sample.VIDEO_OK, "9999"), on_message=record))
    assert (failure.reason, failure.code) == ("format_unavailable", ErrorCode.INVALID_REQUEST)
    assert [message["type"] for message in messages] == ["metadata"]


async def test_the_first_existing_thumbnail_is_downloaded(
    fetch: Fetch, directory: Path, emulator: EmulatorClient
) -> None:
    result = (await fetch(sample.VIDEO_NO_MAXRES))[-1]
    assert f"{sample.VIDEO_NO_MAXRES}_thumb.jpg" in [file["name"] for file in result["files"]]
    asked = [(Path(entry["path"]).name, entry["status"]) for entry in emulator.log(kind="thumbnail")]
    assert asked == [("maxresdefault.jpg", 404), ("sddefault.jpg", 404), ("hqdefault.jpg", 200)]


async def test_missing_thumbnails_and_captions_are_reported_as_absent(fetch: Fetch, emulator: EmulatorClient) -> None:
    emulator.change_video(sample.VIDEO_NO_CAPTIONS, thumbnails=[])
    result = (await fetch(sample.VIDEO_NO_CAPTIONS, captions=("en",)))[-1]
    assert sorted(result["absent"]) == ["captions/en", "thumbnail"]
    assert [file["role"] for file in result["files"]] == ["video", "info"]


async def test_automatic_captions_are_used_if_there_are_no_others(fetch: Fetch) -> None:
    result = (await fetch(sample.VIDEO_AUTO_CAPTIONS, captions=("en",)))[-1]
    assert f"{sample.VIDEO_AUTO_CAPTIONS}_en.vtt" in [file["name"] for file in result["files"]]


async def test_a_failed_caption_is_neither_a_file_nor_absent(fetch: Fetch, emulator: EmulatorClient) -> None:
    emulator.add_fault("caption", "status", status=429)
    result = (await fetch(sample.VIDEO_TWO_CAPTIONS, captions=("en", "de")))[-1]
    assert [file["role"] for file in result["files"]] == ["video", "thumbnail", "info"]
    assert result["absent"] == []
    assert any("captions" in warning for warning in result["warnings"])


async def test_a_metadata_only_request_writes_no_files(fetch: Fetch, directory: Path, emulator: EmulatorClient) -> None:
    messages = await fetch(sample.VIDEO_OK, media=False, thumbnail=False)
    assert [message["type"] for message in messages] == ["metadata", "result"]
    assert messages[-1]["files"] == []
    assert files_in(directory) == []
    assert {entry["kind"] for entry in emulator.log()} == {"watch", "player"}


GONE = {
    "private": "private",
    "deleted": "deleted",
    "missing": "missing",
    "terminated": "terminated",
    "copyright": "copyright",
    "geo": "region_blocked",
    "age": "age_restricted",
    "members": "members_only",
}


@pytest.mark.parametrize(("kind", "reason"), GONE.items())
async def test_unavailable_videos_are_classified_as_gone_with_their_reason(
    fetch: Fetch, directory: Path, kind: str, reason: str
) -> None:
    failure = await failure_of(fetch(sample.KINDS[kind]))
    assert (failure.kind, failure.code, failure.reason) == (FailureKind.GONE, ErrorCode.VIDEO_UNAVAILABLE, reason)
    assert files_in(directory) == []


@pytest.mark.parametrize(("kind", "hours"), [("upcoming", 3), ("premiere", 3), ("ended_live", 6)])
async def test_videos_that_are_not_available_yet_have_a_retry_time(fetch: Fetch, kind: str, hours: int) -> None:
    failure = await failure_of(fetch(sample.KINDS[kind]))
    assert failure.kind is FailureKind.NOT_YET
    assert failure.retry_after is not None
    wait = (failure.retry_after - datetime.now(UTC)).total_seconds()
    assert hours * 3600 - 60 <= wait <= hours * 3600 + 120


@pytest.mark.parametrize("kind", ["bot_check", "rate_limit"])
async def test_bot_checks_and_rate_limits_are_classified_as_site_wide(fetch: Fetch, kind: str) -> None:
    failure = await failure_of(fetch(sample.KINDS[kind]))
    assert (failure.kind, failure.reason) == (FailureKind.SITE_WIDE, kind)


@pytest.mark.parametrize("status", [403, 429])
async def test_a_refused_player_request_is_classified_as_site_wide(
    fetch: Fetch, emulator: EmulatorClient, status: int
) -> None:
    emulator.add_fault("player", "status", status=status)
    failure = await failure_of(fetch(sample.VIDEO_OK))
    assert (failure.kind, failure.reason) == (FailureKind.SITE_WIDE, f"http_{status}")


@pytest.mark.parametrize("status", [403, 429])
async def test_a_refused_media_file_is_classified_as_passing(
    fetch: Fetch, emulator: EmulatorClient, status: int
) -> None:
    emulator.add_fault("media", "status", status=status)
    failure = await failure_of(fetch(sample.VIDEO_OK))
    assert (failure.kind, failure.reason) == (FailureKind.PASSING, f"http_{status}")


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "reset", "times": 2},
        {"effect": "truncate", "times": 2},
        {"effect": "stall", "times": 1},
    ],
    ids=lambda fault: str(fault["effect"]),
)
async def test_an_interrupted_stream_is_continued_in_place(
    fetch: Fetch, directory: Path, emulator: EmulatorClient, fault: dict[str, Any]
) -> None:
    emulator.add_fault("media", **fault)
    result = (await fetch(sample.VIDEO_OK))[-1]
    assert result["type"] == "result"
    assert decodes(directory / f"{sample.VIDEO_OK}.mp4")
    assert emulator.state()["faults"] == [] or emulator.state()["faults"][0]["times"] == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"effect": "status", "status": 503}, "http_503"), ({"effect": "reset", "after": 0}, "truncated")],
    ids=["status", "reset"],
)
async def test_media_that_send_no_byte_end_the_attempt_after_one_request(
    fetch: Fetch, emulator: EmulatorClient, fault: dict[str, Any], reason: str
) -> None:
    """Jobs repeats the attempt, with a back-off that is shown; yt-dlp alone would send 11 requests in 151 s."""
    emulator.add_fault("media", **fault)
    failure = await failure_of(fetch(sample.VIDEO_OK))
    assert (failure.kind, failure.reason) == (FailureKind.PASSING, reason)
    assert len(emulator.log(kind="media")) == 1


def partial_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.part"))


async def wait_for_bytes(directory: Path, least: int) -> None:
    async with asyncio.timeout(60):
        while partial_bytes(directory) < least:  # noqa: ASYNC110  # files of another process raise no event
            await asyncio.sleep(0.02)


async def killed_midway(fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient) -> None:
    """Kill the child after a part of LARGE has arrived."""
    throttle = emulator.add_fault("media", "throttle", rate=1_000_000)
    running = asyncio.create_task(fetch(LARGE))
    await wait_for_bytes(directory, 1_000_000)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildCrashed):
        await running
    emulator.remove_fault(throttle)


async def test_a_download_killed_before_its_final_rename_is_completed(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient
) -> None:
    """All bytes were received, but the partial file was not renamed yet."""
    await killed_midway(fetch, child, directory, emulator)
    [name] = [name for name in files_in(directory) if name.endswith(".part")]
    asked = emulator.log(kind="media")[-1]
    url = f"https://{asked['host']}{asked['path']}?{urllib.parse.urlencode(asked['query'])}"
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": emulator.proxy_url}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(emulator.ca_file))),
    )
    with await asyncio.to_thread(opener.open, url) as whole:
        (directory / name).write_bytes(whole.read())
    assert (await fetch(LARGE))[-1]["type"] == "result"
    assert decodes(directory / f"{LARGE}.mp4")


async def test_a_killed_download_is_resumed_by_range(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient
) -> None:
    await killed_midway(fetch, child, directory, emulator)
    held = partial_bytes(directory)
    since = emulator.last()
    messages = await fetch(LARGE)
    assert messages[1]["downloaded"] == held - 1
    first = emulator.log(since=since, kind="media")[0]
    assert first["range"].startswith(f"bytes={held - 1}-")
    assert messages[-1]["type"] == "result"
    assert decodes(directory / f"{LARGE}.mp4")


def cut_power(directory: Path) -> None:
    """Leave the directory as another boot finds it: partial files that were not synced read as zeros."""
    for part in directory.glob("*.part"):
        part.write_bytes(bytes(part.stat().st_size))
    record = directory / ".synced"
    record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))


async def test_unsynced_bytes_are_fetched_again_after_a_power_cut(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient
) -> None:
    """After another boot the tail of a partial file may read as zeros: it must not be resumed and archived."""
    await killed_midway(fetch, child, directory, emulator)
    cut_power(directory)
    since = emulator.last()
    messages = await fetch(LARGE)
    assert messages[1]["downloaded"] == 0
    assert emulator.log(since=since, kind="media")[0]["range"].startswith("bytes=0-")
    assert decodes(directory / f"{LARGE}.mp4")


async def test_complete_files_survive_a_power_cut(fetch: Fetch, directory: Path, emulator: EmulatorClient) -> None:
    """They are synced before their digest counts."""
    first = (await fetch(sample.VIDEO_OK))[-1]
    cut_power(directory)
    since = emulator.last()
    again = (await fetch(sample.VIDEO_OK))[-1]
    assert [file for file in first["files"] if file["role"] == "video"] == [again["files"][0]]
    assert emulator.log(since=since, kind="media") == []


async def test_complete_files_are_not_downloaded_again(fetch: Fetch, emulator: EmulatorClient) -> None:
    first = (await fetch(sample.VIDEO_OK, captions=("en",)))[-1]
    since = emulator.last()
    again = (await fetch(sample.VIDEO_OK, captions=("en",)))[-1]
    media = [file for file in first["files"] if file["role"] != "info"]  # info.json contains the time
    assert [file for file in again["files"] if file["role"] != "info"] == media
    assert {entry["kind"] for entry in emulator.log(since=since)} == {"watch", "player"}


async def test_leftovers_of_an_interrupted_merge_are_removed(
    fetch: Fetch, directory: Path, emulator: EmulatorClient
) -> None:
    await fetch(sample.VIDEO_OK)
    for name in (f"{sample.VIDEO_OK}.f137.mp4", f"{sample.VIDEO_OK}.temp.mp4"):
        (directory / name).write_bytes(b"left over")
    since = emulator.last()
    assert (await fetch(sample.VIDEO_OK))[-1]["type"] == "result"
    assert emulator.log(since=since, kind="media") == []
    assert [name for name in files_in(directory) if name.endswith(".mp4")] == [f"{sample.VIDEO_OK}.mp4"]
    assert decodes(directory / f"{sample.VIDEO_OK}.mp4")


async def test_another_quality_does_not_resume_the_files_of_the_first(fetch: Fetch, directory: Path) -> None:
    await fetch(sample.VIDEO_OK, "720p")
    result = (await fetch(sample.VIDEO_OK, "1080p"))[-1]
    assert result["provenance"]["height"] == 1080
    assert decodes(directory / f"{sample.VIDEO_OK}.mp4")


async def test_a_cancelled_download_ends_its_process_group_within_2_seconds(
    fetch: Fetch, child: YtDlpChild, directory: Path, emulator: EmulatorClient
) -> None:
    emulator.add_fault("media", "throttle", rate=200_000)
    running = asyncio.create_task(fetch(LARGE))
    await wait_for_bytes(directory, 100_000)
    group = child.pid
    assert group is not None
    begun = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun < 2.0
    assert not child.alive
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


async def test_a_silent_child_is_considered_hung_and_ended(config: Config, directory: Path) -> None:
    child = YtDlpChild(ChildSettings.of(config), hang_after=2.0)
    await child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(ChildCrashed, match="hung"):
        await child.run("fetch", fetch_request(directory, sample.VIDEO_OK), on_message=_ignore)
    assert not child.alive


async def _ignore(_message: dict[str, Any]) -> None:
    return


async def test_after_a_crash_the_next_request_gets_a_new_child(fetch: Fetch, child: YtDlpChild) -> None:
    await child.start()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with suppress(ChildCrashed):  # unless its end was noticed before the request
        await fetch(sample.VIDEO_OK)
    assert (await fetch(sample.VIDEO_OK))[-1]["type"] == "result"
    assert child.pid != first


async def test_one_child_serves_several_requests(fetch: Fetch, child: YtDlpChild) -> None:
    await fetch(sample.VIDEO_OK, media=False, thumbnail=False)
    first = child.pid
    await failure_of(fetch(sample.KINDS["private"]))
    await fetch(sample.VIDEO_480P, media=False, thumbnail=False)
    assert child.pid == first


PARENT = """
import asyncio, json, sys
from services.common.youtube.process import YtDlpChild
from services.common.youtube.settings import ChildSettings

async def main():
    options, environment, request = map(json.loads, sys.argv[1:])
    child = YtDlpChild(ChildSettings(options, environment))
    async def record(message):
        pass
    await child.run("fetch", request, on_message=record)
    print(child.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
STUBBORN = """
import signal
from pathlib import Path
from subprocess import DEVNULL, Popen
signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = Popen(["sleep", "600"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)  # it ignores SIGTERM too
Path(PLACE).write_text(str(helper.pid))
"""


@pytest.fixture
def stubborn(config: Config, tmp_path: Path) -> Iterator[tuple[ChildSettings, Path]]:
    """The settings of a child that ignores SIGTERM and starts a helper, and the file for the pid of the helper."""
    place = tmp_path / "helper"
    yield with_plugin(config, tmp_path, STUBBORN.replace("PLACE", repr(str(place)))), place
    if place.exists():
        with suppress(ProcessLookupError):
            os.kill(int(place.read_text()), signal.SIGKILL)


async def wait_until_gone(*pids: int, within: float) -> None:
    async with asyncio.timeout(within):
        while any(map(is_running, pids)):  # noqa: ASYNC110  # they are orphans by now
            await asyncio.sleep(0.02)


async def test_the_child_and_its_helper_end_with_a_killed_parent(
    config: Config, stubborn: tuple[ChildSettings, Path], tmp_path: Path
) -> None:
    settings, place = stubborn
    request = fetch_request(tmp_path, sample.VIDEO_OK, media=False, thumbnail=False)
    words = map(json.dumps, (settings.options, settings.environment, request))
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, *words),
        stdout=asyncio.subprocess.PIPE,
        env=ChildSettings.of(config).environment,
        cwd=tmp_path,
    )
    assert parent.stdout is not None
    pids = int(await parent.stdout.readline()), int(place.read_text())
    assert all(map(is_running, pids))
    parent.kill()
    await parent.wait()
    await wait_until_gone(*pids, within=10)


class _Ended(Exception):
    """An operation that is ended by the one who asked for it."""


@pytest.mark.parametrize("crashed", [False, True], ids=["killed", "crashed"])
async def test_a_child_that_ignores_sigterm_ends_within_2_seconds(
    stubborn: tuple[ChildSettings, Path], tmp_path: Path, crashed: bool
) -> None:
    settings, place = stubborn
    child = YtDlpChild(settings)
    started: list[int] = []
    begun = 0.0

    async def end(_message: dict[str, Any]) -> None:
        nonlocal begun
        assert child.pid is not None
        started.extend((child.pid, int(place.read_text())))
        assert all(map(is_running, started))
        begun = time.monotonic()
        if crashed:
            os.kill(child.pid, signal.SIGKILL)
        else:
            raise _Ended

    with pytest.raises(ChildCrashed if crashed else _Ended):
        await child.run("fetch", fetch_request(tmp_path, LARGE, thumbnail=False), on_message=end)
    await wait_until_gone(*started, within=10)
    assert time.monotonic() - begun < 2.0
    assert not child.alive


async def test_output_of_a_plugin_does_not_break_the_protocol(config: Config, tmp_path: Path) -> None:
    """A yt-dlp plug-in is foreign code and may print."""
    child = YtDlpChild(with_plugin(config, tmp_path, "import os\nprint('hello')\nos.write(1, b'from C\\n')\n"))
    messages: Messages = []

    async def record(message: dict[str, Any]) -> None:
        messages.append(message)

    await child.run("fetch", fetch_request(tmp_path, sample.VIDEO_OK, media=False, thumbnail=False), on_message=record)
    assert [message["type"] for message in messages] == ["metadata", "result"]
    assert "from C" in child.stderr_tail()
    await child.kill()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_a_locked_directory_is_reported_as_busy(fetch: Fetch, directory: Path) -> None:
    with locked(directory):
        failure = await failure_of(fetch(sample.VIDEO_OK))
    assert (failure.kind, failure.reason) == (FailureKind.LOCAL, "partial_busy")


async def test_the_child_sends_no_more_requests_than_the_yt_dlp_command(
    fetch: Fetch, emulator: EmulatorClient, config: Config, tmp_path: Path
) -> None:
    videos = [sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_OK, sample.VIDEO_NO_MAXRES, sample.VIDEO_NO_CAPTIONS]
    for video in videos:
        await fetch(video, captions=("en", "de"))
    ours = emulator.log()
    since = emulator.last()
    settings = ChildSettings.of(config)
    command = [
        *(sys.executable, "-m", "yt_dlp", "--ignore-config", "--no-cache-dir", "--proxy", emulator.proxy_url),
        *("--compat-options", "no-certifi", "--ffmpeg-location", str(find_ffmpeg()), "--format", "bv*+ba/b"),
        *(
            "--format-sort",
            ",".join(choose("1080p", Download()).sort),
            "--merge-output-format",
            "mp4",
            "--write-info-json",
        ),
        *("--write-subs", "--write-auto-subs", "--sub-langs", "en,de", "--sub-format", "vtt", "--write-thumbnail"),
        *("--paths", str(tmp_path / "cli"), "--output", "%(id)s.%(ext)s"),
        *(f"https://www.youtube.com/watch?v={video}" for video in videos),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, env=settings.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    theirs = emulator.log(since=since)
    assert len(list((tmp_path / "cli").glob("*.mp4"))) == len(videos)

    def count(log: list[dict[str, Any]], video: str, kind: str) -> int:
        return sum(entry["kind"] == kind and entry["video_id"] == video for entry in log)

    kinds = {entry["kind"] for entry in ours}
    assert kinds <= {entry["kind"] for entry in theirs}
    for video in videos:
        for kind in kinds:
            assert count(ours, video, kind) <= count(theirs, video, kind), (video, kind)
    assert len(ours) <= len(theirs)
