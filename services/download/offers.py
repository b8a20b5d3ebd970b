"""Look-ups of the formats that YouTube offers for a video.

One request at a time, in a yt-dlp child beside the slots. Answers are cached.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from cachetools import TTLCache
from pydantic import AwareDatetime, BaseModel, ValidationError

from services.common.domain.failures import Failure, FailureKind
from services.common.events import SourceBlocked, SourceCleared
from services.common.lookup_permission import may_look_up, refusal, too_slow
from services.common.models import ErrorCode
from services.common.youtube.classify import classify
from services.common.youtube.messages import Choice, Format, Offered, OfferRequest
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.quality import AUDIO, BEST, HEIGHTS
from services.download.blocks.block_message import block_message
from services.download.blocks.breaker import Breaker
from services.download.context import WorkerContext
from services.download.formats import choose

READ = 30.0  # seconds; SPEC: TIMEOUTS read
CACHED = 100  # videos
CACHED_FOR = 300.0  # seconds
QUALITIES = (BEST, *(f"{height}p" for height in HEIGHTS), AUDIO)


class QualityChoice(Choice):
    """What a download of this `quality` would select. Without `format_ids`: nothing matches."""

    quality: str


class Formats(BaseModel):
    """The formats of a video, best first, and the selection of each quality. Sizes in bytes, bitrates in kbit/s.
    `asked_at`: when YouTube answered; answers are cached for five minutes."""

    video_id: str
    title: str
    duration_seconds: float | None
    asked_at: AwareDatetime
    formats: list[Format]
    choices: list[QualityChoice]


class Offers:
    """`asked` is the number of requests to YouTube."""

    def __init__(self, context: WorkerContext, breaker: Breaker, child: YtDlpChild) -> None:
        self._context = context
        self._breaker = breaker
        self.asked = 0
        self.child = child
        self._lock = asyncio.Lock()
        self._recent: TTLCache[str, Formats] = TTLCache(CACHED, CACHED_FOR)

    async def of(self, video_id: str, trace_id: str) -> Formats:
        """Return the formats of a video. Raises VideoUnavailable with the reason, ServiceUnavailable (with a time, when
        YouTube refuses this machine), NetworkTimeout."""
        try:
            async with asyncio.timeout(READ), self._lock:
                if (known := self._recent.get(video_id)) is not None:
                    return known
                found = await self._ask(video_id, trace_id)
                self._recent[video_id] = found
                return found
        except TimeoutError as error:
            raise too_slow(video_id) from error

    async def close(self) -> None:
        await self.child.kill()

    async def _ask(self, video_id: str, trace_id: str) -> Formats:
        probing = await may_look_up(self._context.bus, self._context.instance, self._context.egress, trace_id)
        self.asked += 1
        answer = await self._extract(video_id)
        failure = answer if isinstance(answer, Failure) else None
        if failure is not None and failure.kind is FailureKind.SITE_WIDE:
            failure = await self._blocked(failure, trace_id)
        elif probing and (failure is None or failure.kind in {FailureKind.GONE, FailureKind.NOT_YET}):
            self._breaker.succeed()
            await self._context.bus.publish(SourceCleared(egress=self._context.egress), trace_id=trace_id)
        if failure is not None:
            raise refusal(failure, video_id, datetime.now(UTC))
        assert isinstance(answer, Offered)  # noqa: S101 - no failure
        return _formats(answer)

    async def _blocked(self, failure: Failure, trace_id: str) -> Failure:
        """Block the slots too, and inform jobs."""
        until = self._breaker.trip(datetime.now(UTC), failure)
        message = block_message(failure.reason, failure, canary=False, advice="")
        blocked = SourceBlocked(egress=self._context.egress, reason=failure.reason, until=until, message=message)
        await self._context.bus.publish(blocked, trace_id=trace_id)
        await self._context.announce()
        return failure.model_copy(update={"retry_after": until})

    async def _extract(self, video_id: str) -> Offered | Failure:
        found: list[Offered] = []

        async def add(message: dict[str, Any]) -> None:
            found.append(Offered.model_validate(message))

        settings = self._context.config.download
        choices = {quality: choose(quality, settings) for quality in QUALITIES}
        request = OfferRequest(video_id=video_id, choices=choices)
        try:
            await self.child.run("offer", request.model_dump(mode="json"), on_message=add)
        except ChildFailed as error:
            return classify(error.facts, datetime.now(UTC))
        except (ChildCrashed, ValidationError) as error:
            return Failure(
                kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="crash", message=str(error)[:500]
            )
        return found[0]


def _formats(offered: Offered) -> Formats:
    return Formats(
        video_id=offered.video_id,
        title=offered.title,
        duration_seconds=offered.duration_seconds,
        asked_at=datetime.now(UTC),
        formats=list(reversed(offered.formats)),
        choices=[
            QualityChoice(quality=quality, **choice.model_dump())
            for quality in QUALITIES
            if (choice := offered.choices.get(quality)) is not None
        ],
    )
