"""What the child saw when an operation failed: bare facts, to be judged by `classify` in the parent."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

_LONGEST = 2000


class ErrorFacts(BaseModel):
    """`type` is the class of the innermost exception that yt-dlp names, `types` all those of the chain.

    `status` is the first HTTP status in the chain, `errno` the first OS error; `countries` are those which may see a
    video that is blocked here; `stage` is what was going on: `extraction`, `files`, `media`.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    types: tuple[str, ...] = ()
    message: str
    status: int | None = None
    errno: int | None = None
    countries: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stage: str = "extraction"


def facts_of(error: BaseException, warnings: Sequence[str], stage: str) -> ErrorFacts:
    """The facts of an exception; DownloadError and ExtractorError are looked into."""
    chain = list(_chain(error))
    inner = _told_by(chain)
    return ErrorFacts(
        type=type(inner).__name__,
        types=tuple(type(link).__name__ for link in chain),
        message=str(getattr(inner, "orig_msg", None) or inner)[:_LONGEST],
        status=next((s for link in chain if isinstance(s := getattr(link, "status", None), int)), None),
        errno=next((link.errno for link in chain if isinstance(link, OSError) and link.errno), None),
        countries=tuple(getattr(inner, "countries", None) or ()),
        warnings=tuple(warning[:_LONGEST] for warning in warnings),
        stage=stage,
    )


def _told_by(chain: Sequence[BaseException]) -> BaseException:
    """The exception whose words say what happened: an ExtractorError (of any class) before what wraps it."""
    return next((link for link in chain if hasattr(link, "orig_msg")), chain[0])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, outermost first; yt-dlp keeps causes in attributes of its own."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop(0)
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        info = getattr(link, "exc_info", None)
        todo.append(info[1] if isinstance(info, tuple) and len(info) > 1 else None)
        cause = getattr(link, "cause", None)
        todo.append(cause if isinstance(cause, BaseException) else None)
        todo.extend((link.__cause__, link.__context__))
