"""Keeps the work plans: files under work_plans/, followed by the catalogue."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from services.common.events import VideoFailed
from services.common.models import UnavailableVideo
from services.storage.catalogue import Catalogue
from services.storage.locks import Locks
from services.storage.plans import WorkPlan, all_plans, plan_path, read_plan, save_plan, with_arrival, with_failure
from services.storage.scan import sweep
from services.storage.space import Space


class Planner:
    """One writer per plan at a time. The file is written before the catalogue; a repeat mends what a crash left."""

    def __init__(self, directory: Path, catalogue: Catalogue, locks: Locks, space: Space) -> None:
        self._directory = directory
        self._catalogue = catalogue
        self._locks = locks
        self._space = space

    def path(self, plan_id: str) -> Path:
        return plan_path(self._directory, plan_id)

    async def add(self, event: VideoFailed, trace_id: str) -> WorkPlan:
        """Put a video that was given up onto its job's plan, once."""
        if event.unavailable is not None:
            event = event.model_copy(update={"unavailable": await self._with_memory(event.unavailable)})
        async with self._locks.hold("work_plan", event.job_id):
            before = await asyncio.to_thread(read_plan, self.path(event.job_id))
            after = with_failure(before, event, now=datetime.now(UTC), trace_id=trace_id)
            await self._save(before, after)
        return after

    async def arrived(self, root: str, video_id: str) -> None:
        """Mark the video as resolved in every plan of its root that waits for it."""
        for plan_id in await self._catalogue.plans_waiting_for(root, video_id):
            async with self._locks.hold("work_plan", plan_id):
                before = await asyncio.to_thread(read_plan, self.path(plan_id))
                if before is None:
                    await self._catalogue.forget_plan(plan_id)  # removed by hand
                else:
                    await self._save(before, with_arrival(before, video_id, now=datetime.now(UTC)))

    async def remove(self, plan_id: str) -> None:
        """By hand only (SPEC: Data Retention). What it said of videos that are gone stays known."""
        async with self._locks.hold("work_plan", plan_id):
            await asyncio.to_thread(self.path(plan_id).unlink, missing_ok=True)
            await self._catalogue.forget_plan(plan_id)

    async def index_all(self) -> None:
        """Make the catalogue's view of the plans anew from their files."""
        for plan in await asyncio.to_thread(lambda: list(all_plans(self._directory))):
            await self._catalogue.index_plan(plan)
        await asyncio.to_thread(sweep, self._directory)

    async def _save(self, before: WorkPlan | None, after: WorkPlan) -> None:
        await self._space.write(lambda: save_plan(self._directory, before, after))
        await self._catalogue.index_plan(after)

    async def _with_memory(self, unavailable: UnavailableVideo) -> UnavailableVideo:
        """Title and last sighting, where jobs does not know them and the archive does."""
        seen = await self._catalogue.last_seen(unavailable.video_id)
        if seen is None:
            return unavailable
        title, at = seen
        last = unavailable.last_available or (at if at <= unavailable.detected_at else None)
        return unavailable.model_copy(update={"title": unavailable.title or title, "last_available": last})
