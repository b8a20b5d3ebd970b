"""REST of download: order a video, see and stop what is in hand, ask what there is of a video."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from services.common.models import VideoId
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.download.offers import Formats
from services.download.orders import Ordered, VideoOrder, place
from services.download.tasks import Record, Task, TaskProgress

if TYPE_CHECKING:
    from services.download.service import DownloadService


class TaskPath(BaseModel):
    """A dispatch id, as events and the list of tasks name it."""

    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class VideoPath(BaseModel):
    video_id: VideoId


class TaskList(Page):
    """What is in hand in the order it began, then what ended, the last first."""

    tasks: list[Task]


class DownloadApi:
    """The handlers of the routes below."""

    def __init__(self, download: "DownloadService") -> None:
        self._download = download

    async def order(self, call: Call, body: VideoOrder) -> Ordered:
        return await place(self._download, body, call.trace_id)

    async def show_many(self, _call: Call, query: PageQuery) -> TaskList:
        known = self._download.tasks.all()
        page = known[query.offset : query.offset + query.limit]
        return TaskList(
            tasks=[record.view() for record in page], total=len(known), limit=query.limit, offset=query.offset
        )

    async def progress(self, _call: Call, path: TaskPath) -> TaskProgress:
        return self._record(path.task_id).told()

    async def cancel(self, _call: Call, path: TaskPath) -> Task:
        return (await self._download.stop(path.task_id)).view()

    async def formats(self, call: Call, path: VideoPath) -> Formats:
        return await self._download.offers.of(path.video_id, call.trace_id)

    def _record(self, task_id: str) -> Record:
        record = self._download.tasks.get(task_id)
        if record is None:
            raise self._download.unknown(task_id)
        return record


def routes(download: "DownloadService") -> Sequence[Route]:
    api, at = DownloadApi(download), "/api/v1/download"
    return (
        Route(
            "POST", f"{at}/video", api.order,
            summary="Order one video", body=VideoOrder, response=Ordered, status=201, needs_bus=True,
        ),
        Route(
            "GET", f"{at}/tasks", api.show_many,
            summary="What is in hand, and what ended last", query=PageQuery, response=TaskList,
        ),
        Route(
            "GET", f"{at}/progress/{{task_id}}", api.progress,
            summary="How far a task is, or how it ended", path_model=TaskPath, response=TaskProgress,
        ),
        Route(
            "POST", f"{at}/cancel/{{task_id}}", api.cancel,
            summary="Stop a task: no job that waits gets the video", path_model=TaskPath, response=Task, needs_bus=True,
        ),
        Route(
            "GET", f"{at}/formats/{{video_id}}", api.formats,
            summary="The streams that YouTube offers, and what each quality takes", path_model=VideoPath,
            response=Formats, needs_bus=True,
        ),
    )  # fmt: skip
