"""The command line. `main` is the entry point and the one boundary where errors become words and exit codes."""

import os
import sys
from collections.abc import Sequence

from ytarchive.cli.arguments import arrange, wants_json

_INTERRUPTED = 130
_BROKEN_PIPE = 141  # as a shell says it of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code. Never raises, never shows a
    traceback unless `--debug` asks for it."""
    words = arrange(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 still shows the rest
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _run(words: Sequence[str]) -> int:
    from typer.exceptions import Abort
    from typer.main import get_command

    from ytarchive.cli.app import app

    try:
        result = get_command(app).main(args=list(words), prog_name="ytarchive", standalone_mode=False)
    except Abort:
        return _INTERRUPTED
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # the boundary: whatever it is, the user gets a sentence
        if "--debug" in words:
            raise
        from ytarchive.cli.failure import report

        return report(error, json=wants_json(words))
    return int(result or 0)
