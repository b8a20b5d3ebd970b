"""REST routes of the work plans."""

from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.jobs import JOB_ID_PATTERN
from services.common.domain.videos import VideoId
from services.common.errors import StateDamaged
from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.formats.work_plan import WorkPlan
from services.storage.workplans.missing import MissingPage, MissingQuery, MissingVideos
from services.storage.workplans.queries import PlanPage, WorkPlanQueries
from services.storage.workplans.recheck_scheduler import RecheckScheduler
from services.storage.workplans.repository import WorkPlanRepository


class PlanPath(BaseModel):
    plan_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]


class RetryBody(BaseModel):
    """Without `video_ids` all unresolved entries are retried."""

    model_config = ConfigDict(extra="forbid")

    video_ids: list[VideoId] | None = Field(default=None, min_length=1, max_length=20_000)


class RetryBegun(BaseModel):
    job_id: str
    plan_id: str
    video_ids: list[str]


class PlanRemoved(BaseModel):
    plan_id: str


async def list_plans(_call: Call, query: PageQuery, plans: WorkPlanQueries) -> PlanPage:
    return await plans.page(query)


async def show_plan(_call: Call, path: PlanPath, plans: WorkPlanQueries) -> WorkPlan:
    return await plans.plan(path.plan_id)


async def list_missing(_call: Call, query: MissingQuery, missing: MissingVideos) -> MissingPage:
    return await missing.page(query)


async def retry_plan(
    call: Call, path: PlanPath, body: RetryBody, plans: WorkPlanQueries, rechecks: RecheckScheduler
) -> RetryBegun:
    """A new job for the unresolved entries, with the options of the plan's own job. Its results go onto this plan."""
    event = await rechecks.retry(await plans.plan(path.plan_id), call.trace_id, body.video_ids)
    return RetryBegun(job_id=event.job_id, plan_id=path.plan_id, video_ids=list(event.targets))


async def remove_plan(
    _call: Call, path: PlanPath, plans: WorkPlanQueries, repository: WorkPlanRepository
) -> PlanRemoved:
    with suppress(StateDamaged):  # it can be removed all the same
        await plans.plan(path.plan_id)
    await repository.remove(path.plan_id)
    return PlanRemoved(plan_id=path.plan_id)


_BASE = "/api/v1/storage/work-plans"
_PLAN = f"{_BASE}/{{plan_id}}"
ROUTES = (
    Route("GET", _BASE, list_plans, "Work plans, newest first", query=PageQuery, response=PlanPage),
    Route("GET", _PLAN, show_plan, "A work plan", path_model=PlanPath, response=WorkPlan),
    Route(
        "POST", f"{_PLAN}/retry", retry_plan, "Retry the unresolved entries of a work plan",
        path_model=PlanPath, body=RetryBody, response=RetryBegun, status=201,
        needs_bus=True, begins_work=True, scope="request",
    ),
    Route(
        "GET", "/api/v1/storage/missing", list_missing, "The videos of all work plans, each once",
        query=MissingQuery, response=MissingPage,
    ),
    Route("DELETE", _PLAN, remove_plan, "Remove a work plan", path_model=PlanPath, response=PlanRemoved),
)  # fmt: skip
