"""The user's cookies file: read anew when it changes, never written. What YouTube rotates is kept in a copy of ours.

yt-dlp shows lines of a file that it does not understand, which are secrets. Hence it reads only what was checked here.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Any

from services.common.infra.files import write_atomically

_FROM = "# copied from "  # and the digest of the user's file
_HEAD = re.compile(r"#( Netscape)? HTTP Cookie File")
_HTTP_ONLY = "#HttpOnly_"  # begins a cookie, every other # a comment
_FIELDS = 7
_EXPIRES = re.compile(r"([0-9]{1,15}(\.[0-9]{1,15})?)?")  # seconds since 1970


class CookiesUnreadable(Exception):
    """The user's cookies file is missing, cannot be read, or contains something else, which `why` says."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the cookies file {path} cannot be used: {why}. Correct [youtube] cookies_file, or remove the key"
        )
        self.why = why


class Cookies:
    """`given`: the user's file; `copy`: ours, which is what yt-dlp reads. Several children may share it."""

    def __init__(self, given: Path, copy: Path) -> None:
        self._given = given
        self._copy = copy
        self._saved = ""

    def refresh(self) -> str:
        """Copy the user's file if its content is not what was copied last. Return its digest. Raise CookiesUnreadable;
        OSError when the copy cannot be written."""
        digest, text = self.check()
        if self._copied() != digest:
            write_atomically(self._copy, _with_digest(text, digest))
        return digest

    def check(self) -> tuple[str, str]:
        """Return the digest of the user's file, and its text without lines that are no cookies. Raise
        CookiesUnreadable."""
        try:
            content = self._given.read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise self._unreadable(str(error.strerror)) from error
        except UnicodeDecodeError as error:
            raise self._unreadable("it is not a text") from error
        return hashlib.sha256(content).hexdigest(), self._checked(text)

    def keep(self, jar: Any, digest: str) -> None:
        """Store the cookies of a yt-dlp jar in our copy, if they have changed. `digest`: of the user's file that they
        come from."""
        saved = io.StringIO()
        jar.save(saved)
        text = saved.getvalue()
        if text != self._saved:
            self._saved = text
            write_atomically(self._copy, _with_digest(text, digest))

    def _checked(self, text: str) -> str:
        """Return the text without lines that are no cookies. Raise CookiesUnreadable if there are only such lines."""
        head, *lines = text.split("\n")
        if not _HEAD.match(head):
            raise self._unreadable("its first line must be: # Netscape HTTP Cookie File")
        cookies = [line for line in lines if _is_cookie(line)]
        if not cookies and any(not _is_comment(line) for line in lines):
            raise self._unreadable("it has no cookie: a line of 7 fields that are separated by tabs")
        return "\n".join([head, *cookies, ""])

    def _unreadable(self, why: str) -> CookiesUnreadable:
        return CookiesUnreadable(self._given, why)

    def _copied(self) -> str | None:
        """Return the digest of the file that our copy was made from."""
        try:
            lines = self._copy.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        return next((line.removeprefix(_FROM) for line in lines if line.startswith(_FROM)), None)


def _is_comment(line: str) -> bool:
    return not line.strip() or (line.startswith("#") and not line.startswith(_HTTP_ONLY))


def _is_cookie(line: str) -> bool:
    """Return whether yt-dlp understands the line: domain, whether it begins with a dot, path, secure, expires, name and
    value."""
    fields = line.removeprefix(_HTTP_ONLY).split("\t")
    if _is_comment(line) or len(fields) != _FIELDS:
        return False
    return (fields[1] == "TRUE") == fields[0].startswith(".") and _EXPIRES.fullmatch(fields[4]) is not None


def _with_digest(text: str, digest: str) -> str:
    """The first line must stay what it is: it names the format."""
    first, _, rest = text.partition("\n")
    return f"{first}\n{_FROM}{digest}\n{rest}"
