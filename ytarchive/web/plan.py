"""GET /api/v1/plan: what a job would come to, as a stream: what is done, how far a list was read, then the plan."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Literal

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response
from pydantic import BaseModel, ConfigDict, Field

from bus.tasks import cancel_and_wait, unless
from services.common.domain.videos import Entry
from services.common.errors import YTArchiveError
from services.common.models import ErrorDetail, JobOptions, JobType
from services.common.settings.load import Config
from services.common.web.routing import Call, Route
from ytarchive.planning.download_plan import DownloadPlan, Prediction
from ytarchive.planning.job_request import JobRequest, batch_targets, make_request
from ytarchive.planning.planner import ListingProgress, Planned, plan_download
from ytarchive.web.services import Services

_KEEP_ALIVE = 10.0  # seconds
_SHOWN = 500  # videos in the answer
_LONGEST = 6_000  # characters of all targets: they are a part of the address

_Named = tuple[str, BaseModel]  # an event and its data


class PlanQuery(BaseModel):
    """`targets`: one per line, or separated by spaces. `captions`: languages, separated by commas; `none` for no
    captions; unset: as configured."""

    model_config = ConfigDict(extra="forbid")

    targets: str = Field(min_length=1, max_length=_LONGEST)
    quality: str | None = Field(default=None, min_length=1, max_length=200)
    captions: str | None = Field(default=None, min_length=1, max_length=200)
    metadata_only: bool = False
    force: bool = False


PlannedState = Literal["fetch", "held", "gone"]


class PlannedVideo(BaseModel):
    """`reason`: why it is gone. `seconds`: its length; null: unknown."""

    video_id: str
    title: str | None
    seconds: float | None
    state: PlannedState
    reason: str | None = None


class PlanAnswer(BaseModel):
    """`texts`, `type` and `options` are what POST /api/v1/jobs takes. `videos`: the first ones; `left_out`: how many
    more there are."""

    plan: DownloadPlan
    texts: list[str]
    type: JobType
    options: JobOptions
    videos: list[PlannedVideo]
    left_out: int


class PlanStep(BaseModel):
    """What is done at present. `read` of `total` entries of a list were read, where a list is read."""

    text: str
    read: int | None = None
    total: int | None = None


class PlanEvents(BaseModel):
    """The data of the events of the stream, by their names: `step` any number of times, then one of the others."""

    step: PlanStep | None = None
    plan: PlanAnswer | None = None
    problem: ErrorDetail | None = None


async def show_plan(call: Call, query: PlanQuery, config: Config, services: Services) -> web.StreamResponse:
    """Events: `step`, then `plan` or `problem`. Invalid targets are refused before the stream begins. Only lists and
    lengths are read, and no job is created."""
    request = await asyncio.to_thread(_request, query, config)
    async with sse_response(call.raw, ping_interval=_KEEP_ALIVE) as stream:
        with suppress(ConnectionResetError):  # the client has gone
            async with aclosing(_events(request, config, services)) as events:
                await unless(_send(stream, events), call.closing)
    return stream


def _request(query: PlanQuery, config: Config) -> JobRequest:
    captions = query.captions
    return make_request(
        batch_targets(query.targets.split()),
        config,
        quality=query.quality,
        captions=None if captions == "none" else captions,
        no_captions=captions == "none",
        metadata_only=query.metadata_only,
        force=query.force,
    )


async def _send(stream: EventSourceResponse, events: AsyncIterator[_Named]) -> None:
    async for name, data in events:
        await stream.send(data.model_dump_json(), event=name)


async def _events(request: JobRequest, config: Config, services: Services) -> AsyncGenerator[_Named, None]:
    steps: asyncio.Queue[PlanStep | None] = asyncio.Queue()

    def report(progress: ListingProgress) -> None:
        steps.put_nowait(PlanStep(text=f"Listing {progress.target}", read=progress.read, total=progress.total))

    planning = asyncio.ensure_future(
        plan_download(
            await services.system(),
            request,
            recheck_after=timedelta(days=config.recheck.interval_days),
            notify=lambda text: steps.put_nowait(PlanStep(text=text)),
            report=report,
        )
    )
    planning.add_done_callback(lambda _done: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield "step", step
        try:
            yield "plan", answer(request, planning.result())
        except YTArchiveError as error:
            yield "problem", error.detail()
    finally:
        await cancel_and_wait([planning])


def answer(request: JobRequest, planned: Planned) -> PlanAnswer:
    """Return what the page shows of a plan. Pure."""
    prediction = planned.prediction
    unique = list({entry.video_id: entry for entry in prediction.entries}.values())
    return PlanAnswer(
        plan=planned.plan,
        texts=list(request.texts),
        type=request.type,
        options=request.options,
        videos=[_planned(entry, prediction) for entry in unique[:_SHOWN]],
        left_out=max(0, len(unique) - _SHOWN),
    )


def _planned(entry: Entry, prediction: Prediction) -> PlannedVideo:
    reason = prediction.gone.get(entry.video_id)
    state: PlannedState = "held" if entry.video_id in prediction.held else "fetch" if reason is None else "gone"
    return PlannedVideo(
        video_id=entry.video_id,
        title=entry.title,
        seconds=entry.duration_seconds or None,
        state=state,
        reason=reason if state == "gone" else None,
    )


ROUTES = (
    Route(
        "GET", "/api/v1/plan", show_plan, "What a job would come to (SSE); nothing is fetched",
        query=PlanQuery, response=PlanEvents, streams=True, scope="request",
    ),
)  # fmt: skip
