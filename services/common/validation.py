"""Validation of ids, storage paths (SPEC: Validation Rules) and texts. Pure, except validate_storage_path."""

import os
import re
from pathlib import Path

VIDEO_ID_PATTERN = r"^[a-zA-Z0-9_-]{11}$"
PLAYLIST_ID_PATTERN = r"^(PL[a-zA-Z0-9_-]{11}|(PL|UU|FL|RD|OL)[a-zA-Z0-9_-]{16,41})$"
CHANNEL_ID_PATTERN = r"^UC[a-zA-Z0-9_-]{22}$"


def validate_video_id(video_id: str) -> bool:
    return _whole(VIDEO_ID_PATTERN, video_id)


def validate_playlist_id(playlist_id: str) -> bool:
    return _whole(PLAYLIST_ID_PATTERN, playlist_id)


def validate_channel_id(channel_id: str) -> bool:
    return _whole(CHANNEL_ID_PATTERN, channel_id)


def validate_storage_path(path: str) -> bool:
    """Return whether a path is absolute or starts with `~/`, has no `..`, and its nearest existing folder is
    writable."""
    if "\0" in path or not (path.startswith(("/", "~/"))) or ".." in Path(path).parts:
        return False
    folder = Path(path).expanduser()
    try:
        while not folder.exists():
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK)
    except OSError:  # a name that is too long, a folder without permission
        return False


def decode_utf8(data: bytes) -> str:
    """Decode a file that a person wrote, with or without a byte order mark. Raises ValueError with the remedy."""
    if b"\0" in data:
        raise ValueError("it is not UTF-8 but probably UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {data[error.start]:#x} at {error.start}): save it as UTF-8") from error


def _whole(pattern: str, text: str) -> bool:
    # fullmatch: `$` alone would let a trailing newline pass
    return re.fullmatch(pattern, text) is not None
