"""Reads the searchable texts of a video from the tree: titles, channel, description, captions.

Blocks (use a thread).
"""

from pathlib import Path

import structlog

from services.common.domain.archive import FileRole
from services.common.infra.no_links import read_below
from services.storage.archive.fingerprint import TextFingerprints, fingerprint_of
from services.storage.archive.video_metadata_file import read_video_file
from services.storage.formats.captions import CaptionLine, CaptionsUnreadable, parse_vtt
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.manifest import Manifest
from services.storage.index.fts import CaptionTrack, VideoTexts

_log = structlog.get_logger()


def fingerprints_of(tree: ArchiveTree, manifest: Manifest, fingerprint: str) -> TextFingerprints:
    """Return the fingerprints of the files that `read_texts` would read now. `fingerprint`: that of `manifest`."""
    described = fingerprint_of(tree.video_metadata(manifest.video_id)) or ""
    captions = [f"{language}={fingerprint_of(path)}" for language, path in _caption_files(tree, manifest)]
    return TextFingerprints(fingerprint, described, " ".join(captions))


def read_texts(
    tree: ArchiveTree, manifest: Manifest, fingerprint: str, known: TextFingerprints | None = None
) -> VideoTexts | None:
    """Return the texts, or None when the index has them in this state (`known`). Fingerprints are taken before the
    files are read, so that a later write counts as another state."""
    fingerprints = fingerprints_of(tree, manifest, fingerprint)
    if fingerprints == known:
        return None
    same_captions = known is not None and (known.format, known.captions) == (fingerprints.format, fingerprints.captions)
    tracks = None if same_captions else tuple(_tracks(tree, manifest))
    own = manifest.metadata
    newest = read_video_file(tree.video_metadata(manifest.video_id)) or own
    return VideoTexts(
        fingerprints=fingerprints,
        title=_join_names(own.title, newest.title),
        channel=_join_names(own.channel, newest.channel),
        description=newest.description or own.description,
        tracks=tracks,
    )


def _join_names(*names: str | None) -> str:
    """Join the names of a video that was renamed after it was archived, so that a search finds it by each of them."""
    return "\n".join(dict.fromkeys(name for name in names if name))


def _tracks(tree: ArchiveTree, manifest: Manifest) -> list[CaptionTrack]:
    found = [(language, _lines(tree, path)) for language, path in _caption_files(tree, manifest)]
    return [CaptionTrack(language, lines) for language, lines in found if lines]


def _lines(tree: ArchiveTree, path: Path) -> tuple[CaptionLine, ...]:
    """Return no lines for a file that (logged) cannot be read or is not valid."""
    try:
        return tuple(parse_vtt(read_below(tree.videos, path).decode(errors="replace")))
    except FileNotFoundError:
        return ()
    except (CaptionsUnreadable, OSError) as error:
        _log.warning("captions_unreadable", path=str(path), error_message=str(error))
        return ()


def _caption_files(tree: ArchiveTree, manifest: Manifest) -> list[tuple[str, Path]]:
    """Return (language, path) of the caption files that the manifest lists, sorted by language."""
    folder = tree.video_dir(manifest.video_id)
    captions = {entry.language: name for name, entry in manifest.fixity.items() if entry.role is FileRole.CAPTION}
    return sorted((language, folder / name) for language, name in captions.items() if language)
