"""`ytarchive storage verify`: a running system verifies and mends; where nothing runs the files are only looked at."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from services.common.errors import ServiceUnavailable
from services.common.settings.load import Config
from services.storage.entrypoints.verification_api import VerificationPage, VerificationState, progress_of
from services.storage.fixity.checksum_reader import Pace
from services.storage.fixity.offline import Inspection, inspect
from services.storage.fixity.repository import Status, Verification, speed_of
from ytarchive.cli.running.interruption import Interrupted, Interruption
from ytarchive.client.endpoints import System, find_system, require_system
from ytarchive.client.rest import Rest

_PATH = "storage/verify"
_ASK_EVERY = 0.3  # seconds between two looks at a running verification
_PAGE = 500  # findings
Show = Callable[[VerificationState], None]


class StillRuns(Exception):
    """The user has seen enough of a verification that goes on by itself."""


async def verify(
    config: Config, root: str | None, video_ids: Sequence[str], show: Show, *, repair: bool
) -> VerificationPage:
    """Verify to the end. Raises StillRuns, Interrupted (nothing runs on), InvalidRequest, ServiceUnavailable."""
    system = await find_system(config)
    if system is None:
        return await _look(config, root, video_ids, show)
    body = {"root": root, "video_ids": list(video_ids) or None, "repair": repair}
    async with Rest.open(system.services["storage"]) as storage:
        await storage.send("POST", _PATH, {key: value for key, value in body.items() if value is not None})
        return await _follow(storage, show)


async def watch(config: Config, show: Show) -> VerificationPage:
    """Follow what a running system verifies; the last one where it does not."""
    async with _storage(await require_system(config)) as storage:
        return await _follow(storage, show)


async def stop(config: Config) -> VerificationPage:
    async with _storage(await require_system(config)) as storage:
        await storage.send("DELETE", _PATH)
        return await _page(storage, 0)


def _storage(system: System) -> Any:
    return Rest.open(system.services["storage"])


async def _follow(storage: Rest, show: Show) -> VerificationPage:
    with Interruption() as interruption:
        try:
            page = await interruption.unless(_until_ended(storage, show))
        except Interrupted:
            raise StillRuns from None
    while len(page.findings) < page.total:
        more = await _page(storage, len(page.findings))
        if not more.findings:
            break
        page.findings += more.findings
    return page


async def _until_ended(storage: Rest, show: Show) -> VerificationPage:
    while True:
        try:
            page = await _page(storage, 0)
        except ServiceUnavailable as error:
            raise ServiceUnavailable(
                f"{error.message}. What it verified is kept, it goes on at its next start:"
                " `ytarchive storage verify --watch` follows it then."
            ) from error
        if page.verification is None or page.verification.ended_at is not None:
            return page
        show(page.verification)
        await asyncio.sleep(_ASK_EVERY)


async def _page(storage: Rest, offset: int) -> VerificationPage:
    return VerificationPage.model_validate(await storage.get(_PATH, limit=_PAGE, offset=offset))


# --- while nothing runs -----------------------------------------------------------------------------------------------


async def _look(config: Config, root: str | None, video_ids: Sequence[str], show: Show) -> VerificationPage:
    stopped = threading.Event()
    pace = Pace(config.fixity.rate_limit, stopped.is_set)
    begun_at, begun = datetime.now(UTC), time.monotonic()
    found = Inspection()

    def state(ended_at: datetime | None = None) -> VerificationState:
        damaged = sum(one.kind.damage for one in found.findings)
        known = Verification(
            verification_id="",
            trace_id="",
            asked=True,
            repair=False,
            roots=found.roots,
            status=Status.COMPLETED if ended_at else Status.RUNNING,
            error=_left_out(found),
            begun_at=begun_at,
            ended_at=ended_at,
            **{key: getattr(found, key) for key in ("videos", "videos_total", "files", "bytes", "bytes_total")},
            damaged=damaged,
            extra=len(found.findings) - damaged,
        )
        speed = speed_of(pace.read, time.monotonic() - begun, pace.read, found.bytes_total, None)
        return VerificationState(**known.model_dump(), progress=progress_of(known, speed))

    def keep(news: Inspection) -> None:
        nonlocal found
        found = news

    async def read() -> None:
        reading = asyncio.ensure_future(
            asyncio.to_thread(inspect, config.storage, root, list(video_ids) or None, pace, keep)
        )
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_ASK_EVERY)
                show(state())
            await reading
        finally:
            stopped.set()

    with Interruption() as interruption:
        await interruption.unless(read())
    return VerificationPage(
        verification=state(datetime.now(UTC)),
        findings=found.findings,
        total=len(found.findings),
        limit=max(len(found.findings), 1),
        offset=0,
    )


def _left_out(found: Inspection) -> str | None:
    if not found.unfinished:
        return None
    return f"Left out, for their take-in is finished at the next start: {', '.join(found.unfinished[:10])}"
