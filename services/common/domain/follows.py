"""Follows: channels and playlists that are looked at by themselves, as REST, events and the command line show them."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from services.common.domain.videos import ChannelTab, RawTarget
from services.common.models import ErrorDetail, JobOptions, JobType
from services.common.rules import Rules, VideoKind

FOLLOW_ID_PATTERN = r"^[0-9a-f]{12}$"
FollowId = Annotated[str, Field(pattern=FOLLOW_ID_PATTERN)]
HowToLook = Literal["feed", "list"]
LookNumber = Annotated[int, Field(ge=0, lt=2**53)]
_JOB = "follow-"
_UPLOADS = "UU"
_TABS = {
    VideoKind.VIDEO: ChannelTab.VIDEOS,
    VideoKind.PREMIERE: ChannelTab.VIDEOS,
    VideoKind.SHORT: ChannelTab.SHORTS,
    VideoKind.STREAM: ChannelTab.STREAMS,
}


class FollowVideoState(StrEnum):
    FOUND = "found"  # its look is not over yet
    TAKEN = "taken"  # a job fetches it, or has
    LEFT_OUT = "left_out"  # by a rule
    BEFORE = "before"  # it was not among the newest when the follow began


class Follow(BaseModel):
    """A channel or playlist that is looked at again and again. `options` are those of the jobs that fetch what was
    found, with the rules that decide what is wanted.

    `interval_seconds`: until the next look, from the channel's own rhythm unless `every_seconds` is set; `stretched`:
    it is longer than that, because all follows together may send only so many requests. `videos`, `taken` and
    `left_out` count what was found since the follow exists.
    """

    follow_id: FollowId
    target: RawTarget
    title: str | None = None
    channel_id: str | None = None
    type: JobType
    options: JobOptions
    root: str
    priority: int = 0
    every_seconds: float | None = None
    last: int | None = Field(default=None, description="Of what was there at the first look, only so many newest.")
    paused: bool = False
    looking: bool = False
    looks: int = 0
    looked_at: AwareDatetime | None = None
    how: HowToLook | None = Field(default=None, description="How the last look was done.")
    next_look: AwareDatetime | None = None
    interval_seconds: float | None = None
    stretched: bool = False
    failures: int = Field(default=0, description="Looks that failed one after the other.")
    error: ErrorDetail | None = Field(default=None, description="Of the last look.")
    feed_problem: str | None = Field(default=None, description="Why the feed is not used at present.")
    found_at: AwareDatetime | None = Field(default=None, description="When something new was found last.")
    found_title: str | None = None
    job_id: str | None = Field(default=None, description="The job that fetches, or fetched, what was found last.")
    videos: int = 0
    taken: int = 0
    left_out: int = 0
    created_at: AwareDatetime


class FollowVideo(BaseModel):
    """A video that a follow has found. `reason`: why it is left out. `published_until`: it was published then, or
    earlier."""

    video_id: str
    title: str | None = None
    state: FollowVideoState
    reason: str | None = None
    job_id: str | None = None
    found_at: AwareDatetime
    published_until: AwareDatetime | None = None


class Tried(BaseModel):
    """What rules would do with a video. `taken` None: its list does not tell `unknown`, and the first look at the video
    itself decides."""

    video_id: str
    title: str | None = None
    taken: bool | None = None
    reason: str | None = None
    unknown: str | None = None
    duration_seconds: float | None = None
    published_until: AwareDatetime | None = None


class RulesTrial(BaseModel):
    """What rules would do with the newest videos of a channel or playlist."""

    title: str | None = None
    videos: list[Tried]


def list_prefixes(tab: ChannelTab | None, rules: Rules) -> tuple[str, ...]:
    """Return the beginnings of the ids of a channel's lists that have the wanted kinds of videos; the rest of the id is
    that of the channel's."""
    if tab is not None:
        return (tab.list_prefix,)
    lists = dict.fromkeys(_TABS[kind].list_prefix for kind in rules.kinds)
    return tuple(lists) if 0 < len(lists) < len(ChannelTab) else (_UPLOADS,)


def job_id_of(follow_id: str, look: int) -> str:
    """Return the id of the job that fetches what a look has found."""
    return f"{_JOB}{follow_id}-{look:x}"


def follow_of_job(job_id: str) -> str | None:
    """Return the follow that a job belongs to."""
    return job_id.removeprefix(_JOB).partition("-")[0] if job_id.startswith(_JOB) else None
