"""Reading a video's files into a row of the catalogue. Blocks: use a thread."""

from dataclasses import replace

from services.common.domain.archive import FileRole
from services.common.errors import InvalidRequest
from services.storage.archive.fingerprint import TEXTS_FORMAT, TextFingerprints, fingerprint_of
from services.storage.archive.manifest_file import read_manifest
from services.storage.formats.layout import ArchiveTree, file_name
from services.storage.index.catalogue import IndexEntry
from services.storage.index.documents import fingerprints_of, read_texts


def read_entry(tree: ArchiveTree, video_id: str) -> IndexEntry | None:
    """Return the manifest of one video with its fingerprint, or None. The fingerprint is taken first, so that a write
    in between makes it stale."""
    path = tree.manifest(video_id)
    fingerprint = fingerprint_of(path)
    manifest = read_manifest(path) if fingerprint else None
    return IndexEntry(tree.key, fingerprint, manifest) if fingerprint and manifest else None


def read_entry_with_texts(tree: ArchiveTree, video_id: str, known: TextFingerprints | None) -> IndexEntry | None:
    """Return the same with the video's texts. `known`: the fingerprints of the indexed texts."""
    entry = read_entry(tree, video_id)
    return entry and replace(entry, texts=read_texts(tree, entry.manifest, entry.fingerprint, known))


def is_unchanged(tree: ArchiveTree, video_id: str, fingerprint: str, known: TextFingerprints) -> bool:
    """Return whether manifest, metadata file and captions are in the state that was indexed. `fingerprint`: of the
    manifest. None of them is read: the captions of an unchanged manifest are those that were indexed."""
    if known.format != TEXTS_FORMAT or known.manifest != fingerprint:
        return False
    folder = tree.video_dir(video_id)
    if folder.is_symlink() or fingerprint_of(tree.manifest(video_id), of_link=True) != fingerprint:
        return False  # a link is not followed
    if (fingerprint_of(tree.video_metadata(video_id)) or "") != known.metadata:
        return False
    captions = (one.partition("=") for one in known.captions.split())
    try:
        return all(
            str(fingerprint_of(folder / file_name(video_id, FileRole.CAPTION, language))) == state
            for language, _, state in captions
        )
    except InvalidRequest:  # a language that we give no file name to
        return False


def is_outdated(tree: ArchiveTree, entry: IndexEntry) -> bool:
    """Return whether the files of the video's texts were written since `entry` was read."""
    fingerprint = fingerprint_of(tree.manifest(entry.manifest.video_id))
    known = entry.texts and entry.texts.fingerprints
    return known is not None and fingerprint is not None and fingerprints_of(tree, entry.manifest, fingerprint) != known
