"""Output on a terminal."""

import os
import pty
import subprocess
from typing import Any

from ytarchive.emulator.site import sample


def run_on_a_terminal(cli: Any, *words: str) -> tuple[int, str]:
    """Run a command on a pseudo terminal; return its exit code and its output."""
    controller, terminal = pty.openpty()
    env = cli.env | {"TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(
        cli.command(*words),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=env,
        cwd=cli.home,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(controller, 65_536)
        except OSError:  # EIO on Linux: the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(controller)
    return process.wait(30), seen.decode()


def test_progress_bars_escape_control_characters_and_restore_the_cursor(cli: Any) -> None:
    code, seen = run_on_a_terminal(cli, "download", sample.VIDEO_HOSTILE_TITLE)

    assert code == 0, seen
    assert "━" in seen
    assert "\x1b[?25l" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
    assert "Ha␛[31mrm" in seen
    assert not any(bad in seen for bad in ("\x1b]0;", "\x07", "\x08", "\u202e", "\u2066"))
    assert "1 saved, 0 already archived" in seen
