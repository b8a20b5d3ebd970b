"""Creates re-check jobs for unresolved entries of work plans, in rounds, while the service runs.

The plans record a re-check before its job is created. If the process dies between the two, the next one creates the job
under the same id.
"""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid4, uuid5

import structlog

from bus import Bus
from services.common.errors import InvalidRequest, code_of
from services.common.events import JobCreated
from services.common.rechecks import recheck_id
from services.common.settings.load import Storage
from services.storage.formats.layout import tree_of
from services.storage.formats.work_plan import WorkPlan
from services.storage.workplans import recheck_policy
from services.storage.workplans.repository import WorkPlanRepository

_log = structlog.get_logger()
_LARGEST_JOB = 20_000  # targets


class RecheckScheduler:
    """`interval` is `[recheck] interval_days`; zero disables rounds."""

    def __init__(self, work_plans: WorkPlanRepository, settings: Storage, interval: timedelta, bus: Bus) -> None:
        self._work_plans = work_plans
        self._settings = settings
        self._interval = interval
        self._bus = bus

    async def run(self) -> None:
        """Background task: create what is due, round by round."""
        await self.publish_again()
        while self._interval:
            now = datetime.now(UTC)
            begin = recheck_policy.next_round(await self._plans(), now, self._interval)
            await asyncio.sleep((begin - now).total_seconds())
            try:
                await self.round()
            except OSError as error:
                _log.error("recheck_failed", error_code=code_of(error), error_message=str(error))
            await asyncio.sleep(recheck_policy.round_interval(self._interval).total_seconds())

    async def round(self) -> list[recheck_policy.RecheckBatch]:
        """Create the jobs that are due now. Return them."""
        now = datetime.now(UTC)
        batches = recheck_policy.choose_batches(await self._plans(), now, self._interval)
        for batch in batches:
            for plan_id, video_ids in batch.by_plan():
                await self._work_plans.record_recheck(plan_id, video_ids, batch.job_id, now)
            await self._create(batch)
        return batches

    async def retry(self, plan: WorkPlan, trace_id: str, video_ids: Collection[str] | None = None) -> JobCreated:
        """Create a job for all unresolved entries of a plan, or those of `video_ids`, at normal priority. Raises
        InvalidRequest for none."""
        chosen = None if video_ids is None else set(video_ids)
        waiting = [
            entry
            for entry in plan.entries()
            if entry.resolved_at is None and (chosen is None or entry.video_id in chosen)
        ]
        if not waiting:
            raise InvalidRequest(f"Nothing is open on work plan {plan.plan_id}.", plan_id=plan.plan_id)
        candidates = [recheck_policy.RecheckCandidate(plan, entry) for entry in waiting[:_LARGEST_JOB]]
        event = recheck_policy.RecheckBatch(recheck_id(uuid4().hex), candidates).event(priority=0)
        await self._work_plans.record_recheck(plan.plan_id, event.targets, event.job_id, datetime.now(UTC))
        await self._bus.publish(event, trace_id=trace_id)
        return event

    async def publish_again(self) -> None:
        """Publish the jobs of running re-checks again. Jobs ignores those that it knows: it lacks jobs that were never
        published, or lost with the broker's store."""
        for batch in recheck_policy.running_batches(await self._plans(), datetime.now(UTC)):
            await self._create(batch)

    async def _create(self, batch: recheck_policy.RecheckBatch) -> None:
        event = batch.event()
        _log.info("recheck_asked", job_id=batch.job_id, videos=len(event.targets))
        await self._bus.publish(event, trace_id=str(uuid5(NAMESPACE_URL, batch.job_id)), patience=None)

    async def _plans(self) -> list[WorkPlan]:
        """Return the plans of configured roots: jobs would reject any other."""
        return [plan for plan in await self._work_plans.all() if self._is_ours(plan.root)]

    def _is_ours(self, root: str) -> bool:
        try:
            tree_of(root, self._settings)
        except InvalidRequest:
            return False
        return True
