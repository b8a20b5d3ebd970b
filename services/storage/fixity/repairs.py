"""From damage to repair jobs: damaged files are moved to quarantine under the video's lock, reported, and requested
once.

Nothing is deleted. What could not be moved is not downloaded again, because the download would overwrite it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import NAMESPACE_URL, uuid5

import structlog

from bus import Bus, BusError
from bus.fault_injection import fault_point
from services.common.errors import code_of
from services.common.events import FixityFailed, JobCreated
from services.common.models import ErrorCode
from services.storage.archive.threads import run_to_end
from services.storage.fixity import quarantine
from services.storage.fixity.repair_plan import plan_repairs, repairable
from services.storage.fixity.repository import (
    PendingRepair,
    QueuedVideo,
    Verification,
    VerificationRepository,
    VideoResult,
)
from services.storage.fixity.rules import FixityFinding, VideoState
from services.storage.formats.layout import ArchiveTree

_log = structlog.get_logger()
_LARGEST_JOB = 5_000  # videos


class Repairer:
    """`handle_findings` is called under the lock of the video; `publish` creates the jobs for what was found, also by a
    process that has died since."""

    def __init__(self, repository: VerificationRepository, bus: Bus) -> None:
        self._repository = repository
        self._bus = bus

    async def handle_findings(
        self,
        verification: Verification,
        tree: ArchiveTree,
        video: QueuedVideo,
        seen: VideoState,
        findings: tuple[FixityFinding, ...],
    ) -> VideoResult:
        """Move damaged files to quarantine and report all findings. Findings that were saved before a crash are
        reported as they were saved."""
        holding = seen.manifest or video.known
        selected = repairable(findings, seen) if verification.repair else ()
        saved = {one.name: one for one in await self._repository.saved_findings(verification.verification_id, video)}
        reported: list[FixityFinding] = []
        to_repair: list[FixityFinding] = []
        for finding in findings:
            earlier = saved.get(finding.name)
            if earlier is not None and await asyncio.to_thread(quarantine.is_moved, earlier):
                reported.append(earlier)
                to_repair.append(earlier)
            elif finding in selected:
                moved = await self._set_aside(verification, tree, finding)
                reported.append(moved or finding)
                to_repair += [moved] if moved else []
            else:
                reported.append(finding)
        self._log_findings(verification, reported)
        await self._announce(verification, video, [one for one in reported if one.kind.damage])
        repairs = plan_repairs(tree.key, holding, to_repair) if holding is not None and to_repair else ()
        return VideoResult(tuple(reported), repairs, len(seen.files), seen.bytes)

    async def _set_aside(
        self, verification: Verification, tree: ArchiveTree, finding: FixityFinding
    ) -> FixityFinding | None:
        """Return the finding with its destination, or None when the file could not be moved."""
        planned = await asyncio.to_thread(
            quarantine.plan_move, tree, finding, f"{verification.begun_at:%Y%m%dT%H%M%SZ}"
        )
        await self._repository.save_findings(verification.verification_id, [planned])
        fault_point("storage.before_set_aside")
        try:
            await run_to_end(lambda: quarantine.move(tree, planned))
        except OSError as error:
            _log.error(
                "set_aside_failed",
                trace_id=verification.trace_id,
                error_code=code_of(error),
                error_message=str(error),
                video_id=finding.video_id,
                file=finding.name,
                to=planned.set_aside,
            )
            return None
        fault_point("storage.after_set_aside")
        return planned

    def _log_findings(self, verification: Verification, findings: Sequence[FixityFinding]) -> None:
        for one in findings:
            facts = one.model_dump(mode="json", exclude_none=True, exclude={"message", "name"})
            context = {
                "trace_id": verification.trace_id,
                "verification_id": verification.verification_id,
                "file": one.name,
            }
            if one.kind.damage:
                _log.error(
                    "file_damaged", error_code=ErrorCode.INTERNAL_ERROR, error_message=one.message, **context, **facts
                )
            else:
                _log.warning("file_unknown", error_message=one.message, **context, **facts)

    async def _announce(self, verification: Verification, video: QueuedVideo, damaged: Sequence[FixityFinding]) -> None:
        if not damaged:
            return
        event = FixityFailed(
            verification_id=verification.verification_id,
            root=video.root,
            video_id=video.video_id,
            files=tuple(one.name for one in damaged),
            reasons=tuple(one.message for one in damaged),
            set_aside={one.name: one.set_aside for one in damaged if one.set_aside},
        )
        with suppress(BusError):  # the log has it too
            event_id = uuid5(NAMESPACE_URL, f"{verification.verification_id}|{video.root}|{video.video_id}")
            await self._bus.publish(event, trace_id=verification.trace_id, id=str(event_id), patience=1.0)

    async def publish(self) -> bool:
        """Create the jobs of pending repairs. Job ids are derived from the content, so a repetition after a crash
        creates no second job. Return False while the broker is unavailable."""
        for pending in await self._repository.pending(_LARGEST_JOB):
            event = _repair_job(pending)
            context = {"trace_id": pending.trace_id, "verification_id": pending.verification_id, "job_id": event.job_id}
            try:
                await self._bus.publish(event, trace_id=pending.trace_id, id=event.job_id)
            except BusError as error:
                _log.warning("repair_waits", error_message=str(error), **context)
                return False
            fault_point("storage.repair_published")
            await self._repository.mark_published(pending, event.job_id)
            _log.info("repair_begun", videos=len(pending.video_ids), **context)
        return True


def _repair_job(pending: PendingRepair) -> JobCreated:
    repair = pending.repair.model_dump_json()
    matter = "|".join((pending.verification_id, pending.root, repair, *pending.video_ids))
    return JobCreated(
        job_id=str(uuid5(NAMESPACE_URL, matter)),
        type=pending.repair.type,
        targets=pending.video_ids,
        options=pending.repair.options,
    )
