"""Error reports: on stderr for people, as a JSON line on stdout for programs."""

import errno
import traceback

from rich.text import Text
from typer.exceptions import TyperException

from bus import BusError
from services.common.errors import YTArchiveError
from services.common.infra.disk_full import NO_SPACE
from services.common.models import ErrorCode, ErrorDetail
from services.common.settings.masking import mask
from ytarchive.cli.jobs.exit_codes import Exit, of_error
from ytarchive.cli.render.json_output import print_json
from ytarchive.cli.terminal.console import stderr
from ytarchive.text import safe_text

_LONGEST = 2_000
_WRONG_PATH = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}
)


def report(error: Exception, *, json: bool) -> int:
    """Print an error. Return the exit code."""
    detail, code = describe(error)
    if json:
        print_json({"type": "error", "exit_code": code, "error": mask(detail.model_dump(mode="json"))})
        return code
    usage = isinstance(error, TyperException)
    head = "Error: " if usage else f"Error [{detail.code}]: "
    console = stderr()
    lines = detail.message.splitlines() or [""]
    console.print(Text.assemble((head, "bold red"), safe_text(mask(lines[0]), _LONGEST)))
    for line in lines[1:]:
        console.print(Text(f"  {safe_text(mask(line), _LONGEST)}"))
    if usage:
        console.print(Text("`ytarchive --help` and `ytarchive COMMAND --help` list commands and options.", style="dim"))
    return code


def describe(error: Exception) -> tuple[ErrorDetail, int]:
    """Return the error with its code, and the exit code."""
    match error:
        case YTArchiveError():
            return error.detail(), of_error(error)
        case BusError():
            return ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message=str(error)), Exit.FAILED
        case TyperException():
            code = Exit.REFUSED if error.exit_code == 2 else Exit.FAILED
            return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=error.format_message()), code
        case OSError():
            message = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
            if error.errno in NO_SPACE:
                return ErrorDetail(code=ErrorCode.STORAGE_FULL, message=f"{message}. Free some space."), Exit.FAILED
            if error.errno in _WRONG_PATH:
                remedy = "Correct the path, or its permissions."
                return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=f"{message}. {remedy}"), Exit.REFUSED
            return ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=message), Exit.FAILED
        case _:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            message = (
                f"Internal error ({type(error).__name__}: {error}; {frame.name}:{frame.lineno})."
                " This is a bug in ytarchive. Run the command with --debug for a traceback."
            )
            return ErrorDetail(code=ErrorCode.INTERNAL_ERROR, message=message), Exit.FAILED
