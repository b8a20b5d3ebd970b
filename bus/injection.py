"""Dependency injection by annotated type: a handler or a route names the objects that it needs, its caller supplies
them once, at start-up."""

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, get_origin


def inject(
    function: Callable[..., Any], parts: Sequence[object], given: int, named: Collection[str] = ()
) -> Callable[..., Any]:
    """Return `function` with its parameters filled in from `parts`, each by its annotation, except the first `given`
    and those that are `named`, which the caller passes.

    Raise TypeError when not exactly one part is an instance of an annotation: a mistake in our code, found when the
    service starts.
    """
    names = [name for name in list(inspect.signature(function).parameters)[given:] if name not in named]
    if not names:
        return function
    parameters = inspect.signature(function, eval_str=True).parameters
    return partial(function, **{name: _part(function, parameters[name], parts) for name in names})


def _part(function: Callable[..., Any], parameter: inspect.Parameter, parts: Sequence[object]) -> object:
    wanted = type(None) if parameter.annotation is None else get_origin(parameter.annotation) or parameter.annotation
    found = [part for part in parts if isinstance(part, wanted)]
    if len(found) != 1:
        name = f"{function.__module__}.{function.__qualname__}"
        have = ", ".join(sorted(type(part).__name__ for part in parts)) or "nothing"
        raise TypeError(f"{name} needs one {wanted.__name__} as {parameter.name!r}; there are {len(found)} in: {have}")
    return found[0]
