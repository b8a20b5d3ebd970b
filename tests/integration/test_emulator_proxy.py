"""The emulator as program and server: allowed hosts, the control API, start and stop."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ytarchive.emulator import Effect, Emulator, EmulatorClient, Fault, Playlist, Video, VideoKind, emulator_process
from ytarchive.emulator.client import EmulatorClientError
from ytarchive.emulator.site import sample

THUMBNAIL = f"https://i.ytimg.com/vi/{sample.VIDEO_OK}/maxresdefault.jpg"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp().parent / "emulator-cache"


@pytest.fixture
async def emulator(cache_dir: Path) -> AsyncIterator[Emulator]:
    async with Emulator(cache_dir=cache_dir) as emulator:
        yield emulator


@pytest.fixture
async def browser(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    """HTTP client that trusts the certificate of the emulator and uses it as proxy."""
    trusting = ssl.create_default_context(cafile=str(emulator.ca_file))
    connector = aiohttp.TCPConnector(ssl=trusting)
    async with aiohttp.ClientSession(connector=connector, proxy=emulator.proxy_url) as session:
        yield session


async def test_aiohttp_fetches_through_the_proxy(emulator: Emulator, browser: aiohttp.ClientSession) -> None:
    for _ in range(2):  # the second time over the same connection
        async with browser.get(THUMBNAIL) as response:
            assert (response.status, response.content_type) == (200, "image/jpeg")
            assert sample.VIDEO_OK.encode() in await response.read()
    first, second = emulator.log.entries(kind="thumbnail", video_id=sample.VIDEO_OK)
    assert second.n == first.n + 1
    assert (first.host, first.status, first.done) == ("i.ytimg.com", 200, True)


async def test_clients_without_the_ca_file_do_not_trust_the_certificate(emulator: Emulator) -> None:
    async with aiohttp.ClientSession(proxy=emulator.proxy_url) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(THUMBNAIL)


@pytest.mark.parametrize("host", ["example.com", "youtube.com.example.com", "notyoutube.com"])
async def test_foreign_hosts_are_refused_and_logged(
    emulator: Emulator, browser: aiohttp.ClientSession, host: str
) -> None:
    with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
        await browser.get(f"https://{host}/")
    assert caught.value.status == 403
    async with browser.get(f"http://{host}/_control/state") as response:
        assert response.status == 403
    refused = emulator.log.entries(kind="refused_connect")
    assert [(entry.method, entry.host, entry.status) for entry in refused] == [
        ("CONNECT", host, 403),
        ("GET", host, 403),
    ]


async def test_the_emulator_listens_on_loopback_only(emulator: Emulator) -> None:
    assert emulator.base_url == f"http://127.0.0.1:{emulator.port}"
    with pytest.raises(OSError, match=r"[Cc]onnect"):  # a server bound to all addresses would accept this connection
        await asyncio.wait_for(asyncio.open_connection("127.0.0.2", emulator.port), 5)


async def test_media_are_served_by_byte_range(emulator: Emulator, browser: aiohttp.ClientSession) -> None:
    player = "https://www.youtube.com/youtubei/v1/player"
    async with browser.post(player, json={"videoId": sample.VIDEO_LARGE}) as response:
        formats = (await response.json())["streamingData"]["adaptiveFormats"]
    (chosen,) = [f for f in formats if f["itag"] == 136]
    size = int(chosen["contentLength"])
    assert size == sample.LARGE_SIZE
    async with browser.get(chosen["url"]) as response:
        whole = await response.read()
    assert len(whole) == size
    for wanted, start, stop in (
        ("bytes=0-99", 0, 100),
        ("bytes=100000-9000000", 100_000, 9_000_001),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=5-{size * 2}", 5, size),
    ):
        async with browser.get(chosen["url"], headers={"Range": wanted}) as response:
            assert (response.status, await response.read()) == (206, whole[start:stop])
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    async with browser.get(chosen["url"], headers={"Range": f"bytes={size}-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")


async def test_a_malformed_request_gets_status_400(emulator: Emulator) -> None:
    for malformed in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
        writer.write(malformed)
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert (await asyncio.to_thread(EmulatorClient(emulator.base_url).health))["status"] == "ok"


async def test_videos_and_faults_can_be_changed_in_process(emulator: Emulator, browser: aiohttp.ClientSession) -> None:
    emulator.world.add(Video("new-video-1", "New", sample.CHANNEL))
    emulator.world.set_kind("new-video-1", VideoKind.PRIVATE)
    emulator.faults.add(Fault("watch", Effect.STATUS, video_id="new-video-1", status=503, times=1))
    for expected in (503, 200):
        async with browser.get("https://www.youtube.com/watch?v=new-video-1") as response:
            assert response.status == expected
            text = await response.text()
    assert "Private video" in text

    emulator.reset()
    assert "new-video-1" not in emulator.world.videos
    assert emulator.log.entries() == []


def test_control_requests_change_the_emulator(cache_dir: Path) -> None:
    with emulator_process(cache_dir) as client:
        assert client.health()["proxy"] == client.proxy_url
        client.put_channel("UCnew0000000000000000000", handle="@New", title="New")
        video = client.put_video("new-video-1", title="T", channel="UCnew0000000000000000000", captions=["fr"])
        assert Video.from_json(video) == Video("new-video-1", "T", "UCnew0000000000000000000", captions=("fr",))
        client.change_video("new-video-1", title="Other", size=5_000_000)
        playlist = client.put_playlist(
            "PLnew00000000000000", title="P", channel="UCnew0000000000000000000", entries=["new-video-1", "unknown-001"]
        )
        assert Playlist.from_json(playlist).entries == ("new-video-1", "unknown-001")
        state = client.state()
        assert state["videos"]["new-video-1"]["title"] == "Other"
        assert state["videos"]["new-video-1"]["size"] == 5_000_000
        client.delete_playlist("PLnew00000000000000")
        assert "PLnew00000000000000" not in client.state()["playlists"]
        client.clear_log()
        assert client.log() == []
        assert client.wait_for(kind="media", wait=0.1) == []
        client.reset()
        assert "new-video-1" not in client.state()["videos"]


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("put_video", {"video_id": "v", "title": "T", "channel": "UCnone"}, "unknown channel"),
        ("put_video", {"video_id": "v", "title": "T", "channel": sample.CHANNEL, "colour": 1}, "no field colour"),
        ("put_video", {"video_id": "v", "title": "T", "channel": sample.CHANNEL, "heights": [7]}, "no such height"),
        ("change_video", {"video_id": "nonexistent"}, "unknown: nonexistent"),
        ("set_kind", {"video_id": sample.VIDEO_OK, "kind": "odd"}, "odd"),
        ("set_kind", {"video_id": "nonexistent", "kind": "ok"}, "unknown: nonexistent"),
        ("add_fault", {"kind": "media", "effect": "odd"}, "odd"),
        ("add_fault", {"kind": "media", "effect": "reset", "often": 1}, "no field often"),
        ("remove_fault", {"fault_id": 99}, "unknown: 99"),
    ],
)
async def test_control_errors_contain_the_reason(
    emulator: Emulator, method: str, arguments: dict[str, Any], message: str
) -> None:
    client = EmulatorClient(emulator.base_url)
    with pytest.raises(EmulatorClientError, match=message):
        await asyncio.to_thread(getattr(client, method), **arguments)


async def test_a_client_can_wait_for_a_logged_request(emulator: Emulator, browser: aiohttp.ClientSession) -> None:
    client = EmulatorClient(emulator.base_url)
    waiting = asyncio.create_task(asyncio.to_thread(client.wait_for, kind="thumbnail", wait=10))
    async with browser.get(THUMBNAIL) as response:
        await response.read()
    (entry,) = await waiting
    assert entry["path"] == f"/vi/{sample.VIDEO_OK}/maxresdefault.jpg"
    assert await asyncio.to_thread(client.last) == entry["n"]


def start(cache_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ytarchive.emulator", "--cache-dir", str(cache_dir), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, None])
def test_the_emulator_stops_on_signals_and_when_stdin_closes(cache_dir: Path, ending: signal.Signals | None) -> None:
    with start(cache_dir, *(["--until-stdin-closes"] if ending is None else [])) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert json.loads(child.stdout.readline())["proxy"].startswith("http://127.0.0.1:")
        if ending is None:
            child.stdin.close()
        else:
            child.send_signal(ending)
        assert child.wait(10) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""


def test_export_prints_shell_lines_and_copies_the_certificate(cache_dir: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "with space" / "ca.pem"
    wanted.parent.mkdir()
    with start(cache_dir, "--export", "--ca-file", str(wanted)) as child:
        assert child.stdout is not None
        addresses = json.loads(child.stdout.readline())
        lines = [child.stdout.readline() for _ in range(3)]
        child.terminate()
    assert addresses["ca_file"] == str(wanted)
    script = (
        "".join(lines) + 'echo "$YTARCHIVE_YOUTUBE__PROXY|$YTARCHIVE_YOUTUBE__API_ENDPOINT|$YTARCHIVE_YOUTUBE__CA_FILE"'
    )
    shell = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    assert shell.stdout.strip() == f"{addresses['proxy']}|{addresses['api_endpoint']}|{wanted}"
    assert "BEGIN CERTIFICATE" in wanted.read_text()
    assert "PRIVATE" not in wanted.read_text()


def test_a_port_in_use_is_reported(cache_dir: Path) -> None:
    with emulator_process(cache_dir) as client:
        port = client.proxy_url.rpartition(":")[2]
        with start(cache_dir, "--port", port) as second:
            assert second.wait(10) == 1
            assert second.stderr is not None
            assert second.stderr.read().startswith("the emulator cannot start: ")
