"""The validation rules of the specification."""

from pathlib import Path

import pytest

from services.common.validation import (
    validate_album_id,
    validate_channel_id,
    validate_playlist_id,
    validate_storage_path,
    validate_video_id,
)
from tests.fixtures.other_user import call_as_other_user, common_folders


@pytest.mark.parametrize(
    ("video_id", "valid"),
    [
        ("dQw4w9WgXcQ", True),
        ("-_-_-_-_-_-", True),
        ("invalid", False),
        ("dQw4w9WgXcQ\n", False),
        ("dQw4w9WgXcQx", False),
        ("dQw4w9WgXc!", False),
        ("dQw4w9WgXcÄ", False),
        ("../../../et", False),
        ("", False),
    ],
)
def test_validate_video_id(video_id: str, valid: bool) -> None:
    assert validate_video_id(video_id) is valid


@pytest.mark.parametrize(
    ("playlist_id", "valid"),
    [
        ("PL" + "a" * 16, True),
        ("PL" + "a" * 41, True),
        ("UU" + "a" * 22, True),
        ("FL" + "a" * 22, True),
        ("RD" + "a" * 16, True),
        ("OLAK5uy_" + "a" * 33, True),
        ("PL" + "a" * 15, False),
        ("PL" + "a" * 42, False),
        ("XX" + "a" * 22, False),
        ("pl" + "a" * 22, False),
        ("PL" + "a" * 22 + "\n", False),
        ("PL" + "a" * 20 + "/.", False),
        ("", False),
    ],
)
def test_validate_playlist_id(playlist_id: str, valid: bool) -> None:
    assert validate_playlist_id(playlist_id) is valid


@pytest.mark.parametrize(("album_id", "valid"), [("MPREb_" + "a" * 11, True), ("MPREb_", False), ("a" * 17, False)])
def test_validate_album_id(album_id: str, valid: bool) -> None:
    assert validate_album_id(album_id) is valid


@pytest.mark.parametrize(
    ("channel_id", "valid"), [("UC" + "a" * 22, True), ("UC" + "a" * 21, False), ("UU" + "a" * 22, False)]
)
def test_validate_channel_id(channel_id: str, valid: bool) -> None:
    assert validate_channel_id(channel_id) is valid


def test_validate_storage_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").write_text("x")
    for path, valid in {
        str(tmp_path): True,
        f"{tmp_path}/not/yet/there": True,
        "~/archive": True,
        "relative/path": False,
        "~other/archive": False,
        f"{tmp_path}/../elsewhere": False,
        f"{tmp_path}/nul\0byte": False,
        f"{tmp_path}/file": False,
        f"{tmp_path}/file/below": False,
        "": False,
    }.items():
        assert validate_storage_path(path) is valid, path


@pytest.mark.claim("13.3", "14.3")
def test_a_storage_path_in_a_read_only_folder_is_invalid() -> None:
    with common_folders() as (writable, read_only):
        assert call_as_other_user(validate_storage_path, f"{writable}/archive") is True
        assert call_as_other_user(validate_storage_path, f"{read_only}/archive") is False
