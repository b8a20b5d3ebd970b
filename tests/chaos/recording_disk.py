"""A FUSE file system that records every change, and what a disk holds when the power is cut after one of them.

`python -m tests.chaos.recording_disk MOUNT BACKING RECORDING` serves MOUNT. Everything is stored below BACKING, and
each change is appended to RECORDING before it is answered: the size of RECORDING is a position in the history. `Disk`
replays a recording up to a position; `Disk.cut_power` then decides what of the unsynced changes reached the disk.

What counts as synced follows Linux file systems, where they differ the weakest of them:

- fsync of a file: its content, its names and the names of the folders above it.
- fsync of a folder: the names in it, and of the folders above it.
- Everything else is lost, kept, or kept in part. Of the content of a file any write may be missing, or be there with
  its length and zeros in place of its bytes. Names of one folder are kept in their order; folders are independent.
"""

import argparse
import os
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tests.fixtures.fuse_disk import PassThrough, serve

_PAGE = 4096  # bytes: a write is torn at such boundaries only

Change = tuple[Any, ...]  # the name of an operation and its arguments


# --- what was recorded ------------------------------------------------------------------------------------------------


def changes(recording: Path, until: int) -> Iterator[Change]:
    """Return the changes of a recording up to the position `until`."""
    with recording.open("rb") as file:
        while file.tell() < until:
            yield pickle.load(file)  # noqa: S301 - our own recording


def positions(recording: Path) -> list[int]:
    """Return every position of a recording: the end of each change."""
    found = []
    with recording.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while file.tell() < end:
            pickle.load(file)  # noqa: S301 - our own recording
            found.append(file.tell())
    return found


# --- what the disk holds ----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Inode:
    """A file, a folder or a symbolic link (`target`). `stored` and `names` are what is on the disk for certain, the
    pending changes are newer."""

    mode: int
    is_folder: bool = False
    target: str | None = None
    stored: bytearray = field(default_factory=bytearray)
    writes: list[tuple[int, bytes] | int] = field(default_factory=list)  # (offset, bytes), or a new length
    names: dict[str, "Inode"] = field(default_factory=dict)
    current: dict[str, "Inode"] = field(default_factory=dict)  # as the running system sees it
    pending: list["Rename"] = field(default_factory=list)
    places: set[tuple["Inode", str]] = field(default_factory=set)  # the current names of this inode

    def sync_content(self) -> None:
        for write in self.writes:
            _apply(self.stored, write)
        self.writes.clear()


@dataclass(eq=False)
class Rename:
    """One atomic change of names: each folder's name gets an inode, or None for no entry."""

    entries: list[tuple[Inode, str, Inode | None]]


class Disk:
    """A disk after some changes."""

    def __init__(self) -> None:
        self.root = Inode(0o755, is_folder=True)
        self._by_number: dict[int, Inode] = {}  # of the backing file system

    @classmethod
    def replay(cls, recording: Path, until: int) -> "Disk":
        disk = cls()
        for name, *args in changes(recording, until):
            getattr(disk, f"_{name}")(*args)
        return disk

    # The changes, as RecordingDisk writes them. A path has no leading slash.

    def _create(self, path: str, number: int, mode: int) -> None:
        self._put(path, self._new(number, Inode(mode)))

    def _mkdir(self, path: str, number: int, mode: int) -> None:
        self._put(path, self._new(number, Inode(mode, is_folder=True)))

    def _symlink(self, path: str, number: int, target: str) -> None:
        self._put(path, self._new(number, Inode(0o777, target=target)))

    def _new(self, number: int, inode: Inode) -> Inode:
        self._by_number[number] = inode
        return inode

    def _link(self, source: str, path: str) -> None:
        self._put(path, self._find(source))

    def _remove(self, path: str) -> None:
        folder, name = self._parent(path)
        self._change([(folder, name, None)])

    def _rename(self, old: str, new: str) -> None:
        inode = self._find(old)
        before, after = self._parent(old), self._parent(new)
        self._change([(*before, None), (*after, inode)])

    def _write(self, number: int, offset: int, content: bytes) -> None:
        self._by_number[number].writes.append((offset, content))

    def _truncate(self, number: int, length: int) -> None:
        self._by_number[number].writes.append(length)

    def _chmod(self, path: str, mode: int) -> None:
        self._find(path).mode = mode

    def _fsync(self, number: int) -> None:
        inode = self._by_number[number]
        inode.sync_content()
        self._sync_names_of(inode)

    def _fsync_folder(self, path: str) -> None:
        folder = self._find(path)
        while folder.pending:
            self._commit(folder.pending[0])
        self._sync_names_of(folder)

    # Names.

    def _find(self, path: str) -> Inode:
        inode = self.root
        for name in PurePosixPath(path).parts:
            inode = inode.current[name]
        return inode

    def _parent(self, path: str) -> tuple[Inode, str]:
        pure = PurePosixPath(path)
        return self._find(str(pure.parent)), pure.name

    def _put(self, path: str, inode: Inode) -> None:
        folder, name = self._parent(path)
        self._change([(folder, name, inode)])

    def _change(self, entries: list[tuple[Inode, str, Inode | None]]) -> None:
        rename = Rename(entries)
        for folder, name, inode in entries:
            if (before := folder.current.get(name)) is not None:
                before.places.discard((folder, name))
            if inode is not None:
                inode.places.add((folder, name))
            _set(folder.current, name, inode)
            if rename not in folder.pending:
                folder.pending.append(rename)

    def _commit(self, rename: Rename) -> None:
        """Store a change of names, after the earlier ones of its folders."""
        for folder, _, _ in rename.entries:
            while rename in folder.pending and folder.pending[0] is not rename:
                self._commit(folder.pending[0])
        for folder, name, inode in rename.entries:
            if rename in folder.pending:
                folder.pending.remove(rename)
            _set(folder.names, name, inode)

    def _sync_names_of(self, inode: Inode) -> None:
        """Store the pending names of an inode, and of the folders above it."""
        for folder, name in list(inode.places):
            for rename in [one for one in folder.pending if (folder, name, inode) in one.entries]:
                self._commit(rename)
            self._sync_names_of(folder)

    def _folders(self, folder: Inode) -> Iterator[Inode]:
        yield folder
        for inode in folder.current.values():
            if inode.is_folder:
                yield from self._folders(inode)

    # The cut.

    def cut_power(self, rng: random.Random) -> None:
        """Decide what of the unsynced changes reached the disk. Some cuts lose all of it, some nothing."""
        kept = rng.choice((0.0, 0.5, 0.5, 1.0))
        for folder in list(self._folders(self.root)):
            for _ in range(len(folder.pending)):
                if not folder.pending or rng.random() >= kept:
                    break
                self._commit(folder.pending[0])
        for inode in self._inodes(self.root, set()):
            for write in inode.writes:
                if rng.random() < kept:
                    _apply(inode.stored, _torn(write, rng) if kept < 1 else write)
                elif kept and not isinstance(write, int) and rng.random() < 0.5:  # the length is there, the bytes not
                    _extend(inode.stored, write[0] + len(write[1]))
            inode.writes.clear()

    def _inodes(self, inode: Inode, seen: set[int]) -> Iterator[Inode]:
        if id(inode) not in seen:
            seen.add(id(inode))
            yield inode
            for below in inode.names.values():
                yield from self._inodes(below, seen)

    def write_to(self, folder: Path) -> None:
        """Write what is on the disk for certain to an empty folder; hard links stay links."""
        places: dict[int, Path] = {}
        self._write_folder(self.root, folder, places)

    def _write_folder(self, inode: Inode, folder: Path, places: dict[int, Path]) -> None:
        for name, below in inode.names.items():
            place = folder / name
            if below.is_folder:
                place.mkdir()
                self._write_folder(below, place, places)
            elif below.target is not None:
                place.symlink_to(below.target)
                continue
            elif id(below) in places:
                place.hardlink_to(places[id(below)])
                continue
            else:
                places[id(below)] = place
                place.write_bytes(below.stored)
            place.chmod(below.mode & 0o7777)


def _set(names: dict[str, Inode], name: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


def _apply(stored: bytearray, write: tuple[int, bytes] | int) -> None:
    if isinstance(write, int):
        del stored[write:]
        _extend(stored, write)
    else:
        offset, content = write
        _extend(stored, offset)
        stored[offset : offset + len(content)] = content


def _extend(stored: bytearray, length: int) -> None:
    stored.extend(bytes(max(0, length - len(stored))))


def _torn(write: tuple[int, bytes] | int, rng: random.Random) -> tuple[int, bytes] | int:
    """Return the first pages of a write, or all of it."""
    if isinstance(write, int) or rng.random() < 0.5:
        return write
    offset, content = write
    pages = (offset + len(content) - 1) // _PAGE - offset // _PAGE
    if pages < 1:
        return write
    return offset, content[: (offset // _PAGE + rng.randint(1, pages)) * _PAGE - offset]


# --- the file system --------------------------------------------------------------------------------------------------


class RecordingDisk(PassThrough):
    """Records every operation that changes something."""

    def __init__(self, backing: Path, log: BinaryIO) -> None:
        super().__init__(backing)
        self._log = log
        self._synchronous: set[int] = set()  # handles that were opened with O_SYNC or O_DSYNC

    def _record(self, *change: Any) -> None:
        self._log.write(pickle.dumps(change))

    def _number(self, path: str) -> int:
        return os.lstat(self.place(path)).st_ino

    def open(self, path: str, flags: int) -> int:
        before = Path(self.place(path)).stat().st_size
        handle = super().open(path, flags)
        if flags & os.O_TRUNC and before:
            self._record("truncate", os.fstat(handle).st_ino, 0)
        return self._opened(handle, flags)

    def create(self, path: str, mode: int, flags: int) -> int:
        handle = super().create(path, mode, flags)
        self._record("create", path[1:], os.fstat(handle).st_ino, mode)
        return self._opened(handle, flags)

    def _opened(self, handle: int, flags: int) -> int:
        if flags & os.O_DSYNC:  # a part of O_SYNC
            self._synchronous.add(handle)
        return handle

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        written = super().write(path, data, offset, fh)
        number = os.fstat(fh).st_ino
        self._record("write", number, offset, data[:written])
        if fh in self._synchronous:
            self._record("fsync", number)
        return written

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        super().truncate(path, length, fh)
        number = os.fstat(fh).st_ino if fh is not None else Path(self.place(path)).stat().st_ino
        self._record("truncate", number, length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._record("fsync", os.fstat(fh).st_ino)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._record("fsync_folder", path[1:])
        return 0

    def release(self, path: str, fh: int) -> int:
        self._synchronous.discard(fh)
        return super().release(path, fh)

    def mkdir(self, path: str, mode: int) -> int:
        super().mkdir(path, mode)
        self._record("mkdir", path[1:], self._number(path), mode)
        return 0

    def symlink(self, target: str, source: str) -> int:
        super().symlink(target, source)
        self._record("symlink", target[1:], self._number(target), source)
        return 0

    def link(self, target: str, source: str) -> int:
        super().link(target, source)
        self._record("link", source[1:], target[1:])
        return 0

    def unlink(self, path: str) -> int:
        super().unlink(path)
        self._record("remove", path[1:])
        return 0

    def rmdir(self, path: str) -> int:
        super().rmdir(path)
        self._record("remove", path[1:])
        return 0

    def rename(self, old: str, new: str) -> int:
        super().rename(old, new)
        self._record("rename", old[1:], new[1:])
        return 0

    def chmod(self, path: str, mode: int) -> int:
        super().chmod(path, mode)
        self._record("chmod", path[1:], mode)
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("mount", "backing", "recording"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    with options.recording.open("ab", buffering=0) as log:
        serve(RecordingDisk(options.backing, log), options.mount)


if __name__ == "__main__":
    main()
