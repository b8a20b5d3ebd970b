"""What a person at a terminal sees."""

import os
import pty
import subprocess
from typing import Any

from ytarchive.emulator.site import sample


def at_a_terminal(cli: Any, *words: str) -> tuple[int, str]:
    """Run on a pseudo terminal; the exit code and all that was written to it."""
    ours, theirs = pty.openpty()
    env = cli.env | {"TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(
        cli.command(*words), stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cli.home, start_new_session=True
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(30), seen.decode()


def test_bars_on_a_terminal_show_hostile_titles_harmlessly_and_give_the_cursor_back(cli: Any) -> None:
    code, seen = at_a_terminal(cli, "download", sample.VIDEO_HOSTILE_TITLE)

    assert code == 0, seen
    assert "━" in seen
    assert "\x1b[?25l" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
    assert "Ha␛[31mrm" in seen
    assert not any(bad in seen for bad in ("\x1b]0;", "\x07", "\x08", "\u202e", "\u2066"))
    assert "1 saved, 0 already archived" in seen
