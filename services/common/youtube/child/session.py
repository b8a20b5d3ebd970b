"""The YoutubeDL object of a child, kept between requests with its caches (player code, cookies)."""

import json
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yt_dlp

from services.common.settings.retry_policy import SPEC
from services.common.youtube.child.streams_at_once import StreamsAtOnce
from services.common.youtube.cookies import Cookies

EXTRACTORS = VIDEO, LIST = "Youtube", "YoutubeTab"
_WARNINGS_KEPT = 50
_MEDIA_ERROR = re.compile(r"\s*\[download\] Got error: (?P<error>.*)\. Retrying .*", re.DOTALL)


class MediaUnserved(yt_dlp.utils.YoutubeDLError):  # type: ignore[misc]  # yt-dlp has no types
    """A request for media failed without a byte: the next attempt is made by jobs, which shows it (SPEC:
    RETRY_CONFIG)."""


class _Stream(threading.local):
    """What a stream's download has experienced; each has a thread of its own while several run at once."""

    received = False  # bytes since the last error
    error = ""


class _Lean(StreamsAtOnce):
    """A YoutubeDL that leaves out what only other uses need."""

    def add_default_info_extractors(self) -> None:
        """Add the extractors that we name in each request: to add all 1,800 takes 35 ms."""
        for name in EXTRACTORS:
            self.add_info_extractor(yt_dlp.extractor.get_info_extractor(name))

    def _forceprint(self, key: str, info_dict: Any) -> Any:
        """yt-dlp prepares what `--print` might show six times for each video, a sixth of its CPU time."""
        return info_dict


class Session:
    """A YoutubeDL, the warnings of the current operation, and its progress callback. `cookies` are those of the user's
    file with this `digest`.

    yt-dlp repeats a request for media only as long as bytes arrive, so that an interrupted stream continues where it
    stopped.
    """

    def __init__(self, options: dict[str, Any], cookies: Cookies | None = None, digest: str = "") -> None:
        self.warnings: list[str] = []
        self.on_progress: Callable[[dict[str, Any]], None] | None = None
        self.digest = digest
        self._cookies = cookies
        self._stream = _Stream()
        self.ydl = _Lean(
            {
                **options,
                "logger": self,
                "progress_hooks": [self._progress],
                "retry_sleep_functions": {"http": self._before_repetition, "fragment": _backoff, "extractor": _backoff},
            }
        )

    def keep_cookies(self) -> None:
        if self._cookies is not None:
            self._cookies.keep(self.ydl.cookiejar, self.digest)

    def _before_repetition(self, n: int) -> float:
        """Return the seconds before repetition `n` of a request for media. Raise MediaUnserved if nothing arrived."""
        self.ydl.check_other_streams()
        received, self._stream.received = self._stream.received, False
        if not received:
            raise MediaUnserved(self._stream.error or "no data")
        return _backoff(n)

    def _progress(self, status: dict[str, Any]) -> None:
        self.ydl.stream_served()
        self._stream.received = status["status"] == "downloading"
        if self.on_progress:
            self.on_progress(status)

    def debug(self, message: str) -> None:
        """Part of yt-dlp's logger; progress lines end here, and the errors of requests that are repeated."""
        if found := _MEDIA_ERROR.fullmatch(message):
            self._stream.error = found["error"]

    def warning(self, message: str) -> None:
        if len(self.warnings) < _WARNINGS_KEPT:
            self.warnings.append(message)

    def error(self, message: str) -> None:
        """Part of yt-dlp's logger; errors arrive as exceptions."""


_sessions: dict[str, Session] = {}
_stage = ["extraction"]


def set_stage(name: str) -> None:
    """Set the stage for the facts of an error: `extraction`, `files`, `media`."""
    _stage[0] = name


def stage() -> str:
    return _stage[0]


def session(options: dict[str, Any]) -> Session:
    """Return the session for these options, a new one when the cookies file has changed. Raise the errors of
    YoutubeDL(), CookiesUnreadable."""
    key = json.dumps(options, sort_keys=True)
    copy = options.get("cookies_copy")
    if copy is None:
        if key not in _sessions:
            _sessions[key] = Session(options)
        return _with_jitter(_sessions[key], options)
    own = {name: value for name, value in options.items() if name != "cookies_copy"}
    cookies = Cookies(Path(own["cookiefile"]), Path(copy))
    digest = cookies.refresh()
    if key not in _sessions or _sessions[key].digest != digest:
        _sessions[key] = Session({**own, "cookiefile": copy}, cookies, digest)
    return _with_jitter(_sessions[key], options)


def _with_jitter(session: Session, options: dict[str, Any]) -> Session:
    """Choose another pause between requests for each operation, up to half longer than configured."""
    if pause := options.get("sleep_interval_requests"):
        session.ydl.params["sleep_interval_requests"] = pause * random.uniform(1.0, 1.5)  # noqa: S311 - not for secrets
    return session


def keep_cookies() -> None:
    """Store what YouTube has changed in the cookies during an operation."""
    for one in _sessions.values():
        one.keep_cookies()


def make_ydl(options: dict[str, Any]) -> Any:
    """Return the YoutubeDL for these options (Any, because yt-dlp has no types)."""
    return session(options).ydl


def take_warnings() -> list[str]:
    """Return the warnings of all sessions since the last call."""
    taken = [warning for one in _sessions.values() for warning in one.warnings]
    for one in _sessions.values():
        one.warnings.clear()
    return taken


def _backoff(n: int) -> float:
    """Return the seconds before retry `n`, counted from 0 (SPEC: RETRY_CONFIG backoff_factor 2)."""
    return min(0.5 * float(2**n), SPEC.max_backoff)
