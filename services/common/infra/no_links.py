"""Opening files below a folder that others may write to: no part of the path below the folder may be a symbolic link.

All calls block: use a thread.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotAFile(OSError):
    """A link, a folder or a device was found in place of a file, or a link in place of a folder."""

    def __init__(self, what: str, path: Path) -> None:
        super().__init__(errno.ELOOP, f"{what}, which is not opened", str(path))


@contextmanager
def folder_below(base: Path, path: Path) -> Iterator[int]:
    """Open the folder `path`, which is `base` or below it, and yield its descriptor.

    Links lead to `base`, not further. Raises NotAFile, FileNotFoundError, NotADirectoryError or another OSError.
    """
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = base
        for part in path.relative_to(base).parts:
            place /= part
            inner = _open(place, descriptor, os.O_DIRECTORY)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def open_below(base: Path, path: Path) -> int:
    """Open the regular file `path` below `base` for reading. Raises as `folder_below`."""
    with folder_below(base, path.parent) as folder:
        if not stat.S_ISREG(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode):  # a pipe would block
            raise NotAFile("a symbolic link" if _is_link(path.name, folder) else "not a regular file", path)
        descriptor = _open(path, folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile("not a regular file", path)
    return descriptor


def read_below(base: Path, path: Path) -> bytes:
    """Return the content of the regular file `path` below `base`. Raises as `folder_below`."""
    with os.fdopen(open_below(base, path), "rb") as file:
        return file.read()


def _open(path: Path, folder: int, flags: int = 0) -> int:
    if path.name == "..":
        raise NotAFile("a parent folder", path)
    try:
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError:
        if _is_link(path.name, folder):
            raise NotAFile("a symbolic link", path) from None
        raise


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
