"""The user's cookies file: what yt-dlp reads of it, and what is kept of YouTube's changes."""

import os
import stat
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any

import pytest

from services.common.settings.sections import YouTube
from services.common.youtube.child import session as child_session
from services.common.youtube.cookies import CookiesUnreadable
from services.common.youtube.options import base_options


def write_cookie(path: Path, value: str, *, at: int) -> None:
    """Write a cookies file as a browser exports it, last changed at `at` seconds."""
    path.write_text(f"# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t4102444800\tSID\t{value}\n")
    os.utime(path, (at, at))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "cookies.txt"
    write_cookie(path, "one", at=1_000)
    return path


@pytest.fixture
def options(tmp_path: Path, given: Path) -> dict[str, Any]:
    youtube = base_options(YouTube(cookies_file=given), socket_timeout=5)
    return youtube | {"cookies_copy": str(tmp_path / "run" / "cookies.txt")}


def values(options: dict[str, Any]) -> dict[str, str | None]:
    return {cookie.name: cookie.value for cookie in child_session.session(options).ydl.cookiejar}


def rotate(options: dict[str, Any], value: str) -> None:
    """Change a cookie as an answer of YouTube does."""
    jar = child_session.session(options).ydl.cookiejar
    old: Cookie = next(iter(jar))
    old.value = value
    child_session.keep_cookies()


def test_a_cookies_file_that_has_changed_is_read_again(given: Path, options: dict[str, Any]) -> None:
    assert values(options) == {"SID": "one"}
    same = child_session.session(options)
    assert child_session.session(options) is same
    write_cookie(given, "two", at=2_000)
    assert values(options) == {"SID": "two"}


def test_what_youtube_rotates_is_kept_in_our_copy_and_never_in_the_users_file(
    tmp_path: Path, given: Path, options: dict[str, Any]
) -> None:
    assert values(options) == {"SID": "one"}
    before = given.read_bytes()
    rotate(options, "rotated")
    assert given.read_bytes() == before
    copy = tmp_path / "run" / "cookies.txt"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    other = options | {"socket_timeout": 6}  # a session of its own, as in another child
    assert values(other) == {"SID": "rotated"}
    write_cookie(given, "new", at=3_000)
    assert values(other) == values(options) == {"SID": "new"}


def test_comments_and_cookies_of_other_forms_are_accepted(given: Path, options: dict[str, Any]) -> None:
    given.write_bytes(b"\xef\xbb\xbf# HTTP Cookie File\r\n\r\n# a comment\r\n" + COOKIE.replace(b"\n", b"\r\n"))
    assert values(options) == {"SID": "geheim"}
    given.write_bytes(HEAD)
    assert values(options) == {}


HEAD = b"# Netscape HTTP Cookie File\n"
COOKIE = b".youtube.com\tTRUE\t/\tTRUE\t4102444800\tSID\tgeheim\n"


@pytest.mark.parametrize(
    "content",
    [None, b"\xff\xfe\x00", b"", COOKIE, HEAD + COOKIE.replace(b"\t", b" "), HEAD + COOKIE.replace(b"4102", b"x"),
     b'[{"name": "SID", "value": "geheim"}]', HEAD + COOKIE.replace(b"TRUE\t/", b"FALSE\t/")],
    ids=["missing", "binary", "empty", "without a head", "spaces", "a wrong time", "JSON", "a domain"],
)  # fmt: skip
def test_an_unusable_cookies_file_is_named_and_not_shown(
    given: Path, options: dict[str, Any], content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    given.unlink()
    if content is not None:
        given.write_bytes(content)
    with pytest.raises(CookiesUnreadable, match=str(given)) as caught:
        values(options)
    assert "geheim" not in f"{caught.value}{capfd.readouterr()}"


def test_a_line_that_is_no_cookie_is_left_out_and_not_shown(
    given: Path, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """yt-dlp prints such a line, and what a child prints becomes part of the error when it is killed."""
    given.write_bytes(HEAD + COOKIE.replace(b"\t", b" ") + b"#HttpOnly_" + COOKIE.replace(b"SID\tgeheim", b"LSID\ttwo"))
    assert values(options) == {"LSID": "two"}
    assert "geheim" not in str(capfd.readouterr())


def test_a_folder_that_takes_no_copy_is_named_instead_of_the_users_file(given: Path, options: dict[str, Any]) -> None:
    run = Path(options["cookies_copy"]).parent
    run.write_text("a file")
    with pytest.raises(OSError, match=str(run)) as caught:
        child_session.session(options)
    assert str(given) not in str(caught.value)


def test_a_file_that_is_only_written_again_does_not_undo_a_rotation(given: Path, options: dict[str, Any]) -> None:
    """A secret of a container is a new file at every start."""
    assert values(options) == {"SID": "one"}
    rotate(options, "rotated")
    write_cookie(given, "one", at=9_000)
    assert values(options | {"socket_timeout": 7}) == {"SID": "rotated"}
