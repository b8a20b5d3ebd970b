"""Staging one file beside its destination, verified: linked where the disk allows it, copied where it does not."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from services.common.domain.archive import FileFact
from services.common.domain.failures import FailureKind
from services.common.errors import StorageFull, YTArchiveError
from services.common.infra.disk_full import NO_SPACE
from services.common.infra.files import sha256

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


def stage(source: Path, place: Path, fact: FileFact, stop: StopCheck) -> None:
    """Store the bytes of `source` at `place` durably, and verify that they match `fact`.

    A link keeps the source, so that a crash loses nothing; the commit removes it. Raises TakeInFailed when the source
    is missing or differs, StorageFull when the disk is full.
    """
    place.unlink(missing_ok=True)
    try:
        _expect_file(source, fact)
        digest = _link(source, place) or _copy(source, place, stop)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(f"no space for {fact.name} on the disk of {place.parent}") from error
        raise
    if digest != fact.sha256:
        raise TakeInFailed(f"{source} is not what was announced: its sha256 is {digest}", reason="hash_mismatch")


def _expect_file(source: Path, fact: FileFact) -> None:
    try:
        found = source.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TakeInFailed(f"{source} is gone, and the archive does not hold it", reason="source_missing") from error
    if not stat.S_ISREG(found.st_mode):
        raise TakeInFailed(f"{source} is not a regular file", reason="source_missing")
    if found.st_size != fact.size:
        raise TakeInFailed(f"{source} has {found.st_size} bytes, {fact.size} were announced", reason="hash_mismatch")


def _link(source: Path, place: Path) -> str | None:
    """Return the checksum of the linked file, or None where this disk (or pair of disks) has no links."""
    try:
        place.hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return None
        raise
    with place.open("rb") as file:
        os.fsync(file.fileno())
    return sha256(place)


def _copy(source: Path, place: Path, stop: StopCheck) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, place.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            if stop():
                raise TakeInFailed(f"the copy of {source} was stopped", reason="stopped")
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def remove_source(source: Path, place: Path) -> None:
    """Remove the source if it is the same file as `place`: nothing may write to the archive through it."""
    try:
        if source.samefile(place):
            source.unlink()
    except FileNotFoundError:
        return
