"""Where read-only commands look: a running system over REST, else the files as they lie on the disk."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from services.common.errors import NotFound
from services.common.settings.load import Config
from services.logging.queries import JournalQueries, LogQuery
from services.storage.index.queries import Existence, PlanPage, Queries, Stats, VideoPage, VideoQuery
from services.storage.index.search import Search, SearchPage, SearchQuery
from services.storage.reporting.history import Histories, HistoryPage
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
    empty = VideoPage(videos=[], total=0, limit=query.limit, offset=query.offset)
    said = query.model_dump(mode="json", exclude_none=True)
    found = await ask(config, "storage", "storage/videos", _held(config, lambda q: q.videos(query), empty), **said)
    return VideoPage.model_validate(found)


async def search(config: Config, query: SearchQuery) -> SearchPage:
    async def offline() -> SearchPage:
        found = await asyncio.to_thread(Search.on_disk, config.storage)
        if found is None:
            return SearchPage(hits=[], total=0, limit=query.limit, offset=query.offset)
        try:
            return await found.find(query)
        finally:
            found.close()

    said = query.model_dump(mode="json", exclude_none=True, by_alias=True)
    return SearchPage.model_validate(await ask(config, "storage", "storage/search", offline, **said))


async def exists(config: Config, video_id: str) -> Existence:
    empty = Existence(video_id=video_id, exists=False, copies=[])
    offline = _held(config, lambda q: q.existence(video_id), empty)
    return Existence.model_validate(await ask(config, "storage", f"storage/exists/{video_id}", offline))


async def stats(config: Config) -> Stats:
    roots = config.storage.all_roots
    empty = Stats(
        videos=0, bytes=0, duration_seconds=0, roots=[], channels=[], known_gone=0, open_plan_entries=0,
        oldest=None, newest=None,
    )  # fmt: skip
    found = await ask(config, "storage", "storage/stats", _held(config, lambda q: q.stats(roots), empty))
    return Stats.model_validate(found)


async def plans(config: Config, limit: int, offset: int) -> PlanPage:
    empty = PlanPage(work_plans=[], total=0, limit=limit, offset=offset)
    offline = _held(config, lambda q: asyncio.to_thread(q.work_plans, limit, offset), empty)
    found = await ask(config, "storage", "storage/work-plans", offline, limit=limit, offset=offset)
    return PlanPage.model_validate(found)


async def plan(config: Config, plan_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    offline = _held(config, lambda q: asyncio.to_thread(q.work_plan, plan_id), None)
    found: dict[str, Any] | None = await ask(config, "storage", f"storage/work-plans/{plan_id}", offline)
    if found is None:
        raise NotFound(f"There is no work plan {plan_id}: `ytarchive workplan list` shows all.")
    return found


async def history(config: Config, id: str, limit: int, offset: int) -> HistoryPage:
    """Raises NotFound. Told from the files themselves, whether something runs or not."""
    histories = Histories(config.storage)

    async def offline() -> HistoryPage:
        return await asyncio.to_thread(histories.of, id, limit, offset)

    path = f"storage/history/{quote(id, safe='')}"
    return HistoryPage.model_validate(await ask(config, "storage", path, offline, limit=limit, offset=offset))


async def logs(config: Config, query: LogQuery) -> dict[str, Any]:
    journals = JournalQueries(config.storage.logs_dir)

    async def offline() -> BaseModel:
        return await asyncio.to_thread(journals.logs, query, query.limit, query.offset)

    said = query.model_dump(mode="json", exclude_none=True, by_alias=True)
    found: dict[str, Any] = await ask(config, "logging", "logs", offline, **said)
    return found


async def trace(config: Config, trace_id: str, limit: int, offset: int) -> dict[str, Any]:
    journals = JournalQueries(config.storage.logs_dir)

    async def offline() -> BaseModel:
        return await asyncio.to_thread(journals.trace, trace_id, limit, offset)

    path = f"logs/traces/{trace_id}"
    found: dict[str, Any] = await ask(config, "logging", path, offline, limit=limit, offset=offset)
    return found


def _held(config: Config, question: Callable[[Queries], Awaitable[Any]], empty: Any) -> Offline:
    """Asks catalogue.db as it lies on the disk; `empty` where there is none."""

    async def offline() -> Any:
        queries = await asyncio.to_thread(Queries.on_disk, config.storage.base_data_dir, config.storage.work_plans_dir)
        if queries is None:
            return empty
        try:
            return await question(queries)
        finally:
            queries.close()

    return offline
