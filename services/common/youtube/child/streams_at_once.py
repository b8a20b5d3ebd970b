"""Download the picture and the sound of a video at once, over one connection each, as browsers do."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import yt_dlp

Outcome = tuple[bool, bool]  # what YoutubeDL.dl returns: whether it succeeded, and whether bytes were requested


class OtherStreamFailed(yt_dlp.utils.YoutubeDLError):  # type: ignore[misc]  # yt-dlp has no types
    """Ends the download of a stream after that of another one has failed."""


class StreamsAtOnce(yt_dlp.YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """A YoutubeDL whose `process_info` can download all streams of a video at once.

    `process_info` calls `dl` for one stream after the other. Within `at_once` the first call starts all of them, and
    each returns when its own is complete, or raises what ended any of them: yt-dlp handles both as always. The others
    wait until the first one is served, so that a refusal costs one request.
    """

    _info: Mapping[str, Any] | None = None  # of the video whose streams are downloaded at once
    _pool: ThreadPoolExecutor
    _running: dict[str, "Future[Outcome]"]  # by file name
    _served: threading.Event  # the first stream has received bytes, or has ended
    _failed: threading.Event

    @contextmanager
    def at_once(self, info: Mapping[str, Any], connections: int) -> Iterator[None]:
        """Download the `requested_formats` of a video at once, over at most so many connections. No download is left
        running at the end."""
        self._info, self._running, self._served, self._failed = info, {}, threading.Event(), threading.Event()
        try:
            with ThreadPoolExecutor(connections, "stream") as self._pool:
                yield
        finally:
            self._info = None

    def stream_served(self) -> None:
        """Note that a stream has received bytes. Raise as `check_other_streams`."""
        if self._info is not None:
            self._served.set()
            self.check_other_streams()

    def check_other_streams(self) -> None:
        """Raise OtherStreamFailed if the download of another stream has failed. Each calls this as it goes on."""
        if self._info is not None and self._failed.is_set():
            raise OtherStreamFailed("the download of the other stream has failed")

    def dl(self, name: str, info: dict[str, Any], subtitle: bool = False, test: bool = False) -> Outcome:
        if self._info is not None and not self._running:
            self._start_all(name, info)
        if self._info is None or name not in self._running:
            outcome: Outcome = super().dl(name, info, subtitle, test)
            return outcome
        done, running = wait(self._running.values(), return_when=FIRST_EXCEPTION)
        if any(one.exception() for one in done):
            wait(one for one in running if not one.cancel())
            ended = (one for one in self._running.values() if not one.cancelled())
            errors = [error for one in ended if (error := one.exception()) is not None]
            raise next(error for error in errors if not isinstance(error, OtherStreamFailed))
        return self._running[name].result()

    def _start_all(self, name: str, first: Mapping[str, Any]) -> None:
        """Start all downloads. `name` is the file of the `first` stream; those of the others are named like it."""
        assert self._info is not None  # noqa: S101 - for the type checker
        ending = _ending(first)
        if not name.endswith(ending):
            return
        video = {key: value for key, value in self._info.items() if key != "requested_formats"}
        for stream in self._info["requested_formats"]:
            path = name.removesuffix(ending) + _ending(stream)
            self._running[path] = self._pool.submit(self._download, path, {**video, **stream}, waits=path != name)

    def _download(self, path: str, info: dict[str, Any], *, waits: bool) -> Outcome:
        if waits:
            self._served.wait()
            self.check_other_streams()
        try:
            outcome: Outcome = super().dl(path, info)
        except BaseException:
            self._failed.set()
            raise
        finally:
            self._served.set()
        return outcome


def _ending(stream: Mapping[str, Any]) -> str:
    """Return the end of the name that yt-dlp gives to the file of a stream."""
    return f".f{stream['format_id']}.{stream['ext']}"
