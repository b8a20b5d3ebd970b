"""Verifies the archive, one pass at a time: requested by a user, or by the schedule. A pass continues after a restart.

Reading takes no lock. What differs is confirmed under the lock of its video, and moved to quarantine there
(services.storage.fixity.repairs).
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from bus.fault_injection import fault_point
from bus.tasks import first_of
from services.common.errors import InvalidRequest, ServiceUnavailable, YTArchiveError, code_of
from services.common.settings.sections import Fixity
from services.storage.archive import commit
from services.storage.archive.locks import NamedLocks
from services.storage.archive.threads import run_to_end
from services.storage.archive.tree_walk import trees_below
from services.storage.archive.tree_walk import video_ids as ids_in
from services.storage.archive_store import ArchiveStore
from services.storage.fixity.checksum_reader import RateLimiter, ReadingStopped, is_unchanged, read_video
from services.storage.fixity.repairs import Repairer
from services.storage.fixity.repository import (
    QueuedVideo,
    ReadSpeed,
    Verification,
    VerificationRepository,
    VerificationStatus,
    VideoResult,
    read_speed,
)
from services.storage.fixity.rules import FindingKind, FixityFinding, VideoState, compare
from services.storage.fixity.schedule import DueVideo, is_round_due, select_round
from services.storage.formats.layout import ArchiveTree
from services.storage.index.roots import ArchiveRoots

_log = structlog.get_logger()
_SCHEDULE_INTERVAL = 60.0  # seconds between two checks of the schedule
_COLLECT_FOR = 30.0  # seconds to collect damage, so that one job repairs many videos
_UNLOCKED_ATTEMPTS = 2  # readings of a changing video before it is read under its lock


@dataclass
class _Run:
    """A verification that is running. `verification` has the same counts as the repository."""

    verification: Verification
    rate_limiter: RateLimiter
    stop: threading.Event
    began: float = field(default_factory=time.monotonic)
    video_id: str | None = None
    read_before: int = 0  # bytes, when the current video began
    gathered_at: float | None = None

    @property
    def verification_id(self) -> str:
        return self.verification.verification_id


class Verifier:
    """Verifies in the background (`run`); the other methods serve REST. Reading has a thread of its own: it may be busy
    for hours, and the default executor is shared by all services of a process."""

    def __init__(
        self,
        settings: Fixity,
        roots: ArchiveRoots,
        archive: ArchiveStore,
        repository: VerificationRepository,
        repairs: Repairer,
        locks: NamedLocks,
        closing: asyncio.Event,
        quiet: float,
    ) -> None:
        """`quiet`: seconds from now in which the schedule begins nothing."""
        self._settings = settings
        self._roots = roots
        self._archive = archive
        self._repository = repository
        self._repairs = repairs
        self._locks = locks
        self._closing = closing
        self._quiet_until = time.monotonic() + quiet
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verification")
        self._wake_up = asyncio.Event()
        self._queue_lock = asyncio.Lock()
        self._run: _Run | None = None
        self._damaged = 0
        self.bytes_read = 0  # since the start of the service, by ended verifications

    def close(self) -> None:
        self._reader.shutdown()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def begin(
        self, root: str | None, video_ids: Sequence[str] | None, *, repair: bool, trace_id: str
    ) -> Verification:
        """Start a verification on request. One that the schedule has started is interrupted.

        Raises InvalidRequest while another one runs, for a foreign root, and for a video of which nothing is held.
        """
        async with self._queue_lock:
            running = await self._repository.last(open_only=True, asked=True)
            if running is not None:
                raise InvalidRequest(
                    f"A verification runs already, since {running.begun_at:%Y-%m-%d %H:%M} UTC."
                    " `ytarchive storage verify --watch` follows it, `--stop` (DELETE over REST) ends it.",
                    verification_id=running.verification_id,
                )
            trees = await self._trees(root)
            videos = await self._videos(trees, video_ids)
            new = await self._new([tree.key for tree in trees], videos, asked=True, repair=repair, trace_id=trace_id)
        if self._run is not None and not self._run.verification.asked:
            self._run.stop.set()
        self._wake_up.set()
        return new

    async def stop(self) -> Verification | None:
        """Stop the running verification; its findings are kept. Return it, or None when none runs."""
        async with self._queue_lock:
            running = await self._repository.last(open_only=True)
            if running is not None:
                await self._repository.end(running.verification_id, VerificationStatus.STOPPED, datetime.now(UTC))
                if self._run is not None and self._run.verification_id == running.verification_id:
                    self._run.stop.set()
        return await self._repository.last() if running else None

    def speed(self, verification_id: str) -> ReadSpeed | None:
        """Return the progress of a verification that this process is working on."""
        run = self._run
        if run is None or run.verification_id != verification_id:
            return None
        read = run.verification.bytes + run.rate_limiter.read - run.read_before
        passed = time.monotonic() - run.began
        return read_speed(run.rate_limiter.read, passed, read, run.verification.bytes_total, run.video_id)

    def metrics(self) -> dict[str, Any]:
        run = self._run
        known = run.verification if run else None
        return {
            "verifying": known.verification_id if known else None,
            "verify_videos": known.videos if known else 0,
            "verify_videos_total": known.videos_total if known else 0,
            "verify_bytes_read": self.bytes_read + (run.rate_limiter.read if run else 0),
            "files_damaged": known.damaged if known else self._damaged,
        }

    # --- the background task ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Background task: verify until the service closes."""
        await self._repairs.publish()  # left by a crash
        while not self._closing.is_set():
            self._wake_up.clear()
            try:
                current = await self._current()
            except (YTArchiveError, OSError) as error:  # a network share in trouble: try again later
                current = None
                _log.error("verification_failed", error_code=code_of(error), error_message=str(error))
            if current is not None:
                await self._work(current)
            else:
                quiet = self._quiet_until - time.monotonic()
                await self._pause(min(quiet, _SCHEDULE_INTERVAL) if quiet > 0 else _SCHEDULE_INTERVAL)

    async def _current(self) -> Verification | None:
        """Return the verification to work on: a requested one at once, one of the schedule after the quiet period."""
        async with self._queue_lock:
            asked = await self._repository.last(open_only=True, asked=True)
            newest = await self._repository.last()
            self._damaged = newest.damaged if newest else 0
            if asked is not None or time.monotonic() < self._quiet_until:
                return asked
            return await self._repository.last(open_only=True) or await self._begin_round()

    async def _begin_round(self) -> Verification | None:
        days, now = self._settings.interval_days, datetime.now(UTC)
        before = await self._repository.last(asked=False)
        last_round = before.begun_at if before else None
        if not days or not is_round_due(last_round, now):
            return None
        trees = await self._trees(None)
        videos = select_round(await self._repository.due([tree.key for tree in trees]), days, now, last_round)
        if not videos:
            return None
        roots = sorted({video.root for video in videos})
        return await self._new(roots, videos, asked=False, repair=True, trace_id=str(uuid4()))

    async def _new(
        self, roots: list[str], videos: Sequence[DueVideo], *, asked: bool, repair: bool, trace_id: str
    ) -> Verification:
        new = Verification(
            verification_id=str(uuid4()),
            trace_id=trace_id,
            asked=asked,
            repair=repair,
            roots=roots,
            status=VerificationStatus.RUNNING,
            begun_at=datetime.now(UTC),
            videos_total=len(videos),
            bytes_total=sum(video.bytes for video in videos),
        )
        await self._repository.begin(new, videos)
        return new

    async def _pause(self, seconds: float) -> None:
        """Wait; ended early by a request, or by the end of the service."""
        await first_of(self._wake_up, self._closing, patience=seconds)

    # --- one verification ---------------------------------------------------------------------------------------------

    async def _work(self, verification: Verification) -> None:
        stop = threading.Event()
        rate_limiter = RateLimiter(self._settings.rate_limit, lambda: stop.is_set() or self._closing.is_set())
        run = self._run = _Run(verification, rate_limiter, stop)
        log = _log.bind(trace_id=verification.trace_id, verification_id=run.verification_id)
        log.info("verification_started", roots=verification.roots, videos=verification.videos_total)
        try:
            await self._read_all(run)
            await self._end(run, VerificationStatus.COMPLETED)
        except ReadingStopped:
            if not self._closing.is_set():  # else it continues after the next start
                await self._repairs.publish()
                await self._end(run, VerificationStatus.STOPPED)
        except (YTArchiveError, OSError) as error:
            log.error("verification_failed", error_code=code_of(error), error_message=str(error))
            await self._repairs.publish()
            await self._repository.end(run.verification_id, VerificationStatus.FAILED, datetime.now(UTC), str(error))
        finally:
            self.bytes_read += rate_limiter.read
            self._damaged = run.verification.damaged
            self._run = None

    async def _end(self, run: _Run, status: VerificationStatus) -> None:
        await self._repository.end(run.verification_id, status, datetime.now(UTC))
        known = run.verification
        _log.info(
            "verification_ended",
            trace_id=known.trace_id,
            verification_id=run.verification_id,
            status=status,
            videos=known.videos,
            bytes=known.bytes,
            damaged=known.damaged,
            extra=known.extra,
        )

    async def _read_all(self, run: _Run) -> None:
        while (video := await self._repository.next(run.verification_id)) is not None:
            while not run.verification.asked and self._archive.taking_in:
                await self._pause(0.2)
                run.rate_limiter.check()
            run.video_id, run.read_before = video.video_id, run.rate_limiter.read
            read = await self._one(run, video)
            fault_point("storage.verified")
            await self._repository.finish_video(run.verification_id, video, read, datetime.now(UTC))
            run.read_before = run.rate_limiter.read
            run.verification = _counted(run.verification, read)
            if read.repairs:
                run.gathered_at = run.gathered_at or time.monotonic()
            if run.gathered_at is not None and time.monotonic() - run.gathered_at > _COLLECT_FOR:
                await self._repairs.publish()
                run.gathered_at = None
        while not await self._repairs.publish():  # for as long as the broker is unavailable
            await self._pause(1.0)
            run.rate_limiter.check()

    async def _one(self, run: _Run, video: QueuedVideo) -> VideoResult:
        """Read a video until its findings are confirmed. Raises ReadingStopped, ServiceUnavailable (the disk is not
        mounted)."""
        tree = self._roots.tree(video.root)
        for _patient in range(_UNLOCKED_ATTEMPTS):
            seen = await self._read(tree, video, run)
            findings = await self._compare(tree, video, seen)
            if not findings:
                return VideoResult(files=len(seen.files), bytes=seen.bytes)
            async with self._locks.hold(tree.key, video.video_id):
                await run_to_end(lambda: commit.recover(tree, video.video_id))
                if await asyncio.to_thread(is_unchanged, tree, video.video_id, seen, findings):
                    return await self._repairs.handle_findings(run.verification, tree, video, seen, findings)
        async with self._locks.hold(tree.key, video.video_id):
            seen = await self._read(tree, video, run)
            findings = await self._compare(tree, video, seen)
            return await self._repairs.handle_findings(run.verification, tree, video, seen, findings)

    async def _read(self, tree: ArchiveTree, video: QueuedVideo, run: _Run) -> VideoState:
        return await run_to_end(lambda: read_video(tree, video.video_id, run.rate_limiter), run.stop, self._reader)

    async def _compare(self, tree: ArchiveTree, video: QueuedVideo, seen: VideoState) -> tuple[FixityFinding, ...]:
        findings = compare(tree.key, video.video_id, seen, video.known)
        if any(one.kind is FindingKind.MISSING for one in findings):
            await self._roots.expect_mounted(tree)
        return findings

    # --- candidates ---------------------------------------------------------------------------------------------------

    async def _trees(self, root: str | None) -> list[ArchiveTree]:
        """Return the trees of the root, or of all, and of the archives below. Raises ServiceUnavailable for a root that
        cannot be read."""
        roots = self._roots.all if root is None else (self._roots.tree(root).root,)
        below = await asyncio.to_thread(lambda: [path for one in roots for path in (one, *_trees_below(one))])
        return [self._roots.tree(path) for path in dict.fromkeys(below)]

    async def _videos(self, trees: Sequence[ArchiveTree], video_ids: Sequence[str] | None) -> list[DueVideo]:
        due = await self._repository.due([tree.key for tree in trees])
        for tree in trees:
            await self._roots.expect_mounted(tree)
            known = {one.video_id for one in due if one.root == tree.key}
            on_disk = await asyncio.to_thread(_folders, tree)
            due += [DueVideo(tree.key, one, 0, None) for one in on_disk if one not in known]
        if video_ids is None:
            return due
        wanted = set(video_ids)
        lost = sorted(wanted - {one.video_id for one in due})
        if lost:
            raise InvalidRequest(f"Nothing is held of {lost[0]}. `ytarchive storage list` shows what is.", lost=lost)
        return [one for one in due if one.video_id in wanted]


def _counted(known: Verification, read: VideoResult) -> Verification:
    damaged = sum(one.kind.damage for one in read.findings)
    changes = {
        "videos": known.videos + 1,
        "files": known.files + read.files,
        "bytes": known.bytes + read.bytes,
        "damaged": known.damaged + damaged,
        "extra": known.extra + len(read.findings) - damaged,
    }
    return known.model_copy(update=changes)


def _trees_below(root: Path) -> list[Path]:
    try:
        return list(trees_below(root))
    except OSError as error:
        message = f"{error.filename or root} cannot be read ({error.strerror}). Check its disk."
        raise ServiceUnavailable(message, root=str(root)) from error


def _folders(tree: ArchiveTree) -> list[str]:
    return list(ids_in(tree))
