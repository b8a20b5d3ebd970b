"""What a source of listings is: `data_api_source` with an API key, `ytdlp_source` without, and what the user named."""

from collections.abc import AsyncGenerator
from typing import Protocol

from services.common.models import Failure, PlaylistMetadata, Target
from services.metadata.pages import Page, given_page

Part = PlaylistMetadata | Page


class SourceFailed(Exception):
    """A source could not go on; `failure` says what that means. `final`: it would be the same again."""

    def __init__(self, failure: Failure, *, final: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.final = final


class SourceGivesUp(SourceFailed):
    """This source cannot go on, another one may: it begins anew."""


class Source(Protocol):
    """`name` goes into page keys and cursors. A cursor is understood by the source that wrote it."""

    name: str

    def parts(self, target: Target, offset: int, token: str, /) -> AsyncGenerator[Part, None]:
        """The playlist's own metadata, then its pages from line `offset` on, each as soon as it is there. `token` is
        what the page before that line had as `token`.

        Raises SourceFailed. An iterator that is closed early ends what runs for it.
        """
        ...


class GivenSource:
    """Videos that the user named: a page with no request."""

    name = "given"

    async def parts(self, target: Target, _offset: int, _token: str) -> AsyncGenerator[Part, None]:
        yield given_page(target)
