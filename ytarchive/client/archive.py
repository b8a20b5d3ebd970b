"""Where read-only commands look: a running system over REST, else the files as they lie on the disk."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from services.common.settings.load import Config
from services.common.web.paging import PageQuery
from services.logging.offline import OfflineLogs
from services.logging.queries import LogQuery
from services.storage.index.queries import ArchiveStats, Existence, VideoPage, VideoQuery
from services.storage.index.search import SearchPage, SearchQuery
from services.storage.offline import OfflineStorage
from services.storage.reporting.history import HistoryPage
from services.storage.workplans.queries import PlanPage
from ytarchive.client.endpoints import find_system
from ytarchive.client.rest import Rest

Offline = Callable[[], Awaitable[Any]]


async def ask(config: Config, service: str, path: str, offline: Offline, /, **query: str | int) -> Any:
    """The data of GET `path`, or what `offline` says (as JSON) when nothing runs."""
    system = await find_system(config)
    if system is not None:
        async with Rest.open(system.services[service]) as rest:
            return await rest.get(path, **query)
    found = await offline()
    return found.model_dump(mode="json") if isinstance(found, BaseModel) else found


async def videos(config: Config, query: VideoQuery) -> VideoPage:
    params = query.model_dump(mode="json", exclude_none=True)
    found = await ask(config, "storage", "storage/videos", lambda: OfflineStorage(config).videos(query), **params)
    return VideoPage.model_validate(found)


async def search(config: Config, query: SearchQuery) -> SearchPage:
    params = query.model_dump(mode="json", exclude_none=True, by_alias=True)
    found = await ask(config, "storage", "storage/search", lambda: OfflineStorage(config).search(query), **params)
    return SearchPage.model_validate(found)


async def exists(config: Config, video_id: str) -> Existence:
    path = f"storage/exists/{video_id}"
    return Existence.model_validate(await ask(config, "storage", path, lambda: OfflineStorage(config).exists(video_id)))


async def stats(config: Config) -> ArchiveStats:
    return ArchiveStats.model_validate(await ask(config, "storage", "storage/stats", OfflineStorage(config).stats))


async def plans(config: Config, limit: int, offset: int) -> PlanPage:
    query = PageQuery(limit=limit, offset=offset)
    offline = partial(OfflineStorage(config).work_plans, query)
    found = await ask(config, "storage", "storage/work-plans", offline, limit=limit, offset=offset)
    return PlanPage.model_validate(found)


async def plan(config: Config, plan_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    path = f"storage/work-plans/{plan_id}"
    found: dict[str, Any] = await ask(config, "storage", path, lambda: OfflineStorage(config).work_plan(plan_id))
    return found


async def history(config: Config, id: str, limit: int, offset: int) -> HistoryPage:
    """Raises NotFound. Told from the files themselves, whether something runs or not."""
    offline = partial(OfflineStorage(config).history, id, PageQuery(limit=limit, offset=offset))
    path = f"storage/history/{quote(id, safe='')}"
    return HistoryPage.model_validate(await ask(config, "storage", path, offline, limit=limit, offset=offset))


async def logs(config: Config, query: LogQuery) -> dict[str, Any]:
    params = query.model_dump(mode="json", exclude_none=True, by_alias=True)
    offline = partial(OfflineLogs(config).search, query)
    found: dict[str, Any] = await ask(config, "logging", "logs", offline, **params)
    return found


async def trace(config: Config, trace_id: str, limit: int, offset: int) -> dict[str, Any]:
    offline = partial(OfflineLogs(config).trace, trace_id, PageQuery(limit=limit, offset=offset))
    path = f"logs/traces/{trace_id}"
    found: dict[str, Any] = await ask(config, "logging", path, offline, limit=limit, offset=offset)
    return found
