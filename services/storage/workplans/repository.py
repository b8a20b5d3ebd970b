"""The repository of work plans: files in work_plans/, indexed in the catalogue."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from services.common.domain.archive import Held
from services.common.events import FindingWithdrawn, VideoFailed
from services.common.infra.files import remove_abandoned
from services.common.models import FailedDownload, JobType, UnavailableVideo
from services.common.rechecks import is_recheck
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.formats.work_plan import (
    WorkPlan,
    is_rechecked_by,
    with_arrival,
    with_failure,
    with_recheck,
    with_recheck_ended,
    with_recheck_failure,
    without_finding,
)
from services.storage.index.catalogue import Catalogue
from services.storage.workplans.plan_file import all_plans, plan_path, read_plan, save_plan


class WorkPlanRepository:
    """One writer per plan at a time. The file is written before the catalogue; after a crash the repeated event repairs
    the difference."""

    def __init__(
        self, directory: Path, catalogue: Catalogue, locks: NamedLocks, space: DiskSpace, recheck_after: timedelta
    ) -> None:
        """`recheck_after`: the time until the re-check of an entry; zero: there is none."""
        self._directory = directory
        self._recheck_after = recheck_after
        self._catalogue = catalogue
        self._locks = locks
        self._space = space

    def path(self, plan_id: str) -> Path:
        return plan_path(self._directory, plan_id)

    async def all(self) -> list[WorkPlan]:
        return await asyncio.to_thread(lambda: list(all_plans(self._directory)))

    async def add(self, event: VideoFailed, trace_id: str) -> WorkPlan:
        """Add a failed video to its job's plan, once. The failure of a re-check goes onto the plan that
        requested it."""
        if event.unavailable is not None:
            event = event.model_copy(update={"unavailable": await self._with_memory(event.unavailable)})
        if event.failed is not None:
            event = event.model_copy(update={"failed": self._with_retry_time(event.failed)})
        if is_recheck(event.job_id) and (plan := await self._renew(event)):
            return plan
        async with self._locks.hold("work_plan", event.job_id):
            before = await asyncio.to_thread(read_plan, self.path(event.job_id))
            after = with_failure(before, event, now=datetime.now(UTC), trace_id=trace_id)
            await self._save(before, after)
        return after

    async def _renew(self, event: VideoFailed) -> WorkPlan | None:
        """Return None when no plan requested the re-check, or the plan was removed since."""
        for plan_id in await self._catalogue.plans_with_video(str(Path(event.root)), event.video_id):
            async with self._locks.hold("work_plan", plan_id):
                before = await asyncio.to_thread(read_plan, self.path(plan_id))
                if before is not None and is_rechecked_by(before, event.video_id, event.job_id):
                    after = with_recheck_failure(before, event, now=datetime.now(UTC))
                    await self._save(before, after)
                    return after
        return None

    async def withdraw(self, event: FindingWithdrawn) -> None:
        """Remove a finding from its job's plan and from what is known of the video."""
        async with self._locks.hold("work_plan", event.job_id):
            before = await asyncio.to_thread(read_plan, self.path(event.job_id))
            found = before.entry(event.video_id) if before is not None else None
            if before is None or found is None:
                return
            after = without_finding(before, event.video_id, event.number, now=datetime.now(UTC))
            if after is not before:
                await self._catalogue.forget_finding(event.video_id, found.checked_at)
                await self._save(before, after)

    async def record_recheck(self, plan_id: str, video_ids: Collection[str], job_id: str, now: datetime) -> None:
        """Store that a re-check job was created for these videos."""
        await self._change(plan_id, lambda plan: with_recheck(plan, video_ids, job_id, now=now))

    async def end_recheck(self, job_id: str) -> None:
        asked = [
            plan.plan_id for plan in await self.all() if any(one.is_rechecked_by(job_id) for one in plan.entries())
        ]
        for plan_id in asked:
            await self._change(plan_id, lambda plan: with_recheck_ended(plan, job_id, now=datetime.now(UTC)))

    async def resolve_described(self, root: str, video_id: str) -> None:
        """Resolve the video in metadata-only plans: its metadata has arrived."""
        for plan_id in await self._catalogue.plans_waiting_for(root, video_id):
            await self._change(plan_id, lambda plan: _described(plan, video_id))

    async def _change(self, plan_id: str, change: Callable[[WorkPlan], WorkPlan]) -> None:
        async with self._locks.hold("work_plan", plan_id):
            before = await asyncio.to_thread(read_plan, self.path(plan_id))
            if before is None:
                if not await asyncio.to_thread(
                    self.path(plan_id).exists
                ):  # else it cannot be read, and may be repaired
                    await self._catalogue.forget_plan(plan_id)  # removed by a user
            elif (after := change(before)) is not before:
                await self._save(before, after)

    async def resolve_arrived(self, root: str, video_id: str) -> None:
        """Resolve the video in every plan of its root that waits for it."""
        for plan_id in await self._catalogue.plans_waiting_for(root, video_id):
            await self._change(plan_id, lambda plan: with_arrival(plan, video_id, now=datetime.now(UTC)))

    async def resolve_held(self, root: str, held: Iterable[Held]) -> None:
        """Resolve videos that are held as a plan requested them: a retry that finds them causes no `video.archived`."""
        qualities = {one.video_id: one.qualities for one in held if one.qualities}
        for plan_id, video_id in await self._catalogue.plans_waiting_among(root, qualities):
            await self._change(plan_id, partial(_found, video_id=video_id, qualities=qualities[video_id]))

    async def remove(self, plan_id: str) -> None:
        """Remove a plan, on a user's request only (SPEC: Data Retention). Which videos are gone stays known."""
        async with self._locks.hold("work_plan", plan_id):
            await asyncio.to_thread(self.path(plan_id).unlink, missing_ok=True)
            await self._catalogue.forget_plan(plan_id)

    async def clear(self) -> None:
        """Remove half-written plans, which a killed process left."""
        await asyncio.to_thread(remove_abandoned, self._directory)

    async def index_all(self) -> None:
        """Rebuild the catalogue's rows of all plans from their files."""
        for plan in await self.all():
            await self._catalogue.index_plan(plan)

    async def _save(self, before: WorkPlan | None, after: WorkPlan) -> None:
        await self._space.write(lambda: save_plan(self._directory, before, after), self._directory)
        await self._catalogue.index_plan(after)

    async def _with_memory(self, unavailable: UnavailableVideo) -> UnavailableVideo:
        """Complete title and last sighting from the catalogue."""
        seen = await self._catalogue.last_seen(unavailable.video_id)
        if seen is None:
            return unavailable
        title, at = seen
        last = unavailable.last_available or (at if at <= unavailable.detected_at else None)
        return unavailable.model_copy(update={"title": unavailable.title or title, "last_available": last})

    def _with_retry_time(self, failed: FailedDownload) -> FailedDownload:
        """Name the time of the next re-check, unless the failure itself named a time."""
        if not self._recheck_after:
            return failed
        recheck = failed.last_attempt + self._recheck_after
        return failed.model_copy(update={"retry_after": failed.retry_after or recheck})


def _found(plan: WorkPlan, *, video_id: str, qualities: Collection[str]) -> WorkPlan:
    wanted = plan.options.quality in qualities and plan.type is not JobType.METADATA_ONLY
    return with_arrival(plan, video_id, now=datetime.now(UTC)) if wanted else plan


def _described(plan: WorkPlan, video_id: str) -> WorkPlan:
    return with_arrival(plan, video_id, now=datetime.now(UTC)) if plan.type is JobType.METADATA_ONLY else plan
