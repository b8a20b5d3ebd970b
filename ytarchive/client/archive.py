"""The archive: over REST where a system runs, else from catalogue.db and the files."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from services.common.domain.archive import Held
from services.common.settings.load import Config
from services.common.web.paging import PageQuery
from services.storage.formats.work_plan import WorkPlan
from services.storage.index.queries import ArchiveStats, Existence, VideoPage, VideoQuery
from services.storage.index.search import SearchPage, SearchQuery
from services.storage.offline import OfflineStorage
from services.storage.reporting.estimate import MAX_IDS, Holdings, Throughput
from services.storage.reporting.history import HistoryPage
from services.storage.workplans.queries import PlanPage
from ytarchive.client.endpoints import System, get_or_read, require_system
from ytarchive.client.rest import Rest


class ArchiveClient:
    def __init__(self, config: Config) -> None:
        self._config = config

    async def videos(self, query: VideoQuery) -> VideoPage:
        offline = partial(OfflineStorage(self._config).videos, query)
        return await get_or_read(self._config, "storage", "storage/videos", VideoPage, offline, query)

    async def search(self, query: SearchQuery) -> SearchPage:
        offline = partial(OfflineStorage(self._config).search, query)
        return await get_or_read(self._config, "storage", "storage/search", SearchPage, offline, query)

    async def exists(self, video_id: str) -> Existence:
        offline = partial(OfflineStorage(self._config).exists, video_id)
        return await get_or_read(self._config, "storage", f"storage/exists/{video_id}", Existence, offline)

    async def stats(self) -> ArchiveStats:
        offline = OfflineStorage(self._config).stats
        return await get_or_read(self._config, "storage", "storage/stats", ArchiveStats, offline)

    async def history(self, id: str, query: PageQuery) -> HistoryPage:
        """Return the history of a video, a playlist or a channel. Raise NotFound."""
        offline = partial(OfflineStorage(self._config).history, id, query)
        path = f"storage/history/{quote(id, safe='')}"
        return await get_or_read(self._config, "storage", path, HistoryPage, offline, query)

    async def work_plans(self, query: PageQuery) -> PlanPage:
        offline = partial(OfflineStorage(self._config).work_plans, query)
        return await get_or_read(self._config, "storage", "storage/work-plans", PlanPage, offline, query)

    async def work_plan(self, plan_id: str) -> WorkPlan:
        """Raises NotFound."""
        offline = partial(OfflineStorage(self._config).work_plan, plan_id)
        return await get_or_read(self._config, "storage", _plan_path(plan_id), WorkPlan, offline)

    # --- only while a system runs: these raise ServiceUnavailable

    async def rescan(self) -> Mapping[str, Any]:
        """Start to read the archive tree into the catalogue again. Return the `roots`."""
        return await self._send("POST", "storage/rescan")

    async def retry_work_plan(self, plan_id: str) -> Mapping[str, Any]:
        """Create a job for the open entries of a plan. Return its `job_id`."""
        return await self._send("POST", f"{_plan_path(plan_id)}/retry")

    async def delete_work_plan(self, plan_id: str) -> Mapping[str, Any]:
        return await self._send("DELETE", _plan_path(plan_id))

    async def _send(self, method: str, path: str) -> Mapping[str, Any]:
        system = await require_system(self._config)
        async with system.rest("storage") as rest:
            answer: Mapping[str, Any] = await rest.send(method, path)
            return answer


class HoldingsClient:
    """What a running storage service holds of given videos, and its observed throughput."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    @classmethod
    @asynccontextmanager
    async def open(cls, system: System, *, answer_timeout: float) -> AsyncIterator[Self]:
        async with system.rest("storage", answer_timeout=answer_timeout) as rest:
            yield cls(rest)

    async def held(self, root: str | None, ids: Iterable[str]) -> Mapping[str, Held]:
        """Return what an archive root holds, by video id. `root` None: the service's base_path."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Held] = {}
        for start in range(0, len(wanted), MAX_IDS):
            body = {**_in_root(root), "video_ids": wanted[start : start + MAX_IDS]}
            answer = Holdings.model_validate(await self._rest.send("POST", "storage/holdings", body))
            found |= {one.video_id: one for one in answer.held}
        return found

    async def archived_ids(self, config: Config, ids: Sequence[str]) -> set[str]:
        """Return the ids whose media are in one of the configured roots."""
        roots = [await self.held(str(root), ids) for root in config.storage.all_roots]
        return {one.video_id for root in roots for one in root.values() if one.qualities}

    async def throughput(self, root: str | None, quality: str) -> Throughput:
        answer = await self._rest.get("storage/throughput", quality=quality, **_in_root(root))
        return Throughput.model_validate(answer)


def _plan_path(plan_id: str) -> str:
    return f"storage/work-plans/{quote(plan_id, safe='')}"


def _in_root(root: str | None) -> dict[str, Any]:
    return {} if root is None else {"root": root}
