"""Blocking client of the control API, for tests and the demo."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class EmulatorClientError(RuntimeError):
    """The emulator rejected a control request. The message is the body of its response."""


class EmulatorClient:
    """Control the emulator at `base_url` (`http://127.0.0.1:PORT`, which is also its proxy URL).

    Calls block. If the emulator runs in the same event loop, call the client in a thread. All methods raise
    EmulatorClientError when the request is rejected and OSError when the emulator is not reachable. `timeout` is in
    seconds.
    """

    def __init__(self, base_url: str, *, timeout: float = 70.0) -> None:
        if not base_url.startswith("http://127.0.0.1:"):
            raise ValueError(f"{base_url!r} is not an emulator URL: it must start with http://127.0.0.1:")
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        # ignore http_proxy and similar environment variables
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def proxy_url(self) -> str:
        """Value of the `proxy` setting of yt-dlp and other clients."""
        return self._base

    @property
    def api_endpoint(self) -> str:
        """Value of the `api_endpoint` option of google-api-python-client."""
        return self._base

    @property
    def ca_file(self) -> Path:
        """CA certificate that clients must trust (`SSL_CERT_FILE`, `cafile`)."""
        return Path(self.health()["ca_file"])

    def _call(self, method: str, path: str, payload: Json | None = None) -> Json:
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(f"{self._base}/_control/{path}", data=body, method=method)  # noqa: S310  # the base is http
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                data: Json = json.load(response)
                return data
        except urllib.error.HTTPError as error:
            with error:
                raise EmulatorClientError(error.read().decode(errors="replace")) from error

    def health(self) -> Json:
        """Return `{"status": "ok", "proxy": URL, "api_endpoint": URL, "ca_file": path}`."""
        return self._call("GET", "health")

    def state(self) -> Json:
        """Return the whole world, the active faults and the settings."""
        return self._call("GET", "state")

    def reset(self) -> None:
        """Restore the sample world, remove all faults, clear the log and lift the quota limit."""
        self._call("POST", "reset")

    def put_video(self, video_id: str, **video: Any) -> Json:
        """Add or replace a video. The fields are those of `Video`; `title` and `channel` are required."""
        return self._call("PUT", f"videos/{_quote(video_id)}", video)

    def change_video(self, video_id: str, **changes: Any) -> Json:
        """Change the given fields of a video."""
        return self._call("PATCH", f"videos/{_quote(video_id)}", changes)

    def put_playlist(self, playlist_id: str, **playlist: Any) -> Json:
        """Add or replace a playlist. The fields are those of `Playlist`.

        Alternatively, create a playlist of new videos from `count`, `channel` and optionally `title`, `deleted` and
        `private` (lists of positions, counted from 0).
        """
        return self._call("PUT", f"playlists/{_quote(playlist_id)}", playlist)

    def delete_playlist(self, playlist_id: str) -> None:
        self._call("DELETE", f"playlists/{_quote(playlist_id)}")

    def put_channel(self, channel_id: str, **channel: Any) -> Json:
        """Add or replace a channel. The fields are those of `Channel`."""
        return self._call("PUT", f"channels/{_quote(channel_id)}", channel)

    def set_kind(self, video_id: str, kind: str) -> None:
        """Set the kind of a video, or of all videos with `*`. The kind `ok` makes them playable again."""
        self._call("PUT", f"kinds/{_quote(video_id)}", {"kind": kind})

    def begin(self, situation: str) -> None:
        """Bring about one of the situations that `python -m ytarchive.emulator --situations` lists, until `reset`."""
        self._call("POST", f"situation/{_quote(situation)}")

    def add_fault(self, kind: str, effect: str, **details: Any) -> int:
        """Add a fault and return its id. The details are the fields of `Fault`."""
        return int(self._call("POST", "faults", {"kind": kind, "effect": effect, **details})["id"])

    def remove_fault(self, fault_id: int) -> None:
        self._call("DELETE", f"faults/{fault_id}")

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def expire_urls(self, video_id: str | None = None) -> None:
        """Expire the media URLs issued so far, of one video or of all. They then return status 403."""
        self._call("POST", "expire", {"video_id": video_id})

    def set_quota_left(self, units: int | None) -> None:
        """Set the remaining Data API quota in units. None: unlimited; 0: all requests fail with quotaExceeded."""
        self._call("PUT", "settings", {"quota_left": units})

    def set_url_lifetime(self, seconds: int) -> None:
        """Set the lifetime of media URLs that are issued from now on."""
        self._call("PUT", "settings", {"url_lifetime": seconds})

    def log(self, *, since: int = 0, kind: str | None = None, video_id: str | None = None) -> list[Json]:
        """Return the requests with a number above `since`. The fields are those of `LoggedRequest`."""
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
        """Return the same as `log`, after `count` requests match or `wait` seconds (60 at most) have passed."""
        return self._log(since=since, kind=kind, video_id=video_id, count=count, wait=wait)

    def last(self) -> int:
        """Return the number of the latest request, for use as `since`."""
        return int(self._call("GET", f"log?since={2**62}")["last"])

    def clear_log(self) -> None:
        self._call("DELETE", "log")

    def _log(self, **query: Any) -> list[Json]:
        given = {key: value for key, value in query.items() if value is not None}
        entries: list[Json] = self._call("GET", f"log?{urllib.parse.urlencode(given)}")["entries"]
        return entries


def _quote(segment: str) -> str:
    return urllib.parse.quote(segment, safe="")
