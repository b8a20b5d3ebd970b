"""The command line. `main` is the entry point, and the boundary that turns exceptions into messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from ytarchive.cli.terminal.arguments import arrange, wants_json
from ytarchive.heap import collect_rarely, end_without_collecting

_UNWRITABLE = 1
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # the exit code that shells give a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (without the program name) and return its exit code. Tracebacks are shown only with
    `--debug`."""
    _replace_closed_streams()
    collect_rarely()
    words = arrange(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for terminals that are not UTF-8
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    except OSError as error:
        if "--debug" in words:
            raise
        with suppress(OSError):
            print(f"Error: the output cannot be written: {error.strerror}. Redirect it elsewhere.", file=sys.stderr)  # noqa: T201 - nothing is loaded that prints
        _discard_output()
        return _UNWRITABLE
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        end_without_collecting()
    return code


def _replace_closed_streams() -> None:
    """Open /dev/null in place of closed standard streams: the next opened file, such as a database, would get their
    descriptor, and then what is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _discard_output() -> None:
    """Send what is left in the buffers to /dev/null, or the interpreter would report an error at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, stream.fileno())
    os.close(null)


def _load_structlog_without_colours() -> None:
    """Where rich is installed, structlog loads its tracebacks, Pygments and attrs: 20 ms, for what we do not use."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # then importing it fails
    import structlog  # noqa: F401 - loaded for those that follow

    del sys.modules["rich"]


def _run(words: Sequence[str]) -> int:
    _load_structlog_without_colours()
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
