"""Output of commands that show data: JSON, or a view for people."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    Q = TypeVar("Q", bound=BaseModel)


def show(found: "BaseModel", view: "Callable[[], RenderableType]", *, as_json: bool) -> None:
    """Print the model as JSON, or the view of it."""
    show_data(found.model_dump(mode="json"), view, as_json=as_json)


def show_data(data: Any, view: "Callable[[], RenderableType]", *, as_json: bool) -> None:
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout

    if as_json:
        print_json(data, indent=2)
    else:
        stdout().print(view())


def validated(model: "type[Q]", options: dict[str, Any]) -> "Q":
    """Return the query model of command line options. Raise InvalidRequest, which names the option."""
    from pydantic import ValidationError

    from services.common.errors import InvalidRequest
    from services.common.validation import problems_of

    try:
        return model.model_validate(options)
    except ValidationError as error:
        first = problems_of(error)[0]
        name = "the words" if first.field == "q" else f"--{first.field}"
        raise InvalidRequest(f"{name}: {first.text}") from error
