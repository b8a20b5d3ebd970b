"""Crash-safe file operations: atomic writes, checksums, locks, free space. All calls
block, except `acquire`: use a thread."""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from services.common.errors import ServiceUnavailable

_SIBLING = re.compile(r"\..+\.[0-9a-f]{8}\.new")
_FOLDER_SYNC_REFUSED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_reported: set[int] = set()  # device numbers of file systems that cannot sync folders
_GRACE = 0.25  # seconds that `acquire` retries, because `lock_holder` holds a lock for a moment
_RETRY = 0.02  # seconds


class LockHeld(ServiceUnavailable):
    """Another process, or another part of this one, holds the lock. `pid` is that of the holder, if known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is locked by process {pid or 'unknown'}", path=str(path), pid=pid)
        self.path = path
        self.pid = pid


ARCHIVE_MODE = 0o666  # reduced by the umask: others may read the archive, for example on a NAS


def make_folders(folder: Path, mode: int | None = None) -> None:
    """Create a folder and its missing parents durably, with a mode; None: that of the umask."""
    if folder.is_dir():
        return
    make_folders(folder.parent, mode)
    folder.mkdir(exist_ok=True)
    if mode is not None:
        set_mode(folder, mode)
    sync_directory(folder.parent)


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file or folder. Raises OSError for a symbolic link: the mode would be that of its target."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file, without following a link or waiting for a pipe. Raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read()


def write_atomically(
    path: Path, content: bytes | str, *, mode: int = 0o600, exact: int | None = None, durable: bool = True
) -> None:
    """Replace a file atomically: write a hidden sibling, fsync, rename, fsync the directory. Parents are created.

    By default the file is for its owner only. `mode` is reduced by the umask, `exact` is not. The sibling is locked
    until it is renamed: `remove_abandoned` leaves it. What is not `durable` is not synced: a power cut may lose it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_name(f".{path.name}.{uuid4().hex[:8]}.new")
    data = content.encode() if isinstance(content, str) else content
    try:
        descriptor = _create_locked(sibling, mode)
        with os.fdopen(descriptor, "wb") as file:
            if exact is not None:
                os.fchmod(descriptor, exact)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            sibling.replace(path)
    except BaseException:
        sibling.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def _create_locked(path: Path, mode: int) -> int:
    """Create a file and lock it, again if `remove_abandoned` found it between the two. Return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for one who removes it just now
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_abandoned(directory: Path) -> int:
    """Remove the siblings that killed writers left in a folder. Return how many there were. Raises OSError."""
    removed = 0
    try:
        names = [entry.name for entry in os.scandir(directory) if _SIBLING.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    for name in names:
        path = directory / name
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if try_flock(descriptor):
                    path.unlink()
                    removed += 1
            finally:
                os.close(descriptor)
    return removed


def set_aside(path: Path) -> None:
    """Rename an unreadable file to `.unreadable` instead of overwriting it."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.unreadable"))


def sync_file(path: Path) -> int:
    """Make the content of a file durable. Return its length in bytes. Raise FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = os.fstat(descriptor).st_size
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return length


def sync_directory(directory: Path) -> None:
    """Make renames and new files in a directory durable.

    Some file systems refuse it (CIFS, vboxsf, 9p of WSL, some FUSE ones): it is then left out, and logged once for each
    file system, because a power cut may lose the newest names there.
    """
    if not syncs_directories(directory):
        _report_once(directory)


def syncs_directories(directory: Path) -> bool:
    """Make new names in a directory durable. Return False where its file system cannot."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_REFUSED:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def ignores_case(directory: Path) -> bool:
    """Return whether names that differ only in case are one name in an existing, writable directory."""
    probe = directory / f".Case-{uuid4().hex[:8]}"
    probe.touch()
    try:
        return probe.with_name(probe.name.swapcase()).exists()
    finally:
        probe.unlink()


def _report_once(directory: Path) -> None:
    device = directory.stat().st_dev
    if device not in _reported:
        import structlog  # not at the head: yt-dlp's child uses this module, and loads as little as possible

        _reported.add(device)
        structlog.get_logger().warning(
            "folder_sync_refused",
            path=str(directory),
            error_message=f"the file system of {directory} cannot sync folders: a power cut may lose the newest files",
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_space(path: Path) -> int:
    """Return the free bytes on the disk of `path`, or of its nearest existing parent."""
    return shutil.disk_usage(_existing(path)).free


def writable(path: Path) -> bool:
    """Return whether `path`, or its nearest existing parent, is a writable folder."""
    nearest = _existing(path)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def is_read_only(path: Path) -> bool:
    """Return whether the file system of `path` is mounted read-only, also after an error of the disk."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on `path`, and write our pid into it. Raise LockHeld instead of waiting.

    The file remains afterwards: only the lock counts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not try_flock(descriptor):
            raise LockHeld(path, _pid_in(path))
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # releases the lock


async def acquire(path: Path, patience: float = _GRACE) -> ExitStack:
    """Take the lock of `locked`, on the event loop. Retry for `patience` seconds, then raise LockHeld. Closing the
    returned stack releases the lock."""
    deadline = time.monotonic() + patience
    held = ExitStack()
    while True:
        try:
            held.enter_context(locked(path))
        except LockHeld:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(_RETRY)
        else:
            return held


def lock_holder(path: Path) -> int | None:
    """Return the pid of the process that holds the lock, 0 if it is unknown, None if the lock is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        free = try_flock(descriptor, shared=True)
    finally:
        os.close(descriptor)
    return None if free else _pid_in(path) or 0


def try_flock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting. Return False when another process holds the lock."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
