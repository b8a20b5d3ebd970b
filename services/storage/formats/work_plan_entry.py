"""One video of a work plan: the fields of SPEC, all observations, and the re-check in progress. Pure."""

from abc import ABC, abstractmethod
from datetime import UTC, date, datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.domain.failures import GoneReason
from services.common.events import VideoFailed
from services.common.models import FailedDownload, UnavailableVideo

FAILED = "failed"  # the reason of an entry without attempts left


class Observation(BaseModel):
    """The video was found unavailable at `since`, and at each check until `last`; or it arrived at `resolved_at`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    reason: str
    since: AwareDatetime
    last: AwareDatetime
    resolved_at: AwareDatetime | None = None


class RecheckState(BaseModel):
    """The last re-check. `number` is that of the `video.failed` that answered it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    job_id: str
    asked_at: AwareDatetime
    number: int = 0
    ended_at: AwareDatetime | None = None


class _PlanEntry(BaseModel, ABC):
    """`resolved_at` is set when the video arrived later; `number` as in video.failed; `findings` are oldest first."""

    number: int = 0
    resolved_at: AwareDatetime | None = None
    findings: list[Observation] = Field(default_factory=list)
    recheck: RecheckState | None = None

    @property
    @abstractmethod
    def checked_at(self) -> datetime:
        """The last time that the video was found unavailable."""

    @property
    @abstractmethod
    def cause(self) -> str:
        """The reason of the last check."""

    @property
    def observations(self) -> list[Observation]:
        """All observations, also for entries of older versions, which do not store them."""
        at = self.checked_at
        return self.findings or [Observation(reason=self.cause, since=at, last=at, resolved_at=self.resolved_at)]

    def is_rechecked_by(self, job_id: str) -> bool:
        return self.recheck is not None and self.recheck.job_id == job_id

    def with_recheck(self, job_id: str, now: datetime) -> Self:
        return self.model_copy(update={"recheck": RecheckState(job_id=job_id, asked_at=now)})

    def with_recheck_ended(self, now: datetime) -> Self:
        """Return the entry after the end of its re-check, whatever the result."""
        if self.recheck is None or self.recheck.ended_at is not None:
            return self
        return self.model_copy(update={"recheck": self.recheck.model_copy(update={"ended_at": now})})

    def without_last_finding(self) -> Self | None:
        """Return the entry before its last observation; None if that was the first."""
        earlier = self.observations[:-1]
        return self.model_copy(update={"findings": earlier}) if earlier else None

    def with_arrival(self, now: datetime) -> Self:
        *earlier, last = self.observations
        findings = [*earlier, last.model_copy(update={"resolved_at": now})]
        return self.with_recheck_ended(now).model_copy(update={"resolved_at": now, "findings": findings})


class UnavailableEntry(_PlanEntry, UnavailableVideo):
    """SPEC's UnavailableVideo; `detected_at` is the time of the last check."""

    @property
    def checked_at(self) -> datetime:
        return self.detected_at

    @property
    def cause(self) -> str:
        return self.reason


class FailedEntry(_PlanEntry, FailedDownload):
    """SPEC's FailedDownload. `unexplained_on`: the days (UTC) on which YouTube refused the video without a known
    reason."""

    unexplained_on: list[date] = Field(default_factory=list)

    @property
    def checked_at(self) -> datetime:
        return self.last_attempt

    @property
    def cause(self) -> str:
        return FAILED


PlanEntry = UnavailableEntry | FailedEntry


def merge_failure(event: VideoFailed, known: PlanEntry | None = None) -> PlanEntry:
    """Return the entry after a failure. Facts of `known` that the event lacks are kept."""
    new = _new_entry(event, known)
    found = Observation(reason=new.cause, since=new.checked_at, last=new.checked_at)
    if known is None:
        return new.model_copy(update={"findings": [found]})
    *earlier, last = known.observations
    if last.reason == found.reason and last.resolved_at is None:
        found = last.model_copy(update={"last": max(last.last, found.last)})
    else:
        earlier.append(last)
    return new.model_copy(update={"findings": [*earlier, found], "recheck": known.recheck})


def _new_entry(event: VideoFailed, known: PlanEntry | None) -> PlanEntry:
    """Raises ValueError for an event without a cause."""
    if event.unavailable is not None:
        facts = event.unavailable.model_dump()
        return UnavailableEntry(
            **_filled_from(facts, known, "title", "playlist_id", "last_available"), number=event.number
        )
    if event.failed is not None:
        facts = event.failed.model_dump()
        days = _unexplained_days(event.failed, known)
        return FailedEntry(**_filled_from(facts, known, "file_size"), number=event.number, unexplained_on=days)
    raise ValueError(f"video.failed of {event.video_id} has neither `unavailable` nor `failed`")


def _unexplained_days(failed: FailedDownload, known: PlanEntry | None) -> list[date]:
    earlier = known.unexplained_on if isinstance(known, FailedEntry) and known.resolved_at is None else []
    if not failed.errors or failed.errors[-1].get("reason") != GoneReason.UNEXPLAINED:
        return earlier
    return sorted({*earlier, failed.last_attempt.astimezone(UTC).date()})


def _filled_from(facts: dict[str, Any], known: PlanEntry | None, *names: str) -> dict[str, Any]:
    return facts | {name: getattr(known, name, None) for name in names if facts[name] is None}
