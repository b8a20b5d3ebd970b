"""Input and output of the yt-dlp child: YoutubeDL options, environment, info.json, metadata and captions."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yt_dlp
from pydantic import ValidationError
from yt_dlp.cookies import (
    _parse_browser_specification,
)

from services.common.errors import ConfigError
from services.common.settings.load import YouTube
from services.common.settings.retry_policy import SPEC
from services.common.settings.sections import Download
from services.common.youtube.child.session import Session, session
from services.common.youtube.child.video import public_info, video_metadata
from services.common.youtube.options import base_options, child_environment


@pytest.mark.claim("7.1")
def test_the_default_options_contain_no_unset_settings() -> None:
    options = base_options(YouTube(), socket_timeout=Download().socket_timeout)
    assert options["socket_timeout"] == SPEC.read == 30
    assert not {"proxy", "cookiefile", "cookiesfrombrowser", "ratelimit", "ffmpeg_location"} & set(options)
    assert options["compat_opts"] == []


@pytest.mark.claim("7.5")
def test_yt_dlp_repeats_requests_as_often_as_its_command_line() -> None:
    options = base_options(YouTube(), socket_timeout=30)
    own = yt_dlp.parse_options(["--ignore-config"]).ydl_opts
    names = {"retries", "fragment_retries", "file_access_retries", "extractor_retries"}
    assert {name: options[name] for name in names} == {name: own[name] for name in names}


@pytest.mark.claim("7.4", "16.3")
@pytest.mark.parametrize("kind", ["http", "fragment", "extractor"])
def test_yt_dlp_doubles_its_back_off_up_to_30_seconds(kind: str) -> None:
    """Before a request for media is repeated, a part of it must have arrived."""
    child = Session(base_options(YouTube(), socket_timeout=30))
    waits = []
    for n in range(8):
        child.ydl.params["progress_hooks"][0]({"status": "downloading"})
        waits.append(child.ydl.params["retry_sleep_functions"][kind](n))
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_every_setting_becomes_a_yt_dlp_option() -> None:
    youtube = YouTube(
        proxy="http://127.0.0.1:1",
        ca_file=Path("/ca.pem"),
        cookies_file=Path("/cookies.txt"),
        extractor_args={"youtube": {"player_client": ["tv"]}},
        rate_limit=1000,
    )
    options = base_options(youtube, socket_timeout=5, ffmpeg=Path("/bin/ffmpeg"))
    expected = {
        "proxy": "http://127.0.0.1:1",
        "cookiefile": "/cookies.txt",
        "extractor_args": {"youtube": {"player_client": ["tv"]}},
        "ratelimit": 1000,
        "compat_opts": ["no-certifi"],
        "ffmpeg_location": "/bin/ffmpeg",
    }
    assert expected.items() <= options.items()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"ip_version": 4}, "0.0.0.0"),  # noqa: S104 - of a client
        ({"ip_version": "6"}, "::"),
        ({"source_address": "127.0.0.2"}, "127.0.0.2"),
        ({"source_address": "::1", "ip_version": 6}, "::1"),
    ],
)
def test_requests_have_the_configured_address(settings: dict[str, Any], expected: str | None) -> None:
    assert base_options(YouTube(**settings), socket_timeout=5).get("source_address") == expected


@pytest.mark.parametrize(
    "settings", [{"source_address": "not an address"}, {"ip_version": 5}, {"source_address": "::1", "ip_version": 4}]
)
def test_invalid_addresses_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        YouTube(**settings)


def test_requests_are_sent_from_the_address_and_paused(tmp_path: Path) -> None:
    clients: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            clients.append(self.client_address[0])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Discard the message."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        options = base_options(YouTube(proxy="", source_address="127.0.0.2", sleep_requests=2.0), socket_timeout=5)
        pauses = set()
        for _ in range(5):
            ydl = session(options).ydl
            ydl.urlopen(f"http://127.0.0.1:{server.server_address[1]}/").close()
            pauses.add(ydl.params["sleep_interval_requests"])
        server.shutdown()
        thread.join()
    assert set(clients) == {"127.0.0.2"}
    assert len(pauses) > 1
    assert all(2.0 <= pause <= 3.0 for pause in pauses)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("firefox", ["firefox", None, None, None]),
        ("Chrome+gnomekeyring:Profile 1", ["chrome", "Profile 1", "GNOMEKEYRING", None]),
        ("firefox:default::Personal", ["firefox", "default", None, "Personal"]),
    ],
)
def test_cookies_from_browser_is_parsed_like_the_yt_dlp_option(text: str, expected: list[str | None]) -> None:
    specification = base_options(YouTube(cookies_from_browser=text), socket_timeout=5)["cookiesfrombrowser"]
    assert specification == expected
    assert _parse_browser_specification(*specification)  # yt-dlp accepts it


def test_an_invalid_browser_is_a_configuration_error_that_names_the_key() -> None:
    with pytest.raises(ConfigError, match="cookies_from_browser"):
        base_options(YouTube(cookies_from_browser=":"), socket_timeout=5)


def test_the_child_environment_has_no_proxy_but_the_ca_file_and_our_scripts() -> None:
    environment = child_environment(
        YouTube(ca_file=Path("/ca.pem")),
        {
            "PATH": "/usr/bin",
            "HTTPS_PROXY": "http://other",
            "no_proxy": "*",
            "HOME": "/home/me",
            "LC_ALL": "C.UTF-8",
            "YOUTUBE_API_KEY": "k",
            "YTARCHIVE_NATS__PASSWORD": "p",
            "YTARCHIVE_AUTH__TOKEN": "t",
            "GH_PAT": "g",
        },
        scripts=Path("/venv/bin"),
        code=Path("/code"),
    )
    assert environment == {
        "PATH": "/venv/bin:/usr/bin",
        "HOME": "/home/me",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": "/code",
        "PYTHONIOENCODING": "utf-8",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_signed_urls_cookies_and_addresses_are_removed_from_info_json() -> None:
    signed = "https://rr1.googlevideo.com/videoplayback?expire=1&ip=1.2.3.4&sig=abc"
    shown = public_info(
        {
            "id": "x",
            "title": "kept",
            "webpage_url": "https://www.youtube.com/watch?v=x",
            "formats": [{"format_id": "137", "url": signed, "http_headers": {"Cookie": "secret"}, "cookies": "secret"}],
            "subtitles": {
                "en": [{"ext": "vtt", "url": "https://www.youtube.com/api/timedtext?v=x&expire=1&signature=s"}]
            },
            "thumbnails": [{"url": "https://i.ytimg.com/vi/x/maxresdefault.jpg"}],
            "urls": [signed],
            "__x_forwarded_for_ip": "1.2.3.4",
        }
    )
    assert shown == {
        "id": "x",
        "title": "kept",
        "webpage_url": "https://www.youtube.com/watch?v=x",
        "formats": [{"format_id": "137"}],
        "subtitles": {"en": [{"ext": "vtt"}]},
        "thumbnails": [{"url": "https://i.ytimg.com/vi/x/maxresdefault.jpg"}],
        "urls": [],
    }


def test_video_metadata_is_normalised() -> None:
    metadata = video_metadata(
        {
            "id": "dQw4w9WgXcQ",
            "title": "T",
            "upload_date": "20240301",
            "uploader_id": "@handle",
            "duration": 2,
            "subtitles": {"en": [], "live_chat": []},
        }
    )
    assert metadata.upload_date == "2024-03-01"
    assert metadata.channel_handle == "@handle"
    assert metadata.caption_languages == ["en"]


@pytest.mark.parametrize(
    ("media_type", "live_status", "kind"),
    [
        ("video", "not_live", "video"),
        ("short", "not_live", "short"),
        ("livestream", "was_live", "stream"),
        ("video", "is_upcoming", "premiere"),
        (None, "not_live", None),
    ],
)
def test_a_video_has_a_kind(media_type: str | None, live_status: str, kind: str | None) -> None:
    assert video_metadata({"id": "x", "media_type": media_type, "live_status": live_status}).kind == kind


def test_the_upload_date_falls_back_to_the_timestamp() -> None:
    assert video_metadata({"id": "x", "timestamp": 1709290800}).upload_date == "2024-03-01"
