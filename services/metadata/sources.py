"""The interface of a source of listings; `data_api.source` implements it with an API key, `ytdlp_source` without."""

from collections.abc import AsyncGenerator
from typing import Protocol

from services.common.domain.failures import Failure
from services.common.domain.videos import PlaylistMetadata, Target
from services.metadata.pages import ListingPage, given_page

Part = PlaylistMetadata | ListingPage


class SourceFailed(Exception):
    """A source failed. `failure` is the classified reason; `final`: a repetition would fail in the same way."""

    def __init__(self, failure: Failure, *, final: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.final = final


class SourceGivesUp(SourceFailed):
    """This source failed, but the next one can list the target from the start."""


class Source(Protocol):
    """`name` is part of page keys and cursors. Only the source that wrote a cursor can read it. `full_page`: entries of
    a page after which a list that should go on may end by mistake; 0: this source's ends are reliable."""

    name: str
    full_page: int

    def parts(self, target: Target, offset: int, token: str, /) -> AsyncGenerator[Part, None]:
        """Yield the metadata of the playlist, then its pages from entry `offset` on, each as soon as it is available.
        `token` is the `token` of the page before.

        Raise SourceFailed. Closing the iterator early stops the work behind it.
        """
        ...


class GivenSource:
    """Videos that the user named: one page, without a request."""

    name = "given"
    full_page = 0

    async def parts(self, target: Target, _offset: int, _token: str) -> AsyncGenerator[Part, None]:
        yield given_page(target)
