"""Staging one file beside its destination, verified: linked where the disk allows it, copied where it does not."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from services.common.domain.archive import FileFact
from services.common.domain.failures import FailureKind
from services.common.errors import StorageFull, YTArchiveError
from services.common.infra.disk_full import NO_SPACE
from services.common.infra.files import sha256
from services.common.infra.no_links import NotAFile, folder_below, open_below

StopCheck = Callable[[], bool]  # called between two chunks of a copy

_CHUNK = 1024 * 1024
_NO_LINKS = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
)


class TakeInFailed(YTArchiveError):
    """A delivery cannot be taken in. `reason` is an identifier, `kind` decides about a retry."""

    def __init__(self, message: str, *, reason: str, kind: FailureKind = FailureKind.PASSING) -> None:
        super().__init__(message, reason=reason)
        self.reason = reason
        self.kind = kind


def stage(directory: Path, source: Path, place: Path, fact: FileFact, stop: StopCheck) -> None:
    """Store the bytes of `source` at `place` durably, and verify that they match `fact`.

    `source` is below `directory`, and neither is reached by a link that lies below the parent of `directory`: what is
    outside is never taken in. A hard link keeps the source, so that a crash loses nothing; the commit removes it.
    Raises TakeInFailed when the source is missing, not a regular file or different, StorageFull when the disk is full.
    """
    place.unlink(missing_ok=True)
    try:
        descriptor = _open_source(directory, source, fact)
        try:
            digest = _link(directory, source, descriptor, place) or _copy(source, descriptor, place, stop)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(f"no space for {fact.name} on the disk of {place.parent}") from error
        raise
    if digest != fact.sha256:
        raise TakeInFailed(f"{source} is not what was announced: its sha256 is {digest}", reason="hash_mismatch")


def _open_source(directory: Path, source: Path, fact: FileFact) -> int:
    try:
        descriptor = open_below(directory.parent, source)
    except NotAFile as error:
        raise not_taken_in(error) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TakeInFailed(f"{source} is gone, and the archive does not hold it", reason="source_missing") from error
    if (size := os.fstat(descriptor).st_size) != fact.size:
        os.close(descriptor)
        raise TakeInFailed(f"{source} has {size} bytes, {fact.size} were announced", reason="hash_mismatch")
    return descriptor


def not_taken_in(error: NotAFile) -> TakeInFailed:
    """Return the error of a delivery in which a link, a folder or a device stands in place of a file."""
    return TakeInFailed(
        f"{error.filename} is {error.strerror}: remove it, and start the download again",
        reason="not_a_file",
        kind=FailureKind.LOCAL,
    )


def _link(directory: Path, source: Path, descriptor: int, place: Path) -> str | None:
    """Return the checksum of the linked file, or None where this disk (or pair of disks) has no links."""
    try:
        with folder_below(directory.parent, source.parent) as folder:
            os.link(source.name, place, src_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return None
        raise
    if not os.path.samestat(place.lstat(), os.fstat(descriptor)):
        place.unlink()
        raise TakeInFailed(f"{source} was replaced while it was taken in", reason="hash_mismatch")
    os.fsync(descriptor)
    return sha256(place)


def _copy(source: Path, descriptor: int, place: Path, stop: StopCheck) -> str:
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb", closefd=False) as reader, place.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            if stop():
                raise TakeInFailed(f"the copy of {source} was stopped", reason="stopped")
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def remove_source(directory: Path, source: Path, place: Path) -> None:
    """Remove the source if it is the same file as `place`: nothing may write to the archive through it."""
    try:
        with folder_below(directory.parent, source.parent) as folder:
            found = os.stat(source.name, dir_fd=folder, follow_symlinks=False)
            if os.path.samestat(found, place.lstat()):
                os.unlink(source.name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return
