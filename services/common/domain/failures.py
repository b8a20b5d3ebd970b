"""Why an attempt failed, and what that means for the queue."""

import re
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field

from services.common.models import ErrorCode


class GoneReason(StrEnum):
    """Why a video is unavailable. The first four are those of SPEC. Work plans contain these values."""

    PRIVATE = "private"
    DELETED = "deleted"
    REGION_BLOCKED = "region_blocked"
    AGE_RESTRICTED = "age_restricted"
    TERMINATED = "terminated"
    COPYRIGHT = "copyright"
    MEMBERS_ONLY = "members_only"
    MISSING = "missing"
    UNEXPLAINED = "unexplained"  # YouTube refused it without a known reason on three days


class FailureKind(StrEnum):
    """What a failure means for the queue (ARCHITECTURE.md: Failures)."""

    GONE = "gone"  # recorded in the work plan, not retried
    REFUSED = "refused"  # YouTube refuses it and does not say why: failed after one attempt, re-checked
    NOT_YET = "not_yet"  # retried at retry_after
    PASSING = "passing"  # retried after a back-off; counts as an attempt
    SITE_WIDE = "site_wide"  # the site blocks this machine: no attempt is counted, everything waits
    LOCAL = "local"  # a local cause (disk space, crashed child, bug); counts as an attempt
    LEFT_OUT = "left_out"  # a rule of the job does not take the video, as its metadata tell: no failure at all


class Suspicion(StrEnum):
    """Why first attempts that failed one after the other seem to be about this machine. Reasons of source.blocked."""

    SAME_FAILURE = "same_failure"  # with the same words, which say nothing about a video
    ALL_GONE = "all_gone"  # unavailable, far more often than in that list before


UNKNOWN = "unknown"
UNEXPLAINED = frozenset(
    {UNKNOWN, "extractor", "reload", "try_again", "no_player", "no_formats", "format_unavailable", "login", "drm"}
)
"""Reasons of passing failures that say nothing about one video: repeated for video after video they are about yt-dlp,
the network or the address."""

_VARIABLE = re.compile(r"https?://\S+|\S*\d\S*|(?<=playback id: )\S+")
_LONGEST_WORDS = 120


class Failure(BaseModel, frozen=True):
    """A classified failure. `reason` is a GoneReason for GONE, else a short word: `http_503`, `bot_check`."""

    kind: FailureKind
    code: ErrorCode
    reason: str
    message: str
    retry_after: AwareDatetime | None = None
    gained_bytes: bool = Field(
        default=False, description="A timeout with more bytes on disk than before the attempt is not counted."
    )

    @property
    def unexplained(self) -> bool:
        """Whether it says nothing about this one video."""
        return self.kind is FailureKind.REFUSED or (self.kind is FailureKind.PASSING and self.reason in UNEXPLAINED)

    @property
    def words(self) -> str:
        """The message without what differs from video to video (ids, numbers, addresses), to compare failures."""
        return " ".join(_VARIABLE.sub("#", self.message.lower()).split())[:_LONGEST_WORDS]
