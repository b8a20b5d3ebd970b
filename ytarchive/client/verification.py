"""`ytarchive storage verify`: a running system verifies and mends; where nothing runs the files are only looked at."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from services.common.errors import ServiceUnavailable
from services.common.settings.load import Config
from services.storage.fixity.report import VerificationPage, VerificationState
from services.storage.offline import OfflineStorage
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
    verification = OfflineStorage(config).verification(root, list(video_ids) or None)

    async def read() -> None:
        reading = asyncio.ensure_future(asyncio.to_thread(verification.run))
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_ASK_EVERY)
                show(verification.state())
            await reading
        finally:
            verification.stop()

    with Interruption() as interruption:
        await interruption.unless(read())
    return verification.page()
