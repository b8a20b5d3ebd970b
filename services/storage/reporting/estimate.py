"""What clients need to plan a job: what is held of a list of videos, and the observed throughput."""

import asyncio

from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.archive import Held
from services.common.domain.videos import VideoId
from services.common.infra.files import free_space
from services.common.infra.sqlite import Database
from services.common.settings.load import Storage
from services.storage.archive_store import ArchiveStore
from services.storage.formats.layout import tree_of
from services.storage.reporting import throughput

MAX_IDS = 500  # ids per request


class HoldingsBody(BaseModel):
    """`root` unset: base_path."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    video_ids: list[VideoId] = Field(min_length=1, max_length=MAX_IDS)


class Holdings(BaseModel):
    """One entry per requested id, in the same order. Jobs decide by the same entries what to download."""

    root: str
    held: list[Held]


class ThroughputQuery(BaseModel):
    """`root` unset: base_path. `quality` as in a job's options."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)
    quality: str = Field(default="1080p", min_length=1, max_length=500)


class Throughput(BaseModel):
    """Observed bytes per second.

    `bytes_per_second`: size by duration of the videos that were downloaded at this quality; `throughput`: bytes
    downloaded per second, over all slots. Both are null below a minimum of samples. `free_bytes` is null where the disk
    cannot be read; `min_free` of them are kept free.
    """

    root: str
    quality: str
    bytes_per_second: float | None
    throughput: float | None
    free_bytes: int | None
    min_free: int


class EstimateReports:
    def __init__(self, settings: Storage, archive: ArchiveStore, database: Database) -> None:
        self._settings = settings
        self._archive = archive
        self._database = database

    async def holdings(self, body: HoldingsBody) -> Holdings:
        """Raises InvalidRequest for a foreign root, ServiceUnavailable when its disk is not mounted."""
        root = self._root(body.root)
        return Holdings(root=root, held=await self._archive.held(root, body.video_ids))

    async def throughput(self, query: ThroughputQuery) -> Throughput:
        """Raises InvalidRequest for a foreign root."""
        tree = tree_of(self._root(query.root), self._settings)
        latest = await throughput.latest_videos(self._database, tree.key)
        runs = await asyncio.to_thread(throughput.read_runs, tree, latest)
        try:
            free = await asyncio.to_thread(free_space, tree.root)
        except OSError:
            free = None
        return Throughput(
            root=tree.key,
            quality=query.quality,
            bytes_per_second=await throughput.bytes_per_second(self._database, query.quality),
            throughput=throughput.throughput(runs),
            free_bytes=free,
            min_free=self._settings.min_free,
        )

    def _root(self, root: str | None) -> str:
        return str(self._settings.base_path) if root is None else root
