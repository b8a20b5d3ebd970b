"""The user's cookies file: read anew when it changes, never written. What YouTube rotates is kept in a copy of ours."""

from pathlib import Path
from typing import Any

from services.common.infra.files import write_atomically

_FROM = "# copied from "  # and the identity of the user's file


class CookiesUnreadable(Exception):
    """The user's cookies file is missing or cannot be read."""


class Cookies:
    """`given`: the user's file; `copy`: ours, which is what yt-dlp reads. Several children may share it."""

    def __init__(self, given: Path, copy: Path) -> None:
        self._given = given
        self._copy = copy
        self._saved = ""

    def refresh(self) -> str:
        """Copy the user's file if it is not the one that was copied last. Return its identity. Raise
        CookiesUnreadable."""
        try:
            found = self._given.stat()
            identity = f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"
            if self._copied() != identity:
                text = self._given.read_text("utf-8-sig")
                write_atomically(self._copy, _with_identity(text, identity))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not a text"
            raise CookiesUnreadable(
                f"the cookies file {self._given} cannot be read ({why}): correct [youtube] cookies_file, or remove it"
            ) from error
        return identity

    def keep(self, jar: Any, identity: str) -> None:
        """Store the cookies of a yt-dlp jar in our copy, if they have changed."""
        draft = self._copy.with_name(f"{self._copy.name}.{id(self):x}")
        draft.touch(mode=0o600)
        try:
            jar.save(str(draft))
            text = draft.read_text("utf-8")
        finally:
            draft.unlink()
        if text != self._saved:
            self._saved = text
            write_atomically(self._copy, _with_identity(text, identity))

    def _copied(self) -> str | None:
        """Return the identity of the file that our copy was made from."""
        try:
            lines = self._copy.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        return next((line.removeprefix(_FROM) for line in lines if line.startswith(_FROM)), None)


def _with_identity(text: str, identity: str) -> str:
    """The first line must stay what it is: it names the format."""
    first, _, rest = text.partition("\n")
    return f"{first}\n{_FROM}{identity}\n{rest}"
