"""REST of storage: what is held, its files, and the work plans."""

import asyncio
import json
import mimetypes
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidRequest, NotFound
from services.common.events import JOB_ID_PATTERN, VideoId
from services.common.rechecks import recheck_id
from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.entrypoints import estimate_api
from services.storage.formats.playlist import members_of
from services.storage.formats.video_metadata import read_video_file
from services.storage.formats.work_plan import WorkPlan
from services.storage.index.queries import Existence, PlanPage, Queries, Stats, VideoPage, VideoQuery
from services.storage.index.search import SearchPage, SearchQuery
from services.storage.reporting.history import Histories, HistoryPage
from services.storage.workplans.recheck_policy import Batch, Pick

if TYPE_CHECKING:
    from services.storage.service import StorageService


class VideoPath(BaseModel):
    video_id: VideoId


class FilePath(VideoPath):
    """`name` is relative to the video's folder: `captions/{video_id}_en.vtt`."""

    name: str = Field(min_length=1, max_length=300)


class PlanPath(BaseModel):
    plan_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]


class HistoryPath(BaseModel):
    """Of a video, of a playlist, or of a channel (`UC…`, or its uploads `UU…`)."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class RootQuery(BaseModel):
    """Which root, where several hold the video; unset: the first."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)


class RescanBody(BaseModel):
    """`root` unset: all of them."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)


class RescanBegun(BaseModel):
    """Health's metrics tell which root is being read (`scanning`)."""

    roots: list[str]


class VideoDescription(BaseModel):
    """`record`: {video_id}_metadata.json; `metadata`: metadata/videos/{video_id}.json. Either may be missing."""

    video_id: str
    root: str
    record: dict[str, Any] | None
    metadata: dict[str, Any] | None


class RetryBegun(BaseModel):
    job_id: str
    plan_id: str
    video_ids: list[str]


class PlanRemoved(BaseModel):
    plan_id: str


class StorageApi:
    """The handlers of the routes below."""

    def __init__(self, storage: "StorageService") -> None:
        self._storage = storage

    @property
    def _queries(self) -> Queries:
        return self._storage.queries

    async def videos(self, _call: Call, query: VideoQuery) -> VideoPage:
        members = None
        if query.playlist is not None:
            members = await asyncio.to_thread(members_of, query.playlist, self._storage.config.storage)
        return await self._queries.videos(query, members)

    async def search(self, _call: Call, query: SearchQuery) -> SearchPage:
        return await self._storage.search.find(query)

    async def exists(self, _call: Call, path: VideoPath) -> Existence:
        return await self._queries.existence(path.video_id)

    async def metadata(self, _call: Call, path: VideoPath, query: RootQuery) -> VideoDescription:
        roots = await self._roots_of(path.video_id)
        wanted = [query.root] if query.root is not None else [*roots, *map(str, self._storage.config.storage.all_roots)]
        for root in dict.fromkeys(wanted):
            tree = self._storage.shelf.tree(root)
            record = await asyncio.to_thread(_json, tree.record(path.video_id))
            described = await asyncio.to_thread(read_video_file, tree.video_metadata(path.video_id))
            if record or described:
                metadata = described.model_dump(mode="json") if described else None
                return VideoDescription(video_id=path.video_id, root=tree.key, record=record, metadata=metadata)
        raise NotFound(f"The archive has nothing of {path.video_id}.", video_id=path.video_id)

    async def _roots_of(self, video_id: str) -> list[str]:
        return [copy.root for copy in (await self._queries.existence(video_id)).copies]

    async def stats(self, _call: Call) -> Stats:
        return await self._queries.stats(self._storage.config.storage.all_roots)

    async def history(self, _call: Call, path: HistoryPath, query: PageQuery) -> HistoryPage:
        histories = Histories(self._storage.config.storage)
        return await asyncio.to_thread(histories.of, path.id, query.limit, query.offset)

    async def file(self, call: Call, path: FilePath, query: RootQuery) -> web.StreamResponse:
        """Only files that the catalogue names; aiohttp answers Range, If-None-Match and If-Modified-Since."""
        for copy in (await self._queries.existence(path.video_id)).copies:
            named = {file.name: file for file in copy.files}
            if path.name in named and query.root in {None, copy.root}:
                place = self._storage.shelf.tree(copy.root).video_dir(path.video_id) / path.name
                if await asyncio.to_thread(place.is_file):
                    return _answer(place)
        raise NotFound(f"The archive has no file {path.name} of {path.video_id}.", video_id=path.video_id)

    async def rescan(self, _call: Call, body: RescanBody) -> RescanBegun:
        roots = self._storage.config.storage.all_roots
        if body.root is not None:
            roots = (self._storage.shelf.tree(body.root).root,)
        await self._storage.begin_rescan(roots)
        return RescanBegun(roots=[str(root) for root in roots])

    async def plans(self, _call: Call, query: PageQuery) -> PlanPage:
        return await asyncio.to_thread(self._queries.work_plans, query.limit, query.offset)

    async def plan(self, _call: Call, path: PlanPath) -> WorkPlan:
        found = await asyncio.to_thread(self._queries.work_plan, path.plan_id)
        if found is None:
            raise NotFound(f"There is no work plan {path.plan_id}.", plan_id=path.plan_id)
        return found

    async def retry_plan(self, call: Call, path: PlanPath) -> RetryBegun:
        """A new job for what is still open, as the plan's own job wanted it; what it finds goes onto this plan."""
        plan = await self.plan(call, path)
        waiting = [entry for entry in plan.entries() if entry.resolved_at is None]
        if not waiting:
            raise InvalidRequest(f"Nothing is open on work plan {plan.plan_id}.", plan_id=plan.plan_id)
        batch = Batch(recheck_id(uuid4().hex), [Pick(plan, entry) for entry in waiting[:20_000]])
        event = batch.event(priority=0)
        await self._storage.planner.ask(plan.plan_id, event.targets, event.job_id, datetime.now(UTC))
        await self._storage.bus.publish(event, trace_id=call.trace_id)
        return RetryBegun(job_id=event.job_id, plan_id=plan.plan_id, video_ids=list(event.targets))

    async def remove_plan(self, call: Call, path: PlanPath) -> PlanRemoved:
        await self.plan(call, path)
        await self._storage.planner.remove(path.plan_id)
        return PlanRemoved(plan_id=path.plan_id)


def routes(storage: "StorageService") -> Sequence[Route]:
    api = StorageApi(storage)
    base = "/api/v1/storage"
    plan = f"{base}/work-plans/{{plan_id}}"
    return [
        Route("GET", f"{base}/videos", api.videos, "Videos of the archive", query=VideoQuery, response=VideoPage),
        Route(
            "GET", f"{base}/search", api.search, "Words in titles, channels, descriptions and captions",
            query=SearchQuery, response=SearchPage,
        ),
        Route(
            "GET", f"{base}/exists/{{video_id}}", api.exists, "Is a video held, and where?",
            path_model=VideoPath, response=Existence,
        ),
        Route(
            "GET", f"{base}/metadata/{{video_id}}", api.metadata, "What the archive knows of a video",
            path_model=VideoPath, query=RootQuery, response=VideoDescription,
        ),
        Route(
            "GET", f"{base}/history/{{id}}", api.history, "What happened to a video or a playlist, the newest first",
            path_model=HistoryPath, query=PageQuery, response=HistoryPage,
        ),
        Route("GET", f"{base}/stats", api.stats, "How much is held", response=Stats),
        Route(
            "GET", f"{base}/videos/{{video_id}}/files/{{name:.+}}", api.file, "A file of the archive (Range)",
            path_model=FilePath, query=RootQuery, media_type="application/octet-stream",
        ),
        Route(
            "POST", f"{base}/rescan", api.rescan, "Read the tree into the catalogue anew",
            body=RescanBody, response=RescanBegun, status=201,
        ),
        Route("GET", f"{base}/work-plans", api.plans, "Work plans, newest first", query=PageQuery, response=PlanPage),
        Route("GET", plan, api.plan, "A work plan", path_model=PlanPath, response=WorkPlan),
        Route(
            "POST", f"{plan}/retry", api.retry_plan, "Try what is open on a plan again",
            path_model=PlanPath, response=RetryBegun, status=201, needs_bus=True,
        ),
        Route("DELETE", plan, api.remove_plan, "Remove a work plan", path_model=PlanPath, response=PlanRemoved),
        *estimate_api.routes(storage),
    ]  # fmt: skip


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _answer(place: Path) -> web.FileResponse:
    kind = {".vtt": "text/vtt", ".m4a": "audio/mp4"}.get(place.suffix) or mimetypes.guess_type(place.name)[0]
    return web.FileResponse(
        place,
        headers={
            "Content-Type": kind or "application/octet-stream",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(place.name)}",
            "X-Content-Type-Options": "nosniff",
        },
    )
