"""REST of storage for those who plan: what is held of a list, and what fetching the rest may come to."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from services.common.infra.files import free_space
from services.common.models import Held, VideoId
from services.common.web.routing import Call, Route
from services.storage.reporting import throughput

if TYPE_CHECKING:
    from services.storage.service import StorageService

MOST = 500  # ids at once


class HeldBody(BaseModel):
    """`root` unset: base_path."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    video_ids: list[VideoId] = Field(min_length=1, max_length=MOST)


class HeldAnswer(BaseModel):
    """One for each id, in the order asked: the same that a job decides by."""

    root: str
    held: list[Held]


class ExperienceQuery(BaseModel):
    """`root` unset: base_path. `quality` as a job takes it."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    quality: str = Field(default="1080p", min_length=1, max_length=500)


class Experience(BaseModel):
    """`bytes_per_second` of video that was fetched at this quality, `throughput` in bytes a second over all slots; None
    where too few were. `free_bytes` is None where the disk cannot be asked; `min_free` of them stay free."""

    root: str
    quality: str
    bytes_per_second: float | None
    throughput: float | None
    free_bytes: int | None
    min_free: int


class Foresight:
    """The handlers of the routes below."""

    def __init__(self, storage: "StorageService") -> None:
        self._storage = storage

    def _root(self, root: str | None) -> str:
        return str(self._storage.config.storage.base_path) if root is None else root

    async def held(self, _call: Call, body: HeldBody) -> HeldAnswer:
        root = self._root(body.root)
        return HeldAnswer(root=root, held=await self._storage.shelf.held(root, body.video_ids))

    async def experience(self, _call: Call, query: ExperienceQuery) -> Experience:
        tree = self._storage.shelf.tree(self._root(query.root))
        database = self._storage.catalogue.database
        latest = await throughput.latest_videos(database, tree.key)
        runs = await asyncio.to_thread(throughput.runs_of, tree, latest)
        try:
            free = await asyncio.to_thread(free_space, tree.root)
        except OSError:
            free = None
        return Experience(
            root=tree.key,
            quality=query.quality,
            bytes_per_second=await throughput.bytes_per_second(database, query.quality),
            throughput=throughput.throughput(runs),
            free_bytes=free,
            min_free=self._storage.config.storage.min_free,
        )


def routes(storage: "StorageService") -> Sequence[Route]:
    api, base = Foresight(storage), "/api/v1/storage"
    return (
        Route(
            "POST", f"{base}/held", api.held, "What is held of up to 500 videos",
            body=HeldBody, response=HeldAnswer,
        ),
        Route(
            "GET", f"{base}/experience", api.experience, "What fetching came to so far, and what is free",
            query=ExperienceQuery, response=Experience,
        ),
    )  # fmt: skip
