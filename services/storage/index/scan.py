"""Reading a video's files into a row of the catalogue. Blocks: use a thread."""

from dataclasses import replace

from services.storage.archive.fingerprint import TextFingerprints, fingerprint_of
from services.storage.archive.manifest_file import read_manifest
from services.storage.formats.layout import ArchiveTree
from services.storage.index.catalogue import IndexEntry
from services.storage.index.documents import fingerprints_of, read_texts


def read_entry(tree: ArchiveTree, video_id: str) -> IndexEntry | None:
    """The record of one video with its stamp. The stamp is taken first: a write in between makes it stale."""
    path = tree.manifest(video_id)
    fingerprint = fingerprint_of(path)
    manifest = read_manifest(path) if fingerprint else None
    return (
        IndexEntry(tree.key, fingerprint, manifest)
        if fingerprint and manifest and manifest.video_id == video_id
        else None
    )


def read_entry_with_texts(tree: ArchiveTree, video_id: str, known: TextFingerprints | None) -> IndexEntry | None:
    """The same, with what can be found of the video; `known`: what the index has of it already."""
    entry = read_entry(tree, video_id)
    return entry and replace(entry, texts=read_texts(tree, entry.manifest, entry.fingerprint, known))


def is_outdated(tree: ArchiveTree, entry: IndexEntry) -> bool:
    """Whether the video's texts were written anew since they were read for `entry`."""
    fingerprint = fingerprint_of(tree.manifest(entry.manifest.video_id))
    known = entry.texts and entry.texts.fingerprints
    return known is not None and fingerprint is not None and fingerprints_of(tree, entry.manifest, fingerprint) != known
