"""What YouTube offers of a video, for people who ask before they download (DESIGN §5: politely).

One question at a time, in a child beside the slots that is started when somebody asks and ended when nobody has for a
while. What was asked a moment ago is remembered.
"""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, ValidationError

from services.common.events import SourceBlocked, SourceCleared
from services.common.infra.ttl_cache import Recent
from services.common.lookup_permission import may_look_up, refusal, too_slow
from services.common.models import ErrorCode, Failure, FailureKind
from services.common.youtube.classify import classify
from services.common.youtube.messages import Choice, Format, Offered, OfferRequest
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.quality import AUDIO, BEST, HEIGHTS
from services.common.youtube.settings import ChildSettings
from services.download.formats import choose

if TYPE_CHECKING:
    from services.download.service import DownloadService

READ = 30.0  # seconds; SPEC: TIMEOUTS read
IDLE = 60.0  # seconds until the child is ended
REMEMBERED = 100  # videos
KEPT = 300.0  # seconds
QUALITIES = (BEST, *(f"{height}p" for height in HEIGHTS), AUDIO)


class QualityChoice(Choice):
    """What a download of this `quality` would take. Without `format_ids`: nothing fits."""

    quality: str


class Formats(BaseModel):
    """The streams that there are, the best first, and what would be taken of them. Sizes in bytes, bitrates in kbit/s;
    YouTube said so at `asked_at`, and is asked anew when that is five minutes ago."""

    video_id: str
    title: str
    duration_seconds: float | None
    asked_at: AwareDatetime
    formats: list[Format]
    choices: list[QualityChoice]


class Offers:
    """`asked` counts the questions that went to YouTube; `idle` is in seconds."""

    def __init__(self, service: "DownloadService", idle: float = IDLE) -> None:
        self._service = service
        self.idle = idle
        self.asked = 0
        self.child = YtDlpChild(ChildSettings.of(service.config))
        self._one = asyncio.Lock()
        self._recent: Recent[Formats] = Recent(REMEMBERED, KEPT)
        self._ending: asyncio.Task[None] | None = None

    async def of(self, video_id: str, trace_id: str) -> Formats:
        """Raises VideoUnavailable with the reason, ServiceUnavailable (with a time, when YouTube refuses this machine),
        NetworkTimeout."""
        try:
            async with asyncio.timeout(READ), self._one:
                if (known := self._recent.get(video_id)) is not None:
                    return known
                found = await self._ask(video_id, trace_id)
                self._recent.put(video_id, found)
                return found
        except TimeoutError as error:
            raise too_slow(video_id) from error

    async def close(self) -> None:
        self._stay()
        await self.child.kill()

    async def _ask(self, video_id: str, trace_id: str) -> Formats:
        probing = await may_look_up(self._service.bus, self._service.instance, self._service.egress, trace_id)
        self.asked += 1
        self._stay()
        try:
            answer = await self._extract(video_id)
        finally:
            self._ending = asyncio.create_task(self._end_when_idle(), name="formats: end when idle")
        failure = answer if isinstance(answer, Failure) else None
        if failure is not None and failure.kind is FailureKind.SITE_WIDE:
            failure = await self._blocked(failure, trace_id)
        elif probing and (failure is None or failure.kind in {FailureKind.GONE, FailureKind.NOT_YET}):
            self._service.breaker.succeed()
            await self._service.bus.publish(SourceCleared(egress=self._service.egress), trace_id=trace_id)
        if failure is not None:
            raise refusal(failure, video_id, datetime.now(UTC))
        assert isinstance(answer, Offered)  # noqa: S101 - no failure
        return _formats(answer)

    async def _blocked(self, failure: Failure, trace_id: str) -> Failure:
        """The slots keep still too, and jobs hears of it."""
        until = self._service.breaker.trip(datetime.now(UTC), failure)
        blocked = SourceBlocked(egress=self._service.egress, reason=failure.reason, until=until)
        await self._service.bus.publish(blocked, trace_id=trace_id)
        await self._service.announce()
        return failure.model_copy(update={"retry_after": until})

    async def _extract(self, video_id: str) -> Offered | Failure:
        found: list[Offered] = []

        async def hear(message: dict[str, Any]) -> None:
            found.append(Offered.model_validate(message))

        request = OfferRequest(video_id=video_id, choices={quality: choose(quality) for quality in QUALITIES})
        try:
            await self.child.run("offer", request.model_dump(mode="json"), on_message=hear)
        except ChildFailed as error:
            return classify(error.facts, datetime.now(UTC))
        except (ChildCrashed, ValidationError) as error:
            return Failure(
                kind=FailureKind.LOCAL, code=ErrorCode.INTERNAL_ERROR, reason="crash", message=str(error)[:500]
            )
        return found[0]

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(self.idle)
        async with self._one:
            await self.child.kill()


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
