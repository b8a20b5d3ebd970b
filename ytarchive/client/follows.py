"""What is followed: over REST where a system runs, else from jobs.db; and changes to it, which need a system."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from services.common.domain.follows import Follow
from services.common.errors import InvalidRequest, NotFound
from services.common.settings.load import Config
from services.common.targets import follow_id_of
from services.jobs.offline import OfflineJobs
from services.jobs.rest_models import FollowList, FollowQuery, FollowVideoList, FollowVideoQuery
from ytarchive.client.endpoints import System, find_system, query_of
from ytarchive.text import safe_text

if TYPE_CHECKING:
    from ytarchive.client.rest import Rest

_PAGE = 500


class FollowReader(Protocol):
    async def follows(self, query: FollowQuery) -> FollowList: ...
    async def follow_videos(self, follow_id: str, query: FollowVideoQuery) -> FollowVideoList: ...


class FollowsClient:
    def __init__(self, reader: FollowReader) -> None:
        self._reader = reader

    async def all(self) -> list[Follow]:
        """Return all follows, by title."""
        found: list[Follow] = []
        while True:
            page = await self._reader.follows(FollowQuery(limit=_PAGE, offset=len(found)))
            found += page.follows
            if not page.follows or len(found) >= page.total:
                return found

    async def find(self, text: str) -> Follow:
        """Return a follow by its target in any spelling, its title, or the beginning of its id. Raise NotFound,
        InvalidRequest."""
        follows = await self.all()
        try:
            wanted = follow_id_of(text)
        except InvalidRequest:
            wanted = None
        for follow in follows:
            if follow.follow_id in {text, wanted} or follow.channel_id == text:
                return follow
        folded = text.casefold()
        found = [f for f in follows if (f.title or "").casefold() == folded or f.follow_id.startswith(folded)]
        if len(found) == 1:
            return found[0]
        shown = safe_text(text)
        if not found:
            raise NotFound(f"{shown} is not followed. `ytarchive follow list` shows what is.")
        ids = ", ".join(follow.follow_id for follow in found[:5])
        raise InvalidRequest(f"{shown} could be {len(found)} follows: give an id ({ids}).")

    async def videos(self, follow_id: str, query: FollowVideoQuery) -> FollowVideoList:
        return await self._reader.follow_videos(follow_id, query)


class RestFollows:
    """The REST routes of the jobs service."""

    def __init__(self, rest: "Rest") -> None:
        self._rest = rest

    async def follows(self, query: FollowQuery) -> FollowList:
        return FollowList.model_validate(await self._rest.get("follows", **query_of(query)))

    async def follow_videos(self, follow_id: str, query: FollowVideoQuery) -> FollowVideoList:
        return FollowVideoList.model_validate(await self._rest.get(f"follows/{follow_id}/videos", **query_of(query)))

    async def get(self, follow_id: str) -> Follow:
        return Follow.model_validate(await self._rest.get(f"follows/{follow_id}"))

    async def add(self, body: dict[str, Any]) -> Follow:
        return Follow.model_validate(await self._rest.send("POST", "follows", body))

    async def change(self, follow_id: str, body: dict[str, Any]) -> Follow:
        return Follow.model_validate(await self._rest.send("PATCH", f"follows/{follow_id}", body))

    async def look(self, follow_id: str) -> Follow:
        return Follow.model_validate(await self._rest.send("POST", f"follows/{follow_id}/look"))

    async def remove(self, follow_id: str) -> None:
        await self._rest.send("DELETE", f"follows/{follow_id}")


@asynccontextmanager
async def open_follows(config: Config) -> AsyncIterator[FollowsClient]:
    system = await find_system(config)
    if system is None:
        async with OfflineJobs.open(config) as offline:
            yield FollowsClient(offline)
        return
    async with running_follows(system) as rest:
        yield FollowsClient(rest)


@asynccontextmanager
async def running_follows(system: System) -> AsyncIterator[RestFollows]:
    async with system.rest("jobs") as rest:
        yield RestFollows(rest)
