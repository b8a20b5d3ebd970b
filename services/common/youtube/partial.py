"""The directory of a fetch, `tmp/{video_id}.part/`: locked while it is worked in, and cleared away only by right.

`.lock` is held (flock) by the child that works; `.dispatch` names the dispatch that it works for; `.formats` says
which streams the partial files are of.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOCK = ".lock"
_DISPATCH = ".dispatch"
_FORMATS = ".formats"


class PartialBusy(Exception):
    """Another process works in the directory."""


@contextmanager
def working_in(directory: Path, dispatch_id: str) -> Iterator[Path]:
    """Make the directory if need be and hold its lock. Raises PartialBusy."""
    lock = _lock(directory, make=True)
    if lock is None:
        raise PartialBusy(f"another process works in {directory.name}")
    try:
        _unshare(directory)
        (directory / _DISPATCH).write_text(dispatch_id, encoding="utf-8")
        yield directory
    finally:
        os.close(lock)


@contextmanager
def holding(directory: Path, patience: float = 5.0) -> Iterator[None]:
    """Keep everybody else out while its files are taken away: a download that began anew would write into them.

    Waits up to `patience` seconds for the lock, and raises PartialBusy then. A directory that is gone needs none.
    """
    end = time.monotonic() + patience
    while (lock := _lock(directory, make=False)) is None and directory.exists():
        if time.monotonic() > end:
            raise PartialBusy(f"another process works in {directory.name}")
        time.sleep(0.05)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def remove_partial(directory: Path, dispatch_id: str | None) -> bool:
    """Remove what a dispatch of a fetch, or an earlier one, left (None: whoever left it); False if it is gone already,
    in use, or of another fetch or a later dispatch by now."""
    lock = _lock(directory, make=False)
    if lock is None:
        return False
    try:
        if dispatch_id is not None and not _belongs_to(directory, dispatch_id):
            return False
        shutil.rmtree(directory)
        return True
    finally:
        os.close(lock)


def keep_if_same(directory: Path, video_id: str, streams: list[dict[str, Any]]) -> None:
    """Drop the media of an earlier attempt, unless they are of these very streams.

    A Range request for other bytes than those that are there already would make a file that is neither. And one that
    asks for the bytes after the last is refused (416), which yt-dlp 2026.10 does not get over: its second request,
    meant to have no Range, has it still. So the last byte is asked for again; the part may be whole.
    """
    record = directory / _FORMATS
    wanted = json.dumps(streams, sort_keys=True)
    if not record.exists() or record.read_text(encoding="utf-8") != wanted:
        for path in media_of(directory, video_id):
            path.unlink()
        record.write_text(wanted, encoding="utf-8")
    for path in media_of(directory, video_id):
        if path.suffix == ".part" and (size := path.stat().st_size):
            os.truncate(path, size - 1)


def media_of(directory: Path, video_id: str) -> list[Path]:
    """The media files of the video, partial ones included: all that begins with the id and a dot, but info.json."""
    return [
        path
        for path in directory.iterdir()
        if path.name.startswith(f"{video_id}.") and not path.name.startswith(f"{video_id}.info.json")
    ]


def _unshare(directory: Path) -> None:
    """Let go of files that are one with files in the archive (a take-in that was cut short links them): whoever wrote
    into them here would write there."""
    for path in directory.iterdir():
        if path.is_file() and path.stat().st_nlink > 1:
            path.unlink()


def _belongs_to(directory: Path, dispatch_id: str) -> bool:
    """A dispatch id is `{fetch_id}.{number}`. The last one may never have begun: then an earlier one left it."""
    try:
        found = (directory / _DISPATCH).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    (fetch, number), (its_fetch, its_number) = _parts(dispatch_id), _parts(found)
    return fetch == its_fetch and its_number <= number


def _parts(dispatch_id: str) -> tuple[str, int]:
    fetch, _dot, number = dispatch_id.rpartition(".")
    return (fetch, int(number)) if number.isdecimal() else (dispatch_id, 0)


def _lock(directory: Path, *, make: bool) -> int | None:
    """A file descriptor that holds the lock; None if somebody else does, or if there is no directory to lock."""
    while True:
        if make:
            directory.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            if make:
                continue  # removed in between
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        if _is_still(directory / _LOCK, lock):
            return lock
        os.close(lock)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the path names the open file still: the directory may have been removed before it was locked."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
