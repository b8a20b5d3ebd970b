"""The facts of a failed operation, collected in the child and classified in the parent."""

import errno
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from services.common.texts import encodable

_LONGEST = 2000


class ErrorFacts(BaseModel):
    """`type` is the class of the innermost exception named by yt-dlp, `types` are all classes of the chain.

    `status` is the first HTTP status in the chain, `errno` the first OS error; `countries` are those where a video that
    is blocked here is available; `stage` is `extraction`, `files` or `media`.
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

    @property
    def out_of_memory(self) -> bool:
        return self.errno == errno.ENOMEM or "MemoryError" in {self.type, *self.types}


def facts_of(error: BaseException, warnings: Sequence[str], stage: str) -> ErrorFacts:
    """Return the facts of an exception, including those wrapped in DownloadError and ExtractorError."""
    chain = list(_chain(error))
    inner = _relevant(chain)
    return ErrorFacts(
        type=type(inner).__name__,
        types=tuple(type(link).__name__ for link in chain),
        message=encodable(str(getattr(inner, "orig_msg", None) or inner)[:_LONGEST]),
        status=next((s for link in chain if isinstance(s := getattr(link, "status", None), int)), None),
        errno=next((link.errno for link in chain if isinstance(link, OSError) and link.errno), None),
        countries=tuple(getattr(inner, "countries", None) or ()),
        warnings=tuple(encodable(warning[:_LONGEST]) for warning in warnings),
        stage=stage,
    )


def _relevant(chain: Sequence[BaseException]) -> BaseException:
    """Return the exception with the relevant message: an ExtractorError (of any class) before what wraps it."""
    return next((link for link in chain if hasattr(link, "orig_msg")), chain[0])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes, outermost first; yt-dlp stores causes in its own attributes."""
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
