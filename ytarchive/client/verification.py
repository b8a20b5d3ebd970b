"""Verification of the archive: by a running storage service, which also repairs; else by reading the files."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from services.common.errors import ServiceUnavailable
from services.common.settings.load import Config
from services.storage.fixity.report import VerificationPage, VerificationState
from services.storage.offline import OfflineStorage
from ytarchive.client.endpoints import System
from ytarchive.client.rest import Rest

_PATH = "storage/verify"
_INTERVAL = 0.3  # seconds between two reports of progress
_FINDINGS_PAGE = 500

ShowProgress = Callable[[VerificationState], None]


class VerificationClient:
    """Verification by a running storage service. It continues there when this client is closed."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    @classmethod
    @asynccontextmanager
    async def open(cls, system: System) -> AsyncIterator[Self]:
        async with system.rest("storage") as rest:
            yield cls(rest)

    async def start(self, root: str | None, video_ids: Sequence[str], *, repair: bool) -> None:
        """`root` None: all roots. `video_ids` empty: all videos. Raise InvalidRequest."""
        body = {"root": root, "video_ids": list(video_ids) or None, "repair": repair}
        await self._rest.send("POST", _PATH, {key: value for key, value in body.items() if value is not None})

    async def stop(self) -> VerificationPage:
        """Raises InvalidRequest when no verification runs."""
        await self._rest.send("DELETE", _PATH)
        return await self._page(0)

    async def follow(self, show: ShowProgress) -> VerificationPage:
        """Report progress until the running verification has ended. Return it (or the last one) and all findings."""
        page = await self._until_ended(show)
        while len(page.findings) < page.total:
            more = await self._page(len(page.findings))
            if not more.findings:
                break
            page.findings += more.findings
        return page

    async def _until_ended(self, show: ShowProgress) -> VerificationPage:
        while True:
            try:
                page = await self._page(0)
            except ServiceUnavailable as error:
                raise ServiceUnavailable(
                    f"{error.message}. The results so far are kept, and the verification continues at the next start:"
                    " then `ytarchive storage verify --watch` follows it."
                ) from error
            if page.verification is None or page.verification.ended_at is not None:
                return page
            show(page.verification)
            await asyncio.sleep(_INTERVAL)  # storage has no event stream of verifications

    async def _page(self, offset: int) -> VerificationPage:
        return VerificationPage.model_validate(await self._rest.get(_PATH, limit=_FINDINGS_PAGE, offset=offset))


async def verify_offline(
    config: Config, root: str | None, video_ids: Sequence[str], show: ShowProgress
) -> VerificationPage:
    """Verify the files while no service runs, without repairing. When cancelled, nothing of it is kept."""
    verification = OfflineStorage(config).verification(root, list(video_ids) or None)
    reading = asyncio.ensure_future(asyncio.to_thread(verification.run))
    try:
        while not reading.done():
            await asyncio.wait({reading}, timeout=_INTERVAL)
            show(verification.state())
        await reading
    finally:
        verification.stop()
    return verification.page()
