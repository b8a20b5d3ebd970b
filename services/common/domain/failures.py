"""Why an attempt failed, and what that means for the queue."""

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


class FailureKind(StrEnum):
    """What a failure means for the queue (ARCHITECTURE.md: Failures)."""

    GONE = "gone"  # recorded in the work plan, not retried
    NOT_YET = "not_yet"  # retried at retry_after
    PASSING = "passing"  # retried after a back-off; counts as an attempt
    SITE_WIDE = "site_wide"  # the site blocks this machine: no attempt is counted, everything waits
    LOCAL = "local"  # a local cause (disk space, crashed child, bug); counts as an attempt


class Failure(BaseModel, frozen=True):
    """A classified failure. `reason` is a GoneReason for GONE, else a short word: `http_503`, `bot_check`."""

    kind: FailureKind
    code: ErrorCode
    reason: str
    message: str
    retry_after: AwareDatetime | None = None
    gained_bytes: bool = Field(
        default=False, description="A timeout with progress since the last attempt is not counted."
    )
