"""Queries for work plans. They read the files of work_plans/ and need no running service."""

import asyncio
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from services.common.errors import NotFound
from services.common.web.paging import Page, PageQuery
from services.storage.archive.json_file import expect_readable
from services.storage.formats.work_plan import WorkPlan
from services.storage.workplans.plan_file import PLAN_REMEDY, all_plans, plan_path, read_plan


class PlanSummary(BaseModel):
    plan_id: str
    root: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    unavailable: int
    failed: int
    resolved: int


class PlanPage(Page):
    work_plans: list[PlanSummary]


class WorkPlanQueries:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def page(self, query: PageQuery) -> PlanPage:
        """Return summaries of the plans, newest first."""
        return await asyncio.to_thread(self._page, query.limit, query.offset)

    async def plan(self, plan_id: str) -> WorkPlan:
        """Raises NotFound, StateDamaged."""
        path = plan_path(self._directory, plan_id)
        found = await asyncio.to_thread(read_plan, path)
        if found is None:
            await asyncio.to_thread(expect_readable, path, WorkPlan, PLAN_REMEDY)
            raise NotFound(f"There is no work plan {plan_id}: `ytarchive workplan list` shows all.", plan_id=plan_id)
        return found

    def _page(self, limit: int, offset: int) -> PlanPage:
        plans = sorted(all_plans(self._directory), key=lambda plan: (plan.updated_at, plan.plan_id), reverse=True)
        found = [
            PlanSummary(
                **plan.model_dump(include={"plan_id", "root", "created_at", "updated_at"}),
                unavailable=plan.open_unavailable,
                failed=plan.open_failed,
                resolved=plan.resolved,
            )
            for plan in plans[offset : offset + limit]
        ]
        return PlanPage(work_plans=found, total=len(plans), limit=limit, offset=offset)
