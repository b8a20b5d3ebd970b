"""Reading our JSON files, any of which a disk or another program may have damaged. Blocks: use a thread."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from services.common.errors import StateDamaged
from services.common.infra.no_links import NotAFile, read_below

_log = structlog.get_logger()
M = TypeVar("M", bound=BaseModel)


def read_json_file(
    path: Path,
    model: type[M],
    *,
    event: str,
    remedy: str,
    below: Path | None = None,
    misplaced: Callable[[M], str | None] = lambda _content: None,
) -> M | None:
    """Return the file's content; None when there is no file, or (logged as `event`) a damaged one. Raises OSError.

    `below`: the folder below which no link is followed. `misplaced` returns why the content does not belong to `path`.
    """
    try:
        content = model.model_validate_json(path.read_bytes() if below is None else read_below(below, path))
    except FileNotFoundError:
        return None
    except (ValidationError, NotAFile) as error:
        reason: str | None = _first(error) if isinstance(error, ValidationError) else str(error)
    else:
        reason = misplaced(content)
        if reason is None:
            return content
    _log.warning(event, path=str(path), error_message=reason, remedy=remedy)
    return None


def expect_readable(path: Path, model: type[BaseModel], remedy: str) -> None:
    """Raise StateDamaged when the file exists and is damaged."""
    try:
        model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return
    except ValidationError as error:
        raise StateDamaged(f"{path} is damaged ({_first(error)}). {remedy}", path=str(path)) from error


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
