"""Holdings as the catalogue stores them: compressed JSON, and the two facts that lists are filtered by. Pure.

The JSON of a holding is mostly the same names. The dictionary makes it three times smaller than compression alone; it
must never change, since stored rows need it.
"""

import sqlite3
import zlib

from services.common.domain.archive import FileRole
from services.common.infra.sqlite_files import UnreadableRow, parse_row
from services.storage.formats.manifest import MEDIA, Holding

_DICTIONARY = (
    b'"looked_at":"2026-","listed_seconds":"reasons":["lower","formats_missing","captions_absent","captions_refused",'
    b'"stream_ended","length"],"480p"720p"2160p"best"audio"m4a"role":"audio","absent":["captions/de","thumbnail"],'
    b'"left_out":["en"],"captions":["en","de","fr","es","pt","ja","ko"],"final":false,'
    b'{"video_id":"","fixity":{".mp4":{"role":"video","size":1,"sha256":"","asked":["1080p"],"dispatch_id":"",'
    b'"archived_at":"2026-01-01T00:00:00.000000Z"},"_thumb.jpg":{"role":"thumbnail","size":2,"sha256":"","asked":[],'
    b'"dispatch_id":"","archived_at":"2026-01-01T00:00:00.000000Z"},".info.json":{"role":"info","size":3,"sha256":"",'
    b'"asked":[],"dispatch_id":"","archived_at":"2026-01-01T00:00:00.000000Z"},"captions/_en.vtt":{"role":"caption",'
    b'"size":4,"sha256":"","language":"en","asked":[],"dispatch_id":"","archived_at":"2026-01-01T00:00:00.000000Z"}},'
    b'"asked":{"qualities":["1080p"],"thumbnail":true,"captions":["en"],"metadata":true},"absent":[],"revisit":{'
    b'"reasons":[],"resolution":1080,"offered":1080,"final":true,"duration_seconds":,"captions":[],"left_out":[],'
    b'"since":"2026-01-01T00:00:00.000000Z"}}'
)


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions that the migration to version 4 calls."""
    connection.create_function("pack_holding", 1, _pack_text, deterministic=True)
    connection.create_function("lacks_something", 1, lambda text: lacks_something(_read(text)), deterministic=True)
    connection.create_function("may_get_better", 1, lambda text: may_get_better(_read(text)), deterministic=True)


def pack(holding: Holding) -> bytes:
    return _pack_text(holding.model_dump_json(exclude_none=True))


def unpack_text(packed: bytes) -> str:
    """Return the JSON. Raises UnreadableRow."""
    inflated = zlib.decompressobj(zdict=_DICTIONARY)
    try:
        return inflated.decompress(packed).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise UnreadableRow(f"a row is unreadable: {error}") from error


def unpack(packed: bytes) -> Holding:
    """Raises UnreadableRow."""
    return _read(unpack_text(packed))


def lacks_something(holding: Holding) -> bool:
    """Return whether something that was requested is absent upstream, or was never delivered. A replaced quality is not
    missing."""
    roles = {entry.role for entry in holding.fixity.values()}
    languages = {entry.language for entry in holding.fixity.values()}
    return (
        bool(holding.absent)
        or (bool(holding.asked.qualities) and roles.isdisjoint(MEDIA))
        or (holding.asked.thumbnail and FileRole.THUMBNAIL not in roles)
        or not languages.issuperset(holding.asked.captions)
    )


def may_get_better(holding: Holding) -> bool:
    return holding.revisit is not None and bool(holding.revisit.reasons)


def _read(text: str) -> Holding:
    return parse_row(Holding.model_validate_json, text)


def _pack_text(text: str) -> bytes:
    deflated = zlib.compressobj(9, zdict=_DICTIONARY)
    return deflated.compress(text.encode()) + deflated.flush()
