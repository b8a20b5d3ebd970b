"""Reading the texts of a video from the tree, for the index: its name, what its uploader wrote, what is said in it.

Blocks (use a thread).
"""

from pathlib import Path

import structlog

from services.common.models import FileRole
from services.storage.archive.fingerprint import Stamps, stamp_of
from services.storage.archive.video_metadata_file import read_video_file
from services.storage.formats.captions import CaptionsUnreadable, Line, read_vtt
from services.storage.formats.layout import Tree
from services.storage.formats.manifest import Record
from services.storage.index.fts import Texts, Track

_log = structlog.get_logger()


def stamps_of(tree: Tree, record: Record, stamp: str) -> Stamps:
    """Those of the files that `read_texts` would read now. `stamp`: of the state in which `record` was read."""
    described = stamp_of(tree.video_metadata(record.video_id)) or ""
    captions = [f"{language}={stamp_of(path)}" for language, path in _caption_files(tree, record)]
    return Stamps(stamp, described, " ".join(captions))


def read_texts(tree: Tree, record: Record, stamp: str, known: Stamps | None = None) -> Texts | None:
    """None where the index knows just these states (`known`). The stamps are taken before the files are read: what is
    written meanwhile is noticed as another state."""
    stamps = stamps_of(tree, record, stamp)
    if stamps == known:
        return None
    same_captions = known is not None and (known.format, known.captions) == (stamps.format, stamps.captions)
    tracks = None if same_captions else tuple(_tracks(tree, record))
    own = record.metadata
    newest = read_video_file(tree.video_metadata(record.video_id)) or own
    return Texts(
        stamps=stamps,
        title=_names(own.title, newest.title),
        channel=_names(own.channel, newest.channel),
        description=newest.description or own.description,
        tracks=tracks,
    )


def _names(*names: str | None) -> str:
    """A video that was renamed since it was archived is found by either name."""
    return "\n".join(dict.fromkeys(name for name in names if name))


def _tracks(tree: Tree, record: Record) -> list[Track]:
    found = [(language, _lines(path)) for language, path in _caption_files(tree, record)]
    return [Track(language, lines) for language, lines in found if lines]


def _lines(path: Path) -> tuple[Line, ...]:
    """Nothing of a file that cannot be read, or is no captions (which is logged)."""
    try:
        return tuple(read_vtt(path.read_text(encoding="utf-8", errors="replace")))
    except FileNotFoundError:
        return ()
    except (CaptionsUnreadable, OSError) as error:
        _log.warning("captions_unreadable", path=str(path), error_message=str(error))
        return ()


def _caption_files(tree: Tree, record: Record) -> list[tuple[str, Path]]:
    """(language, path) of the caption files that the record names, in the order of languages."""
    folder = tree.video_dir(record.video_id)
    captions = {entry.language: name for name, entry in record.fixity.items() if entry.role is FileRole.CAPTION}
    return sorted((language, folder / name) for language, name in captions.items() if language)
