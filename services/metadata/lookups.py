"""Look-ups of people: one video, many, a playlist a page at a time, a channel.

With the configured API key the Data API is asked first, and the quota that jobs must leave alone (quota_reserve) may be
used. What it does not know, and what it cannot do now, yt-dlp answers from the site's own pages.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from bus import Bus
from services.common.errors import ServiceUnavailable, VideoUnavailable, YTArchiveError
from services.common.infra.ttl_cache import Recent
from services.common.lookup_permission import refusal, too_slow
from services.common.models import FailureKind, PlaylistMetadata, Target, VideoMetadata
from services.common.settings.retry_policy import BREAKER_OPEN, SPEC
from services.metadata.claims import Claims
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import Keys
from services.metadata.data_api.source import DataApiSource
from services.metadata.page_cache import Reading, Readings
from services.metadata.permits import Leave
from services.metadata.sources import Source, SourceFailed, SourceGivesUp
from services.metadata.ytdlp_source import YtDlpSource

READ = SPEC.read
READ_API = 12.0  # seconds, tries again included: of READ enough is left for the next source
BATCH = 25.0  # seconds: what is found by then still has to reach the caller
REMEMBERED = 1_000  # videos
KEPT = 300.0  # seconds

Missing = dict[str, YTArchiveError]
log = structlog.get_logger("services.metadata")


class LookUps:
    def __init__(
        self, bus: Bus, keys: Keys, api: DataApi, api_claims: Claims, keyless: Leave[YtDlpSource], *, fallback: bool
    ) -> None:
        self._bus = bus
        self._keys = keys
        self._api = api
        self._api_claims = api_claims
        self._keyless = keyless
        self._fallback = fallback
        self._readings = Readings(self._leaves)
        self._videos: Recent[VideoMetadata] = Recent(REMEMBERED, KEPT)

    async def video(self, video_id: str, trace_id: str) -> VideoMetadata:
        """Raises VideoUnavailable with the reason, QuotaExceeded, ServiceUnavailable, NetworkTimeout, …"""
        if (known := self._videos.get(video_id)) is not None:
            return known
        try:
            async with asyncio.timeout(READ):
                found = await self._by_api([video_id], trace_id)
                return found.get(video_id) or await self._by_extraction(video_id, trace_id)
        except TimeoutError as error:
            raise too_slow(video_id) from error

    async def videos(self, ids: Sequence[str], trace_id: str) -> tuple[dict[str, VideoMetadata], Missing]:
        """What is known of up to 50 videos, and why nothing is known of the others. With a key it is one call;
        without, as many extractions as there is time for, two at once."""
        found = {video_id: known for video_id in ids if (known := self._videos.get(video_id)) is not None}
        left = [video_id for video_id in dict.fromkeys(ids) if video_id not in found]
        try:
            async with asyncio.timeout(BATCH):
                described, answered = await self._ask_api(left, trace_id)
        except TimeoutError as error:
            raise too_slow("the Data API") from error
        found |= described
        if answered:
            return found, {video_id: _undescribed(video_id) for video_id in left if video_id not in described}
        extracted, missing = await self._extract(left, trace_id)
        return found | extracted, missing

    async def playlist(self, target: Target, limit: int, offset: int, trace_id: str) -> Reading:
        """A reading that knows the lines from `offset` on, `limit` of them or all. Errors as in video()."""
        try:
            async with asyncio.timeout(READ):
                return await self._readings.read(target, offset + limit, trace_id)
        except TimeoutError as error:
            raise too_slow(str(target)) from error
        except SourceFailed as error:
            raise refusal(error.failure, str(target), datetime.now(UTC)) from error

    async def channel(self, target: Target, trace_id: str) -> PlaylistMetadata:
        """A channel, as the playlist of its uploads. Errors as in video()."""
        try:
            async with asyncio.timeout(READ):
                return await self._head(target, trace_id)
        except TimeoutError as error:
            raise too_slow(str(target)) from error
        except SourceFailed as error:
            raise refusal(error.failure, str(target), datetime.now(UTC)) from error

    async def close(self) -> None:
        await self._readings.close()

    # --- ways

    def _with_api(self) -> Leave[DataApiSource] | None:
        key = self._keys.configured
        if key is None:
            return None
        source = DataApiSource(self._api, key, waits=not self._fallback, background=False)
        return Leave(source, self._api_claims, self._bus, reads_on=False)

    def _leaves(self) -> list[Leave[Source]]:
        with_api = self._with_api()
        return [with_api, self._keyless] if with_api is not None else [self._keyless]

    # --- videos

    async def _by_api(self, ids: Sequence[str], trace_id: str) -> dict[str, VideoMetadata]:
        found, _answered = await self._ask_api(ids, trace_id)
        return found

    async def _ask_api(self, ids: Sequence[str], trace_id: str) -> tuple[dict[str, VideoMetadata], bool]:
        """What the Data API knows of these, and whether it answered at all."""
        leave = self._with_api()
        if leave is None or not ids:
            return {}, leave is not None
        try:
            async with asyncio.timeout(READ_API), leave.asking(trace_id):
                found = await leave.source.describe(ids)
        except TimeoutError:
            log.warning(
                "look_up_goes_on_without_data_api", reason="timeout", error_message=f"no answer in {READ_API:g} s"
            )
            return {}, False
        except SourceGivesUp as error:
            failure = error.failure
            log.warning("look_up_goes_on_without_data_api", reason=failure.reason, error_message=failure.message)
            return {}, False
        except SourceFailed as error:
            raise refusal(error.failure, "The Data API", datetime.now(UTC)) from error
        for metadata in found.values():
            self._videos.put(metadata.video_id, metadata)
        return found, True

    async def _by_extraction(self, video_id: str, trace_id: str) -> VideoMetadata:
        try:
            async with self._keyless.asking(trace_id):
                metadata = await self._keyless.source.describe(video_id)
        except SourceFailed as error:
            raise refusal(error.failure, video_id, datetime.now(UTC)) from error
        self._videos.put(metadata.video_id, metadata)
        return metadata

    async def _extract(self, ids: Sequence[str], trace_id: str) -> tuple[dict[str, VideoMetadata], Missing]:
        tasks = {
            asyncio.create_task(self._by_extraction(video_id, trace_id), name=f"look-up of {video_id}"): video_id
            for video_id in ids
        }
        missing: Missing = {}
        found: dict[str, VideoMetadata] = {}
        refused: YTArchiveError | None = None
        waiting = set(tasks)
        until = asyncio.get_running_loop().time() + BATCH
        try:
            while waiting and refused is None and (left := until - asyncio.get_running_loop().time()) > 0:
                done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        found[tasks[task]] = task.result()
                    except YTArchiveError as error:
                        missing[tasks[task]] = error
                        refused = error if _of_everybody(error) else refused
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if refused is not None and not found:
            raise refused
        missing |= {tasks[task]: refused or too_slow(tasks[task]) for task in waiting}
        return found, {video_id: missing[video_id] for video_id in ids if video_id in missing}

    # --- channels

    async def _head(self, target: Target, trace_id: str) -> PlaylistMetadata:
        with_api = self._with_api()
        if with_api is not None:
            try:
                async with with_api.asking(trace_id):
                    return await with_api.source.head(target)
            except SourceGivesUp as error:
                log.warning("look_up_goes_on_without_data_api", target=str(target), reason=error.failure.reason)
        async with self._keyless.asking(trace_id):
            return await self._keyless.source.head(target)


def _undescribed(video_id: str) -> VideoUnavailable:
    """That it leaves one out decides nothing (DESIGN §5)."""
    message = f"{video_id}: the Data API does not describe it. Look it up by itself to learn why."
    return VideoUnavailable(message, reason="not_described")


def _of_everybody(error: YTArchiveError) -> bool:
    """Whether the next video would be answered the same: the way out is blocked, or jobs is away."""
    if not isinstance(error, ServiceUnavailable):
        return False
    site_wide = error.details.get("kind") in {None, FailureKind.SITE_WIDE.value}
    return site_wide or error.details.get("reason") == BREAKER_OPEN
