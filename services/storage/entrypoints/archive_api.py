"""REST routes of the archive: what is held, its files, search, history and rescans."""

import asyncio
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from services.common.events import VideoId
from services.common.web.archived_file import ArchivedFileResponse
from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.index.queries import ArchiveStats, CatalogueQueries, Existence, VideoPage, VideoQuery
from services.storage.index.roots import ArchiveRoots
from services.storage.index.search import ArchiveSearch, SearchPage, SearchQuery
from services.storage.reporting.descriptions import VideoDescription, VideoReader
from services.storage.reporting.history import HistoryPage, HistoryReader
from services.storage.rescan import RescanRunner
from services.storage.watching import WatchStates


class ArchivedVideoPath(BaseModel):
    video_id: VideoId


class ArchivedFilePath(ArchivedVideoPath):
    """`name` is relative to the video's folder: `captions/{video_id}_en.vtt`."""

    name: str = Field(min_length=1, max_length=300)


class HistoryPath(BaseModel):
    """The id of a video, of a playlist, or of a channel (`UC…`, or its uploads `UU…`)."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class RootQuery(BaseModel):
    """The root to read from when several hold the video; unset: the first."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)


class RescanBody(BaseModel):
    """`root` unset: all roots."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)


class RescanBegun(BaseModel):
    """The roots that are scanned, one after the other. `scanning` in the metrics of health names the current one."""

    roots: list[str]


async def list_videos(_call: Call, query: VideoQuery, queries: CatalogueQueries, states: WatchStates) -> VideoPage:
    return await queries.videos(query, await states.watched(query))


async def search(_call: Call, query: SearchQuery, searches: ArchiveSearch) -> SearchPage:
    return await searches.find(query)


async def exists(_call: Call, path: ArchivedVideoPath, queries: CatalogueQueries) -> Existence:
    return await queries.existence(path.video_id)


async def metadata(_call: Call, path: ArchivedVideoPath, query: RootQuery, videos: VideoReader) -> VideoDescription:
    return await videos.describe(path.video_id, query.root)


async def history(_call: Call, path: HistoryPath, query: PageQuery, histories: HistoryReader) -> HistoryPage:
    return await asyncio.to_thread(histories.read, path.id, query.limit, query.offset)


async def stats(_call: Call, queries: CatalogueQueries, roots: ArchiveRoots) -> ArchiveStats:
    return await queries.stats(roots.all)


async def file(_call: Call, path: ArchivedFilePath, query: RootQuery, videos: VideoReader) -> web.StreamResponse:
    """Only files that the catalogue lists. Range, If-None-Match and If-Modified-Since are supported."""
    return ArchivedFileResponse(*await videos.file(path.video_id, path.name, query.root))


async def rescan(_call: Call, body: RescanBody, rescans: RescanRunner) -> RescanBegun:
    return RescanBegun(roots=[str(root) for root in await rescans.begin(body.root)])


_BASE = "/api/v1/storage"
ROUTES = (
    Route("GET", f"{_BASE}/videos", list_videos, "Videos of the archive", query=VideoQuery, response=VideoPage),
    Route(
        "GET", f"{_BASE}/search", search, "Full-text search in titles, channels, descriptions and captions",
        query=SearchQuery, response=SearchPage,
    ),
    Route(
        "GET", f"{_BASE}/exists/{{video_id}}", exists, "Whether a video is held, and where",
        path_model=ArchivedVideoPath, response=Existence,
    ),
    Route(
        "GET", f"{_BASE}/metadata/{{video_id}}", metadata, "Manifest and metadata of a video",
        path_model=ArchivedVideoPath, query=RootQuery, response=VideoDescription,
    ),
    Route(
        "GET", f"{_BASE}/history/{{id}}", history, "History of a video or a playlist, newest first",
        path_model=HistoryPath, query=PageQuery, response=HistoryPage,
    ),
    Route("GET", f"{_BASE}/stats", stats, "Totals by root and channel", response=ArchiveStats),
    Route(
        "GET", f"{_BASE}/videos/{{video_id}}/files/{{name:.+}}", file, "A file of the archive (Range)",
        path_model=ArchivedFilePath, query=RootQuery, media_type="application/octet-stream", quiet=True,
    ),
    Route(
        "POST", f"{_BASE}/rescan", rescan, "Rebuild the catalogue from the archive tree",
        body=RescanBody, response=RescanBegun, status=201,
    ),
)  # fmt: skip
