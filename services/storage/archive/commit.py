"""Crash-safe commit of one video's files: after a kill at any moment, the archive has the old state or the new one
(ARCHITECTURE.md: Take-in).

Every file is staged as a hidden sibling of its destination. A hidden intent file, which is the new `_metadata.json`,
then states that all of them are staged; they are renamed; the intent is renamed last, and that is the commit. `recover`
rolls an intent forward, or removes our hidden files. No visible file is ever deleted, only replaced by its successor.

All functions block (use a thread), and their callers hold the lock of (root, video).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from bus.fault_injection import fault_point
from services.common.domain.archive import FileFact
from services.common.domain.failures import FailureKind
from services.common.events import DownloadCompleted
from services.common.infra.files import make_folders, set_aside, set_mode, sync_directory
from services.storage.archive.manifest_file import owner_of, read_manifest
from services.storage.archive.staging import StopCheck, TakeInFailed, remove_source, stage
from services.storage.formats.layout import (
    CAPTIONS,
    ArchiveTree,
    HiddenFile,
    archive_fact,
    dispatch_tag,
    hidden_path,
    parse_hidden,
    source_path,
)
from services.storage.formats.manifest import MEDIA, Holding, Manifest, keep_better, merge, with_failed_look

_log = structlog.get_logger()


def _never() -> bool:
    return False


@dataclass(frozen=True)
class RecoveryResult:
    """What a recovery did to one video: whether an intent was rolled forward, how many hidden files were removed."""

    rolled_forward: bool = False
    removed: int = 0


@dataclass(frozen=True)
class _Move:
    source: Path
    place: Path
    fact: FileFact  # with its name in the archive


def take_in(
    tree: ArchiveTree, event: DownloadCompleted, *, now: datetime, trace_id: str, stop: StopCheck = _never
) -> Manifest:
    """Take a delivery in and return the new manifest. A delivery that is taken in already changes nothing.

    Raises TakeInFailed, StorageFull, InvalidRequest (a name that leads out of the folder) or OSError; then no visible
    file has changed. `stop` ends a long copy early, with TakeInFailed.
    """
    path = tree.manifest(event.video_id)
    _check_owner(path, event.video_id)
    recover(tree, event.video_id)
    held = read_manifest(path)
    _expect_media(held, event)
    if held is not None:
        held, event = keep_better(held, event, present_files(path.parent, held))
    moves = list(_moves(path.parent, event))
    if held is not None and _is_repeat(held, event, moves):
        _remove_sources(event, moves)
        return held
    tag = dispatch_tag(event.dispatch_id)
    try:
        _make_folders(path.parent, moves, tree.dir_mode)
        _stage_all(event, moves, held, tag, stop, tree.file_mode)
        manifest = merge(held, event, now=now, trace_id=trace_id)
        _write_intent(path, manifest, tag, tree.file_mode)
    except BaseException:
        recover(tree, event.video_id)
        raise
    if held is None:
        set_aside(path)
    _roll_forward(path, manifest, tag)
    _remove_sources(event, moves)
    return manifest


def _expect_media(held: Manifest | None, event: DownloadCompleted) -> None:
    """Refuse a delivery without the media that it was to bring. A look at a video that is held brings them only if they
    are better."""
    needed = event.wanted.media and (held is None or event.wanted.look is None)
    if needed and not any(fact.role in MEDIA for fact in event.files):
        raise TakeInFailed(f"{event.video_id} came without its media", reason="no_media")


def note_failed_look(tree: ArchiveTree, video_id: str, why: str, *, now: datetime, key: str) -> None:
    """Record in the manifest that a look at a held video failed; `key` identifies the look. Raises OSError."""
    path = tree.manifest(video_id)
    recover(tree, video_id)
    held = read_manifest(path)
    noted = with_failed_look(held, why, now=now, key=key) if held is not None else None
    if noted is None or noted is held:
        return
    tag = dispatch_tag(key)
    try:
        _write_intent(path, noted, tag, tree.file_mode)
    except BaseException:
        recover(tree, video_id)
        raise
    hidden_path(path, tag, "intent").replace(path)
    sync_directory(path.parent)


def _check_owner(path: Path, video_id: str) -> None:
    """Refuse a video whose folder is that of another one: a disk that ignores case has one folder for both."""
    other = owner_of(path)
    if other not in {None, video_id} and str(other).casefold() == video_id.casefold():
        raise TakeInFailed(
            f"{path.parent} holds the video {other}, whose id differs from {video_id} in upper and lower case only,"
            " which this disk ignores: archive one of them to another disk (-o)",
            reason="name_taken",
            kind=FailureKind.LOCAL,
        )


def recover(tree: ArchiveTree, video_id: str) -> RecoveryResult:
    """Finish or clear an interrupted take-in."""
    path = tree.manifest(video_id)
    found = list(_hidden_files(path.parent, video_id))
    rolled = False
    for left, one in found:
        if one.stage == "intent":
            rolled = _finish(path, left, one.tag) or rolled
    removed = 0
    for left, _one in found:
        if os.path.lexists(left):
            left.unlink()
            removed += 1
    _remove_empty(path.parent)
    if rolled or removed:
        _log.info("take_in_recovered", root=tree.key, video_id=video_id, rolled_forward=rolled, removed=removed)
    return RecoveryResult(rolled, removed)


def unfinished_videos(tree: ArchiveTree, video_ids: Iterable[str]) -> list[str]:
    """Return the videos that have hidden files of ours."""
    return [video_id for video_id in video_ids if any(_hidden_files(tree.video_dir(video_id), video_id))]


def present_files(folder: Path, holding: Holding) -> tuple[str, ...]:
    """Return the names of the files that exist with the right size. Checksums are not computed."""
    return tuple(name for name, entry in holding.fixity.items() if _size(folder / name) == entry.size)


def _moves(folder: Path, event: DownloadCompleted) -> Iterator[_Move]:
    directory = Path(event.directory)
    for fact in event.files:
        there = archive_fact(event.video_id, fact)
        yield _Move(source_path(directory, fact.name), folder / there.name, there)


def _is_repeat(held: Manifest, event: DownloadCompleted, moves: list[_Move]) -> bool:
    known = event.dispatch_id in {*(one.dispatch_id for one in held.take_ins), *(one.dispatch_id for one in held.looks)}
    return known and all(_is_in_place(held, move) for move in moves)


def _is_in_place(held: Manifest | None, move: _Move) -> bool:
    entry = held.fixity.get(move.fact.name) if held else None
    return entry is not None and entry.sha256 == move.fact.sha256 and _size(move.place) == entry.size


def _make_folders(folder: Path, moves: list[_Move], mode: int | None) -> None:
    for each in (folder, *(move.place.parent for move in moves)):
        if each.is_symlink():
            raise TakeInFailed(
                f"{each} is a symbolic link: nothing is written through it; put a folder in its place",
                reason="not_a_folder",
                kind=FailureKind.LOCAL,
            )
        if not each.exists():
            make_folders(each, mode)


def _stage_all(
    event: DownloadCompleted, moves: list[_Move], held: Manifest | None, tag: str, stop: StopCheck, mode: int | None
) -> None:
    for number, move in enumerate(moves, start=1):
        fault_point(f"storage.before_stage_{number}")
        if os.path.lexists(move.source) or not _is_in_place(held, move):
            hidden = hidden_path(move.place, tag)
            stage(Path(event.directory), move.source, hidden, move.fact, stop)
            if mode is not None:
                set_mode(hidden, mode)
    _sync(moves)
    fault_point("storage.after_stage")


def _write_intent(path: Path, manifest: Manifest, tag: str, mode: int | None) -> None:
    half = hidden_path(path, tag, "tmp")
    half.unlink(missing_ok=True)
    with half.open("xb") as file:  # which follows no link
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(manifest.model_dump_json(indent=2, exclude_none=True).encode())
        file.flush()
        os.fsync(file.fileno())
    fault_point("storage.before_intent")
    half.replace(hidden_path(path, tag, "intent"))
    sync_directory(path.parent)
    fault_point("storage.after_intent")


def _roll_forward(path: Path, manifest: Manifest, tag: str) -> None:
    places = [path.parent / name for name in manifest.take_ins[-1].files]
    for number, place in enumerate(places, start=1):
        staged = hidden_path(place, tag)
        if staged.exists():
            staged.replace(place)
        fault_point(f"storage.after_rename_{number}")
    for folder in {place.parent for place in places}:
        sync_directory(folder)
    fault_point("storage.before_commit")
    hidden_path(path, tag, "intent").replace(path)
    sync_directory(path.parent)
    fault_point("storage.after_commit")


def _finish(path: Path, intent: Path, tag: str) -> bool:
    """Roll `intent` forward if all its files are there. Return False otherwise: then the current state stays."""
    manifest = read_manifest(intent)
    if manifest is None or not manifest.take_ins:
        return False
    for name in manifest.take_ins[-1].files:
        place, entry = path.parent / name, manifest.fixity.get(name)
        staged = _size(hidden_path(place, tag))
        if entry is None or (_size(place) if staged is None else staged) != entry.size:
            _log.error("intent_without_files", path=str(intent), file=name)
            return False
    _roll_forward(path, manifest, tag)
    return True


def _hidden_files(folder: Path, video_id: str) -> Iterator[tuple[Path, HiddenFile]]:
    for each in (folder, folder / CAPTIONS):
        if each.is_symlink():
            return
        try:
            names = sorted(entry.name for entry in os.scandir(each))
        except FileNotFoundError:
            continue
        for name in names:
            if one := parse_hidden(name, video_id):
                yield each / name, one


def _remove_empty(folder: Path) -> None:
    for each in (folder / CAPTIONS, folder):
        if each.is_dir() and not each.is_symlink() and not any(each.iterdir()):
            each.rmdir()


def _sync(moves: list[_Move]) -> None:
    for folder in {move.place.parent for move in moves}:
        sync_directory(folder)


def _remove_sources(event: DownloadCompleted, moves: list[_Move]) -> None:
    for move in moves:
        remove_source(Path(event.directory), move.source, move.place)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
