"""Lookups for people: one video, many videos, a page of a playlist, a channel.

With a configured API key the Data API is queried first; lookups may use the quota that is reserved from jobs
(quota_reserve). What the API does not return is looked up by yt-dlp.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from cachetools import TTLCache

from bus import Bus
from services.common.domain.failures import FailureKind
from services.common.domain.videos import PlaylistMetadata, Target, VideoMetadata
from services.common.errors import ServiceUnavailable, VideoUnavailable, YTArchiveError
from services.common.lookup_permission import refusal, too_slow
from services.common.settings.retry_policy import BREAKER_OPEN, SPEC
from services.metadata.claims import Claims
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import ApiKeys
from services.metadata.data_api.source import DataApiSource
from services.metadata.page_cache import CachedListing, ListingCache
from services.metadata.permits import PermittedSource
from services.metadata.sources import Source, SourceFailed, SourceGivesUp
from services.metadata.ytdlp_source import YtDlpSource

READ = SPEC.read
READ_API = 12.0  # seconds, retries included; the rest of READ is left for the next source
BATCH = 25.0  # seconds; the answer still has to reach the caller within READ
REMEMBERED = 1_000  # videos
KEPT = 300.0  # seconds

Missing = dict[str, YTArchiveError]
log = structlog.get_logger("services.metadata")


class Lookups:
    def __init__(
        self,
        bus: Bus,
        keys: ApiKeys,
        api: DataApi,
        api_claims: Claims,
        keyless: PermittedSource[YtDlpSource],
        *,
        fallback: bool,
    ) -> None:
        self._bus = bus
        self._keys = keys
        self._api = api
        self._api_claims = api_claims
        self._keyless = keyless
        self._fallback = fallback
        self._listings = ListingCache(self._sources)
        self._videos: TTLCache[str, VideoMetadata] = TTLCache(REMEMBERED, KEPT)

    async def video(self, video_id: str, trace_id: str) -> VideoMetadata:
        """Return the metadata of a video. Raise VideoUnavailable with the reason, QuotaExceeded, InvalidCredentials,
        ServiceUnavailable, NetworkTimeout."""
        if (known := self._videos.get(video_id)) is not None:
            return known
        try:
            async with asyncio.timeout(READ):
                found = await self._by_api([video_id], trace_id)
                return found.get(video_id) or await self._by_extraction(video_id, trace_id)
        except TimeoutError as error:
            raise too_slow(video_id) from error

    async def videos(self, ids: Sequence[str], trace_id: str) -> tuple[dict[str, VideoMetadata], Missing]:
        """Return the metadata of up to 50 videos, and the errors of the others. With a key this is one call; without,
        as many extractions as time permits, two at once."""
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

    async def playlist(self, target: Target, limit: int, offset: int, trace_id: str) -> CachedListing:
        """Return a listing that contains `limit` entries from `offset` on, or all. Errors as in video()."""
        try:
            async with asyncio.timeout(READ):
                return await self._listings.read(target, offset + limit, trace_id)
        except TimeoutError as error:
            raise too_slow(str(target)) from error
        except SourceFailed as error:
            raise refusal(error.failure, str(target), datetime.now(UTC)) from error

    async def channel(self, target: Target, trace_id: str) -> PlaylistMetadata:
        """Return a channel as the playlist of its uploads. Errors as in video()."""
        try:
            async with asyncio.timeout(READ):
                return await self._head(target, trace_id)
        except TimeoutError as error:
            raise too_slow(str(target)) from error
        except SourceFailed as error:
            raise refusal(error.failure, str(target), datetime.now(UTC)) from error

    async def close(self) -> None:
        await self._listings.close()

    # --- sources

    def _with_api(self) -> PermittedSource[DataApiSource] | None:
        key = self._keys.configured
        if key is None:
            return None
        source = DataApiSource(self._api, key, waits=not self._fallback, background=False)
        return PermittedSource(source, self._api_claims, self._bus, resumable=True)

    def _sources(self) -> list[PermittedSource[Source]]:
        with_api = self._with_api()
        return [with_api, self._keyless] if with_api is not None else [self._keyless]

    # --- videos

    async def _by_api(self, ids: Sequence[str], trace_id: str) -> dict[str, VideoMetadata]:
        found, _answered = await self._ask_api(ids, trace_id)
        return found

    async def _ask_api(self, ids: Sequence[str], trace_id: str) -> tuple[dict[str, VideoMetadata], bool]:
        """Return what the Data API returns for these videos, and whether it answered."""
        permitted = self._with_api()
        if permitted is None or not ids:
            return {}, permitted is not None
        try:
            async with asyncio.timeout(READ_API), permitted.permission(trace_id):
                found = await permitted.source.describe(ids)
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
            self._videos[metadata.video_id] = metadata
        return found, True

    async def _by_extraction(self, video_id: str, trace_id: str) -> VideoMetadata:
        try:
            async with self._keyless.permission(trace_id):
                metadata = await self._keyless.source.describe(video_id)
        except SourceFailed as error:
            raise refusal(error.failure, video_id, datetime.now(UTC)) from error
        self._videos[metadata.video_id] = metadata
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
                        refused = error if _affects_all(error) else refused
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
                async with with_api.permission(trace_id):
                    return await with_api.source.head(target)
            except SourceGivesUp as error:
                log.warning("look_up_goes_on_without_data_api", target=str(target), reason=error.failure.reason)
        async with self._keyless.permission(trace_id):
            return await self._keyless.source.head(target)


def _undescribed(video_id: str) -> VideoUnavailable:
    """A video that the API omits is not necessarily unavailable."""
    message = f"{video_id}: the Data API does not describe it. Look it up by itself to learn why."
    return VideoUnavailable(message, reason="not_described")


def _affects_all(error: YTArchiveError) -> bool:
    """Return whether the next video would fail in the same way: the egress is blocked, or jobs is unavailable."""
    if not isinstance(error, ServiceUnavailable):
        return False
    site_wide = error.details.get("kind") in {None, FailureKind.SITE_WIDE.value}
    return site_wide or error.details.get("reason") == BREAKER_OPEN
