"""A blocking client of the control path, for tests and the demo."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class EmulatorClientError(RuntimeError):
    """The emulator refused a control request; the text is its reason."""


class EmulatorClient:
    """Steers the emulator at `base_url` (`http://127.0.0.1:PORT`, the same as its proxy URL).

    It blocks: beside an emulator in the same event loop, call it in a thread. Raises EmulatorClientError when a
    request is refused, OSError when nothing answers.
    """

    def __init__(self, base_url: str, *, timeout: float = 70.0) -> None:
        if not base_url.startswith("http://127.0.0.1:"):
            raise ValueError("the emulator is on 127.0.0.1 only")
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        # no proxies: http_proxy of the environment must not come between
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def proxy_url(self) -> str:
        """For yt-dlp's and other clients' `proxy`."""
        return self._base

    @property
    def api_endpoint(self) -> str:
        """For google-api-python-client's `api_endpoint`."""
        return self._base

    @property
    def ca_file(self) -> Path:
        """The certificate that clients must trust (`SSL_CERT_FILE`, `cafile`)."""
        return Path(self.health()["ca_file"])

    def _call(self, method: str, path: str, data: Json | None = None) -> Json:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self._base}/_control/{path}", data=body, method=method)  # noqa: S310  # the base is http
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer: Json = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                raise EmulatorClientError(error.read().decode(errors="replace")) from error

    def health(self) -> Json:
        """`{"status": "ok", "proxy": …, "api_endpoint": …, "ca_file": …}`."""
        return self._call("GET", "health")

    def state(self) -> Json:
        """The whole world, the faults and the settings."""
        return self._call("GET", "state")

    def reset(self) -> None:
        """A fresh sample world, no faults, an empty log, plenty of quota."""
        self._call("POST", "reset")

    def put_video(self, video_id: str, **video: Any) -> Json:
        """Add or replace a video; fields as in `Video` (`title` and `channel` are needed)."""
        return self._call("PUT", f"videos/{_quoted(video_id)}", video)

    def change_video(self, video_id: str, **changes: Any) -> Json:
        """Change some fields of a video."""
        return self._call("PATCH", f"videos/{_quoted(video_id)}", changes)

    def put_playlist(self, playlist_id: str, **playlist: Any) -> Json:
        """Add or replace a playlist: fields as in `Playlist`.

        Or `count`, `channel` and maybe `title`, `deleted`, `private` (positions from 0), for one made of new videos.
        """
        return self._call("PUT", f"playlists/{_quoted(playlist_id)}", playlist)

    def delete_playlist(self, playlist_id: str) -> None:
        self._call("DELETE", f"playlists/{_quoted(playlist_id)}")

    def put_channel(self, channel_id: str, **channel: Any) -> Json:
        """Add or replace a channel; fields as in `Channel`."""
        return self._call("PUT", f"channels/{_quoted(channel_id)}", channel)

    def set_kind(self, video_id: str, kind: str) -> None:
        """Make a video (or `*`, every video) answer as this kind from now on; `ok` brings it back."""
        self._call("PUT", f"kinds/{_quoted(video_id)}", {"kind": kind})

    def add_fault(self, kind: str, effect: str, **details: Any) -> int:
        """Put a fault in force (details as in `Fault`); its id."""
        return int(self._call("POST", "faults", {"kind": kind, "effect": effect, **details})["id"])

    def remove_fault(self, fault_id: int) -> None:
        self._call("DELETE", f"faults/{fault_id}")

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def expire_urls(self, video_id: str | None = None) -> None:
        """Make the media URLs handed out so far answer 403."""
        self._call("POST", "expire", {"video_id": video_id})

    def set_quota_left(self, units: int | None) -> None:
        """How many Data API units are left; None for plenty, 0 for quotaExceeded at once."""
        self._call("PUT", "settings", {"quota_left": units})

    def set_url_lifetime(self, seconds: int) -> None:
        """How long media URLs work from now on."""
        self._call("PUT", "settings", {"url_lifetime": seconds})

    def log(self, *, since: int = 0, kind: str | None = None, video_id: str | None = None) -> list[Json]:
        """The requests with a number above `since`; fields as in `Entry`."""
        return self._log(since=since, kind=kind, video_id=video_id)

    def wait_for(
        self,
        *,
        since: int = 0,
        kind: str | None = None,
        video_id: str | None = None,
        count: int = 1,
        wait: float = 10.0,
    ) -> list[Json]:
        """As `log`, once there are `count` such requests or `wait` seconds (at most 60) have passed."""
        return self._log(since=since, kind=kind, video_id=video_id, count=count, wait=wait)

    def last(self) -> int:
        """The number of the latest request, to be used as `since`."""
        return int(self._call("GET", f"log?since={2**62}")["last"])

    def clear_log(self) -> None:
        self._call("DELETE", "log")

    def _log(self, **query: Any) -> list[Json]:
        given = {key: value for key, value in query.items() if value is not None}
        entries: list[Json] = self._call("GET", f"log?{urllib.parse.urlencode(given)}")["entries"]
        return entries


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")
