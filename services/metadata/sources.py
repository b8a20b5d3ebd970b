"""What a source of listings is. `ytdlp_source` is the one that needs no API key."""

from collections.abc import AsyncGenerator
from typing import Protocol

from services.common.models import Failure, PlaylistMetadata, Target
from services.metadata.pages import Page

Part = PlaylistMetadata | Page


class SourceFailed(Exception):
    """A source could not go on; `failure` says what that means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Source(Protocol):
    """`name` goes into page keys and cursors. A cursor is understood by the source that wrote it."""

    name: str

    def parts(self, target: Target, offset: int) -> AsyncGenerator[Part, None]:
        """The playlist's own metadata, then its pages from line `offset` on, each as soon as it is there.

        Raises SourceFailed. An iterator that is closed early ends what runs for it.
        """
        ...
