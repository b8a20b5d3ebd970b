"""Reading journals line by line, forwards or backwards, with bounded memory for files of any size. Blocks."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

LOGS, EVENTS = "", "events-"
_NAME = re.compile(r"(events-)?(\d{4}-\d{2}-\d{2})\.jsonl")
BLOCK = 1024**2  # bytes


@dataclass(frozen=True)
class JournalFile:
    """One file of a journal: `prefix` is LOGS or EVENTS, `day` is UTC."""

    path: Path
    prefix: str
    day: date

    @property
    def size(self) -> int:
        """Bytes; 0 when the file was removed since."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def journal_files(directory: Path, prefix: str | None = None) -> list[JournalFile]:
    """Return the files of a journal (None: of both), oldest first. Files with other names are ignored."""
    found = []
    for path in directory.iterdir() if directory.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None or (prefix is not None and (match[1] or "") != prefix) or not path.is_file():
            continue
        try:
            found.append(JournalFile(path, match[1] or "", date.fromisoformat(match[2])))
        except ValueError:
            continue  # 2026-13-40
    return sorted(found, key=lambda file: (file.day, file.prefix))


def read_forwards(path: Path, needles: Sequence[bytes] = (), block: int = BLOCK) -> Iterator[bytes]:
    """Yield the lines that contain every needle, oldest first. A last line without a line break is incomplete and left
    out."""
    rest = b""
    for part in _blocks(path, block):
        text = rest + part
        cut = text.rfind(b"\n") + 1
        rest = text[cut:]
        if all(needle in text for needle in needles):
            yield from _containing(text[:cut].splitlines(), needles)


def read_backwards(path: Path, needles: Sequence[bytes] = (), block: int = BLOCK) -> Iterator[bytes]:
    """Yield the same lines, newest first."""
    rest = b""
    ended = False
    for part in _blocks_from_the_end(path, block):
        text = part + rest
        if not ended:
            text = text[: text.rfind(b"\n") + 1]
            ended = bool(text)
        cut = text.find(b"\n") + 1
        rest = text[:cut]  # its beginning is in the previous block
        if all(needle in text for needle in needles):
            yield from _containing(reversed(text[cut:].splitlines()), needles)
    yield from _containing([rest.rstrip(b"\n")] if rest else [], needles)


class LineCounts:
    """Counts the complete lines of files. Journals only grow: counted parts are not read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, int]] = {}  # inode, bytes, lines

    def count(self, path: Path) -> int:
        try:
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                known, read, lines = self._known.get(path, (inode, 0, 0))
                if known != inode or file.seek(0, os.SEEK_END) < read:
                    read = lines = 0
                file.seek(read)
                while block := file.read(BLOCK):
                    read += len(block)
                    lines += block.count(b"\n")
        except FileNotFoundError:
            self._known.pop(path, None)
            return 0
        self._known[path] = (inode, read, lines)
        return lines


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the record; None for a line that a crash has cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _containing(lines: Iterator[bytes] | Sequence[bytes], needles: Sequence[bytes]) -> Iterator[bytes]:
    return (line for line in lines if all(needle in line for needle in needles))


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(size):
                yield block
    except FileNotFoundError:
        return  # removed by retention


def _blocks_from_the_end(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - size)
                file.seek(start)
                yield file.read(end - start)
                end = start
    except FileNotFoundError:
        return
