"""The command line. `main` is the entry point, and the boundary that turns exceptions into messages and exit codes."""

import os
import sys
from collections.abc import Sequence

from ytarchive.cli.terminal.arguments import arrange, wants_json

_INTERRUPTED = 130
_BROKEN_PIPE = 141  # the exit code that shells give a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (without the program name) and return its exit code. Tracebacks are shown only with
    `--debug`."""
    words = arrange(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for terminals that are not UTF-8
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter reports an error at exit
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
    except Exception as error:  # the boundary: every error is reported
        if "--debug" in words:
            raise
        from ytarchive.cli.terminal.error_report import report

        return report(error, json=wants_json(words))
    return int(result or 0)
