"""The replies of services to requests on the bus."""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel

from services.common.domain.videos import VideoId


class ClaimVerdict(StrEnum):
    GO = "go"
    STALE = "stale"  # cancelled, superseded or done: drop the message
    WAIT = "wait"  # the source is blocked until `until`, or `reason` forbids it until then
    PROBE = "probe"  # as GO; the request tests whether a blocked source answers again


class ClaimAnswer(BaseModel, frozen=True):
    """`reason`: of WAIT, when it is not a block of the source; of PROBE, that of the block. `canary`: a video that was
    saved before, to be asked for first: its answer shows whether the site refuses this machine."""

    verdict: ClaimVerdict
    until: AwareDatetime | None = None
    reason: str | None = None
    canary: VideoId | None = None


class CredentialsTaken(BaseModel, frozen=True):
    """The answer of metadata to credentials.offered."""

    accepted: bool


class PartialsOwned(BaseModel, frozen=True):
    """The answer of jobs to download.partials_left: the videos that open items need. The other partials may be
    removed."""

    video_ids: tuple[VideoId, ...]
