"""Reading a video's files into a row of the catalogue. Blocks: use a thread."""

from dataclasses import replace

from services.storage.archive.fingerprint import Stamps, stamp_of
from services.storage.archive.manifest_file import read_record
from services.storage.formats.layout import Tree
from services.storage.index.catalogue import Indexed
from services.storage.index.documents import read_texts, stamps_of


def index(tree: Tree, video_id: str) -> Indexed | None:
    """The record of one video with its stamp. The stamp is taken first: a write in between makes it stale."""
    path = tree.record(video_id)
    stamp = stamp_of(path)
    record = read_record(path) if stamp else None
    return Indexed(tree.key, stamp, record) if stamp and record and record.video_id == video_id else None


def index_texts(tree: Tree, video_id: str, known: Stamps | None) -> Indexed | None:
    """The same, with what can be found of the video; `known`: what the index has of it already."""
    entry = index(tree, video_id)
    return entry and replace(entry, texts=read_texts(tree, entry.record, entry.stamp, known))


def is_outdated(tree: Tree, entry: Indexed) -> bool:
    """Whether the video's texts were written anew since they were read for `entry`."""
    stamp = stamp_of(tree.record(entry.record.video_id))
    known = entry.texts and entry.texts.stamps
    return known is not None and stamp is not None and stamps_of(tree, entry.record, stamp) != known
