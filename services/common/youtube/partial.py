"""The work directory of a fetch, `tmp/{video_id}.part/`: its lock, its owner, its removal (docs/decisions/0008).

The working child holds a flock on `.lock`; `.dispatch` contains the dispatch id; `.formats` identifies the streams of
the partial files.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.common.infra.files import try_flock
from services.common.infra.no_links import NotAFile, folder_below

_LOCK = ".lock"
_DISPATCH = ".dispatch"
_FORMATS = ".formats"


class PartialBusy(Exception):
    """Another process works in the directory."""


@contextmanager
def working_in(directory: Path, dispatch_id: str) -> Iterator[Path]:
    """Create the directory if necessary and hold its lock. Raise PartialBusy; NotAFile when the directory is a
    link."""
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
    """Hold the lock while files are moved out of the directory, so that no new download writes into them.

    Wait up to `patience` seconds for the lock, then raise PartialBusy. A missing directory needs no lock. Raise
    NotAFile when it is a link.
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
    """Remove the directory if it belongs to this dispatch or an earlier one of the same fetch (None: to any). Return
    False when it is missing, a link, in use, or belongs to another fetch or a later dispatch."""
    try:
        lock = _lock(directory, make=False)
    except NotAFile:
        return False
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
    """Remove the media of an earlier attempt unless they are from the same streams.

    Resuming with other streams would produce a corrupt file. A Range request beyond the last byte is answered with 416,
    from which yt-dlp 2026.10 does not recover (its second request still has the Range header), so the last byte of each
    part is dropped and requested again: the part may be complete.
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
    """Return the media files of the video, partial ones included: those named `{video_id}.*`, except info.json."""
    return [
        path
        for path in directory.iterdir()
        if path.name.startswith(f"{video_id}.") and not path.name.startswith(f"{video_id}.info.json")
    ]


def _unshare(directory: Path) -> None:
    """Unlink files that share an inode with the archive (left by an interrupted take-in), and symbolic links: writing
    to them would change archived files, or files outside."""
    for path in directory.iterdir():
        if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
            path.unlink()


def _belongs_to(directory: Path, dispatch_id: str) -> bool:
    """A dispatch id is `{fetch_id}.{number}`. The latest dispatch may not have started: an earlier one left the
    files."""
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
    """Return a file descriptor that holds the lock; None if the lock is taken or there is no directory."""
    while True:
        if make:
            directory.mkdir(parents=True, exist_ok=True)
        try:
            with folder_below(directory.parent, directory) as folder:
                lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        except FileNotFoundError:
            if make:
                continue  # removed in between
            return None
        if not try_flock(lock):
            os.close(lock)
            return None
        if _is_still(directory / _LOCK, lock):
            return lock
        os.close(lock)


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file: the directory may have been removed before it was locked."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
