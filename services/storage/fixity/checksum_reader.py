"""Reading a video's files again and computing their checksums, at a limited rate.

All functions block (use a thread) and take no lock: a take-in replaces files by rename, so an open file stays complete.
Callers confirm the result under the lock of the video (`is_unchanged`).
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from services.common.infra.no_links import folder_below, open_below, read_below
from services.storage.archive.fingerprint import fingerprint_of
from services.storage.fixity.repair_plan import file_state
from services.storage.fixity.rules import ABSENT, FileState, FixityFinding, VideoState, metadata_name
from services.storage.formats.layout import CAPTIONS, ArchiveTree, manifest_name
from services.storage.formats.manifest import Manifest
from services.storage.formats.video_metadata import VideoFile

_CHUNK = 1024**2
_SLICE = 0.05  # seconds until a stop is noticed
_BROKEN = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA})  # errors that mean a damaged disk


class ReadingStopped(Exception):
    """The reading was stopped before its end."""


class RateLimiter:
    """Limits the bytes per second of everything that is read with it. `read` counts the bytes."""

    def __init__(self, rate: int, stop: Callable[[], bool] = lambda: False) -> None:
        self.read = 0
        self.chunk = max(1, min(_CHUNK, rate // 4))
        self._rate = rate
        self._stop = stop
        self._free_at = 0.0

    def take(self, amount: int) -> None:
        """Count `amount` bytes and wait until the rate allows them. Raises ReadingStopped."""
        self.read += amount
        self._free_at = max(self._free_at, time.monotonic()) + amount / self._rate
        self.check()
        while (left := self._free_at - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
            self.check()

    def check(self) -> None:
        if self._stop():
            raise ReadingStopped


def read_video(tree: ArchiveTree, video_id: str, rate_limiter: RateLimiter) -> VideoState:
    """Read all files of a video and return their state. Raises ReadingStopped."""
    rate_limiter.check()
    try:
        return _read_video(tree, video_id, rate_limiter)
    except OSError as error:  # of the folder itself
        return VideoState(None, None, manifest_error=f"cannot be read: {error.strerror or error}")


def _read_video(tree: ArchiveTree, video_id: str, rate_limiter: RateLimiter) -> VideoState:
    path = tree.manifest(video_id)
    fingerprint = fingerprint_of(path)
    manifest, error = _read_manifest(path, video_id)
    others = tuple(_unlisted(path.parent, {*(manifest.fixity if manifest else ()), manifest_name(video_id)}))
    entries = manifest.fixity.items() if manifest else ()
    files = {name: read_file(tree.videos, path.parent / name, entry.size, rate_limiter) for name, entry in entries}
    metadata = read_metadata_file(tree.video_metadata(video_id), video_id)
    return VideoState(fingerprint, manifest, files, others, metadata, error)


def is_unchanged(tree: ArchiveTree, video_id: str, seen: VideoState, findings: tuple[FixityFinding, ...]) -> bool:
    """Return whether the findings still hold: the manifest and the files are the same. The caller holds the video's
    lock."""
    named = {*(seen.manifest.fixity if seen.manifest else ()), manifest_name(video_id)}
    try:
        if fingerprint_of(tree.manifest(video_id)) != seen.fingerprint:
            return False
        if tuple(_unlisted(tree.video_dir(video_id), named)) != seen.others:
            return False
    except OSError:
        return seen.manifest_error is not None
    files = (one for one in findings if one.kind.damage and one.name != manifest_name(video_id))
    return all(file_identity(finding_path(tree, one)) == file_state(one, seen).identity for one in files)


def finding_path(tree: ArchiveTree, finding: FixityFinding) -> Path:
    """Return the path of the file that a finding is about, whether the file exists or not."""
    if finding.name == metadata_name(finding.video_id):
        return tree.video_metadata(finding.video_id)
    return tree.video_dir(finding.video_id) / finding.name


def read_file(base: Path, path: Path, size: int, rate_limiter: RateLimiter) -> FileState:
    """Return the state of a file below `base`, with its checksum if it has `size` bytes. Links are not followed: then
    `error` is set. Raises ReadingStopped."""
    try:
        with folder_below(base, path.parent) as folder:
            there = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return _unreadable(file_identity(path), error)
    who = _identity_of(there)
    if stat.S_ISLNK(there.st_mode):
        return FileState(who, error="a symbolic link, which is not opened")
    if not stat.S_ISREG(there.st_mode):
        return FileState(who, regular=False)
    if there.st_size != size:
        return FileState(who, there.st_size)
    try:
        return _hash_file(open_below(base, path), rate_limiter)
    except FileNotFoundError:
        return ABSENT
    except OSError as error:
        return _unreadable(who, error)


def read_metadata_file(path: Path, video_id: str) -> FileState:
    """Return the state of a metadata file; `error` is set when it is not valid."""
    try:
        there = path.lstat()
        content = read_below(path.parent, path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return _unreadable(file_identity(path), error)
    try:
        file = VideoFile.model_validate_json(content)
    except ValidationError as error:
        return FileState(_identity_of(there), len(content), error=_first(error), broken=True)
    if file.video_id != video_id:
        return FileState(_identity_of(there), len(content), error=f"it describes {file.video_id}", broken=True)
    return FileState(_identity_of(there), len(content))


def file_identity(path: Path) -> tuple[int, ...] | None:
    """Return a value that differs between a file and its replacement; None when there is no file."""
    try:
        return _identity_of(path.lstat())
    except OSError:
        return None


def _identity_of(there: os.stat_result) -> tuple[int, ...]:
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns


def _hash_file(descriptor: int, rate_limiter: RateLimiter) -> FileState:
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        _drop_page_cache(file.fileno())
        who = _identity_of(os.fstat(file.fileno()))
        while chunk := file.read(rate_limiter.chunk):
            digest.update(chunk)
            size += len(chunk)
            rate_limiter.take(len(chunk))
        _drop_page_cache(file.fileno())
    return FileState(who, size, digest.hexdigest())


def _drop_page_cache(descriptor: int) -> None:
    """Drop the file from the page cache: cached pages say nothing about the disk, and the file is read only once."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _unreadable(who: tuple[int, ...] | None, error: OSError) -> FileState:
    return FileState(who, error=error.strerror or str(error), broken=error.errno in _BROKEN)


def _read_manifest(path: Path, video_id: str) -> tuple[Manifest | None, str | None]:
    """Return the manifest, or the reason why it is not valid. Both are None when there is no file."""
    try:
        manifest = Manifest.model_validate_json(read_below(path.parents[1], path))
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}"
    except ValidationError as error:
        return None, f"is not a manifest: {_first(error)}"
    if manifest.video_id != video_id:
        return None, f"is the manifest of {manifest.video_id}"
    return manifest, None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, problem["loc"]))
    return f"{field}: {problem['msg']}" if field else str(problem["msg"])


def _unlisted(folder: Path, named: set[str]) -> Iterator[str]:
    """Yield the visible names that are not in `named`. Of the subfolders, only `captions` is searched."""
    for entry in _visible(folder):
        if entry.name == CAPTIONS and entry.is_dir():
            inside = (f"{CAPTIONS}/{one.name}{'/' if one.is_dir() else ''}" for one in _visible(Path(entry.path)))
            yield from (name for name in inside if name not in named)
        elif entry.name not in named:
            yield f"{entry.name}/" if entry.is_dir() else entry.name


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((one for one in entries if not one.name.startswith(".")), key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
