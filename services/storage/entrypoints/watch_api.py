"""REST routes for looking at a video: its small thumbnail, what is said in it, and where somebody was."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from services.common.web.archived_file import ArchivedFileResponse
from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.entrypoints.archive_api import ArchivedVideoPath, RootQuery
from services.storage.reporting.thumbnails import SmallThumbnails
from services.storage.reporting.transcripts import Transcript, TranscriptReader
from services.storage.watching import WatchedBody, WatchingPage, WatchState, WatchStates

_A_DAY = "private, max-age=86400"


class CaptionsPath(ArchivedVideoPath):
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


async def thumbnail(
    _call: Call, path: ArchivedVideoPath, query: RootQuery, thumbnails: SmallThumbnails
) -> web.StreamResponse:
    """A JPEG of at most 320 pixels width. It is made when it is first asked for."""
    found = await thumbnails.find(path.video_id, query.root)
    if found is None:
        return web.Response(status=204, headers={"Cache-Control": "no-cache"})
    base, file, digest = found
    response = ArchivedFileResponse(base, file)
    response.headers["Cache-Control"] = _A_DAY
    response.headers["X-Original-SHA256"] = digest
    return response


async def transcript(_call: Call, path: CaptionsPath, query: RootQuery, transcripts: TranscriptReader) -> Transcript:
    return await transcripts.read(path.video_id, path.language, query.root)


async def show_state(_call: Call, path: ArchivedVideoPath, states: WatchStates) -> WatchState:
    return await states.state(path.video_id)


async def note_state(_call: Call, path: ArchivedVideoPath, body: WatchedBody, states: WatchStates) -> WatchState:
    return await states.note(path.video_id, body)


async def continue_watching(_call: Call, query: PageQuery, states: WatchStates) -> WatchingPage:
    return await states.continued(query.limit, query.offset)


_VIDEO = "/api/v1/storage/videos/{video_id}"
_WATCHING = "/api/v1/storage/watching"
ROUTES = (
    Route(
        "GET", f"{_VIDEO}/thumbnail", thumbnail, "A small thumbnail of a video", path_model=ArchivedVideoPath,
        query=RootQuery, media_type="image/jpeg", quiet=True, also={204: "The video has no thumbnail"},
    ),
    Route(
        "GET", f"{_VIDEO}/captions/{{language}}", transcript, "What is said in a video, line by line",
        path_model=CaptionsPath, query=RootQuery, response=Transcript,
    ),
    Route(
        "GET", _WATCHING, continue_watching, "Videos that were begun and not finished",
        query=PageQuery, response=WatchingPage, quiet=True,
    ),
    Route(
        "GET", f"{_WATCHING}/{{video_id}}", show_state, "Where somebody was in a video",
        path_model=ArchivedVideoPath, response=WatchState, quiet=True,
    ),
    Route(
        "POST", f"{_WATCHING}/{{video_id}}", note_state, "Note where somebody is in a video",
        path_model=ArchivedVideoPath, body=WatchedBody, response=WatchState, quiet=True, scope="request",
    ),
)  # fmt: skip
