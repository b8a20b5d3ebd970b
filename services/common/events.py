"""All events: subject, payload, publishers and delivery, in the order in which they occur in the life of a job.

`docs/events.md` and `docs/asyncapi.json` are generated from this module. An event that names a job carries that job's
trace_id; `download.*` events carry that of the first waiting job.
"""

from datetime import date
from typing import Any, ClassVar, Self
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AwareDatetime, Field, ModelWrapValidatorHandler, model_validator

import bus.message
from bus.message import DeadLetter, Delivery
from services.common.domain.archive import FileFact, Held, Provenance
from services.common.domain.failures import Failure
from services.common.domain.follows import FollowId, HowToLook, LookNumber
from services.common.domain.jobs import Job, JobId
from services.common.domain.registry import ServiceInfo
from services.common.domain.videos import Entry, Index, PlaylistMetadata, RawTarget, Target, VideoMetadata, Wanted
from services.common.domain.videos import VideoId as VideoId
from services.common.models import ErrorDetail, FailedDownload, JobOptions, JobType, Progress, UnavailableVideo

PAGE_SIZE = 100  # maximum number of entries in one event

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:ytarchive:event")  # of the deterministic ids


class Event(bus.message.Event):
    """Base class of the events below."""

    namespace: ClassVar[UUID] = _NAMESPACE


# --- a job begins -------------------------------------------------------------------------------------------------


class JobCreated(Event, subject="job.created", publishers={"cli", "jobs", "download", "storage"}, key=("job_id",)):
    """A request to archive videos. The sender chooses the job_id. A known job_id creates nothing: if that job only
    waits for scheduled retries, its playlists and channels are listed again. An unknown option rejects the job."""

    job_id: JobId
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    targets: tuple[RawTarget, ...] = Field(min_length=1, max_length=20_000)
    options: JobOptions = Field(default_factory=JobOptions)
    priority: int = Field(default=0, ge=-100, le=100)

    _unknown_options: tuple[str, ...] = ()

    @property
    def unknown_options(self) -> tuple[str, ...]:
        """The names that are no options: the job would silently have the defaults of those that were meant."""
        return self._unknown_options

    @model_validator(mode="wrap")
    @classmethod
    def _note_unknown_options(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        event = validate(data)
        given = data.get("options") if isinstance(data, dict) else None
        if isinstance(given, dict):
            event._unknown_options = tuple(str(name) for name in given if name not in JobOptions.model_fields)
        return event


class JobCancelRequested(Event, subject="job.cancel_requested", publishers={"cli", "jobs"}, key=("job_id", "video_id")):
    """Cancel a job, or one video of it. Completed downloads are archived; partial ones are removed unless another job
    waits for them."""

    job_id: JobId
    video_id: VideoId | None = None


class JobPauseRequested(Event, subject="job.pause_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Dispatch nothing more of this job. Running downloads continue."""

    job_id: JobId


class JobResumeRequested(Event, subject="job.resume_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Continue a paused job, or one that an ended command has left parked."""

    job_id: JobId


class JobRetryRequested(Event, subject="job.retry_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Retry the failed and unavailable items of an ended job, and the targets that could not be listed."""

    job_id: JobId


class JobPriorityRequested(Event, subject="job.priority_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Change the priority of an open job, effective from its next video."""

    job_id: JobId
    priority: int = Field(ge=-100, le=100)


class JobQueued(Event, subject="job.queued", publishers={"jobs"}, key=("job_id", "listing")):
    """A target of an accepted job is to be listed. `listing` numbers the attempts of the job; `cursor` resumes an
    earlier attempt; `attempts` of this target have failed so far. `again`: the target was listed
    before; what follows is a new listing, not another attempt."""

    job_id: JobId
    type: JobType
    root: str
    options: JobOptions
    target: Target
    target_index: Index
    listing: Index
    cursor: str | None = None
    attempts: Index = 0
    again: bool = False


# --- listing ------------------------------------------------------------------------------------------------------


class PlaylistFetched(Event, subject="playlist.fetched", publishers={"metadata"}, key=("job_id", "listing")):
    """The metadata of the playlist or channel itself."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    playlist: PlaylistMetadata
    again: bool = False


class ListingPageFetched(
    Event, subject="listing.page_fetched", publishers={"metadata", "jobs"}, key=("job_id", "listing", "page_key")
):
    """Up to 100 entries of a target. `page_key` is `listing/source/offset/digest of the ids`. For a retry, jobs
    publishes it without `playlist_id`, to learn what the archive holds of the videos by now."""

    job_id: JobId
    root: str
    type: JobType
    options: JobOptions
    target_index: Index
    listing: Index
    page_key: str
    playlist_id: str | None = None
    entries: tuple[Entry, ...] = Field(max_length=PAGE_SIZE)
    again: bool = False


class ListingCompleted(Event, subject="listing.completed", publishers={"metadata"}, key=("job_id", "listing")):
    """The target was listed completely, by `source_name`. `playlist_id` is set for playlists and channels.

    `announced`: the number of entries that the list itself names; YouTube leaves out some that are not available.
    `cut_short`: the list ended at the end of a full page before that number, also when it was listed again."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    page_keys: tuple[str, ...]
    total: Index
    playlist_id: str | None = None
    title: str | None = None
    source_name: str = ""
    announced: int | None = None
    cut_short: bool = False
    again: bool = False


class ListingFailed(Event, subject="listing.failed", publishers={"metadata"}, key=("job_id", "listing")):
    """The listing ended early. With `retry_after` it resumes from `cursor` at that time; `spent` False costs no
    attempt."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    error: ErrorDetail
    cursor: str | None = None
    retry_after: AwareDatetime | None = None
    final: bool = Field(default=False, description="A retry would fail too: a playlist that does not exist.")
    spent: bool = True


class ArchiveChecked(Event, subject="archive.checked", publishers={"storage"}, key=("job_id", "page_key")):
    """Storage's answer to a page: what the archive holds of each entry. `entries` and `held` have the same order."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    page_key: str
    playlist_id: str | None = None
    entries: tuple[Entry, ...]
    held: tuple[Held, ...]


class MetadataFetched(
    Event, subject="metadata.fetched", publishers={"metadata", "download"}, key=("job_id", "video_id", "source_name")
):
    """The full metadata of one video, from the Data API (`data_api`) or from an extraction (`yt_dlp`)."""

    job_id: JobId
    root: str
    video_id: VideoId
    source_name: str
    fetched_at: AwareDatetime
    metadata: VideoMetadata
    dispatch_id: str | None = None


class MetadataArchived(
    Event, subject="metadata.archived", publishers={"storage"}, key=("job_id", "video_id", "source_name")
):
    """metadata/videos/{video_id}.json was written; ends the item of a METADATA_ONLY job."""

    job_id: JobId
    root: str
    video_id: VideoId
    source_name: str
    path: str
    dispatch_id: str | None = None


# --- downloads ----------------------------------------------------------------------------------------------------


class _Dispatch(Event):
    """The identification of a dispatch: one attempt to fetch one video for the waiting jobs. A new attempt has a new
    id."""

    dispatch_id: str
    fetch_id: str
    job_id: JobId = Field(description="The first job that waits for the video.")
    video_id: VideoId
    root: str


class DownloadRequested(_Dispatch, subject="download.requested", publishers={"jobs"}, key=("dispatch_id",)):
    wanted: Wanted


class DownloadClaim(Event, subject="download.claim", publishers={"download", "metadata"}, delivery=Delivery.REQUEST):
    """A request for permission to start a dispatch, or the next page of a listing (job and listing number); a lookup of
    a person names neither and asks for its egress only. Answered with a ClaimAnswer."""

    instance: str
    egress: str
    dispatch_id: str | None = None
    job_id: JobId | None = None
    listing: Index | None = None


class PartialsLeft(Event, subject="download.partials_left", publishers={"download"}, delivery=Delivery.REQUEST):
    """Partial downloads on the disk of this worker that it does not work on. Answered with PartialsOwned."""

    video_ids: tuple[VideoId, ...] = Field(max_length=1000)


class DownloadStarted(_Dispatch, subject="download.started", publishers={"download"}, key=("dispatch_id",)):
    """A worker has begun. Jobs knows it from the worker's claim; this is for those who follow the job."""

    instance: str


class DownloadLooked(_Dispatch, subject="download.looked", publishers={"download"}, delivery=Delivery.CORE):
    """A look at an archived video has found something better, which is fetched now. `resolution`: lines of the better
    picture; `longer`: the recording is longer than the archived one; `captions`: languages that exist now."""

    title: str | None = None
    resolution: int | None = None
    longer: bool = False
    captions: tuple[str, ...] = ()


class DownloadProgress(_Dispatch, subject="download.progress", publishers={"download"}, delivery=Delivery.CORE):
    """Progress of a download, every 5 s or 5 %, whichever comes first (SPEC: Progress Reporting). `current` and `total`
    are bytes."""

    title: str | None = None
    progress: Progress


class DownloadCompleted(_Dispatch, subject="download.completed", publishers={"download"}, key=("dispatch_id",)):
    """All requested files are in `directory` (absolute, below tmp/). Without media there are no files."""

    wanted: Wanted
    directory: str
    files: tuple[FileFact, ...]
    absent: tuple[str, ...] = ()
    metadata: VideoMetadata
    provenance: Provenance


class DownloadFailed(_Dispatch, subject="download.failed", publishers={"download"}, key=("dispatch_id",)):
    failure: Failure
    title: str | None = None
    file_size: int | None = Field(default=None, description="In bytes: what YouTube announced, else what has arrived.")


class DownloadCancelRequested(
    _Dispatch, subject="download.cancel_requested", publishers={"jobs"}, delivery=Delivery.CORE
):
    """Stop this dispatch: no job waits for it any more. Repeated until the worker answers or is gone."""


class DownloadCancelled(_Dispatch, subject="download.cancelled", publishers={"download"}, key=("dispatch_id",)):
    """The process group has ended and the partial download is removed. `by_hand`: a person cancelled it at the worker,
    so the video is cancelled in all waiting jobs."""

    by_hand: bool = False


class DownloadDeferred(_Dispatch, subject="download.deferred", publishers={"download"}, key=("dispatch_id",)):
    """A dispatch given back without costing an attempt: the source is blocked, the disk is full, or the worker shuts
    down. Partial downloads are kept. `failure`: the cause, if there was one."""

    reason: str
    failure: Failure | None = None
    retry_after: AwareDatetime | None = None


class VideoArchived(Event, subject="video.archived", publishers={"storage"}, key=("video_id", "root", "dispatch_id")):
    """The files are in the archive, complete. `directory` is absolute, names are relative to it. `kept`: the archive
    had a better video, which was kept. `better`: of a look at an archived video, whether it found something
    better; None for any other delivery."""

    job_id: JobId
    video_id: VideoId
    root: str
    dispatch_id: str
    directory: str
    files: tuple[FileFact, ...]
    bytes: int
    held: Held
    duration_seconds: float | None = None
    kept: bool = False
    better: bool | None = None


class LookFailed(Event, subject="video.look_failed", publishers={"jobs"}, key=("job_id", "video_id", "dispatch_id")):
    """An archived video was to be looked at again and cannot be had. The archive keeps what it has; the look counts as
    one that found nothing better."""

    job_id: JobId
    video_id: VideoId
    root: str
    dispatch_id: str
    reason: str
    message: str


class StorageFailed(Event, subject="storage.failed", publishers={"storage"}, key=("video_id", "root", "dispatch_id")):
    """A delivery could not be archived; nothing visible has changed."""

    job_id: JobId
    video_id: VideoId
    root: str
    dispatch_id: str
    failure: Failure


class FixityFailed(Event, subject="fixity.failed", publishers={"storage"}, key=("verification_id", "root", "video_id")):
    """A verification found damage of a video. `files` are relative to its folder; `reasons` and `set_aside` (the place
    of a quarantined file) have the same order. The job that fetches the files again has the same trace_id."""

    verification_id: str
    root: str
    video_id: VideoId
    files: tuple[str, ...]
    reasons: tuple[str, ...]
    set_aside: dict[str, str] = Field(default_factory=dict)


class VideoFailed(Event, subject="video.failed", publishers={"jobs"}, key=("job_id", "video_id", "number")):
    """An item was given up and is to be recorded in its job's work plan. Exactly one of `unavailable` and `failed` is
    set."""

    job_id: JobId
    video_id: VideoId
    root: str
    number: Index = Field(description="Distinguishes repeated failures of one item after retries.")
    type: JobType
    options: JobOptions
    targets: tuple[str, ...]
    unavailable: UnavailableVideo | None = None
    failed: FailedDownload | None = None


class FindingWithdrawn(
    Event, subject="video.finding_withdrawn", publishers={"jobs"}, key=("job_id", "video_id", "number")
):
    """The video.failed of this number does not count: the site refused this machine, and the video waits again. It is
    removed from the work plan, and is not known to be gone."""

    job_id: JobId
    video_id: VideoId
    number: Index


class WorkPlanUpdated(
    Event, subject="work_plan.updated", publishers={"storage"}, key=("plan_id", "video_ids", "number")
):
    """A work plan was written. Published once for every video.failed, even without a change. `plan_id` is the
    job_id."""

    plan_id: str
    job_id: JobId
    video_ids: tuple[VideoId, ...]
    number: Index = 0
    path: str
    unavailable: int
    failed: int
    resolved: int


# --- the source and its moods -------------------------------------------------------------------------------------


class SourceBlocked(Event, subject="source.blocked", publishers={"download", "metadata"}, key=("egress", "until")):
    """The site blocks an egress (a machine's way to YouTube): no requests are sent through it until `until`."""

    egress: str
    reason: str
    until: AwareDatetime
    message: str = Field(default="", description="What happened and what to do, for people.")


class SourceCleared(Event, subject="source.cleared", publishers={"download", "metadata"}, key=("egress",)):
    egress: str


# --- a job goes on and ends ---------------------------------------------------------------------------------------


class JobProgress(Event, subject="job.progress", publishers={"jobs"}, delivery=Delivery.CORE):
    job_id: JobId
    job: Job


class JobCompleted(Event, subject="job.completed", publishers={"jobs"}, key=("job_id", "revision")):
    """All targets were listed and every item has ended, successfully or not."""

    job_id: JobId
    revision: Index
    job: Job


class JobCancelled(Event, subject="job.cancelled", publishers={"jobs"}, key=("job_id", "revision")):
    """The job was cancelled and nothing of it runs any more; archived videos are kept."""

    job_id: JobId
    revision: Index
    job: Job


class JobFailed(Event, subject="job.failed", publishers={"jobs"}, key=("job_id", "revision")):
    """The job was rejected (E007), or none of its targets could be listed."""

    job_id: JobId
    revision: Index
    job: Job


# --- follows ------------------------------------------------------------------------------------------------------


class FollowCreated(Event, subject="follow.created", publishers={"jobs"}, key=("follow_id", "change_id")):
    """A channel or playlist is followed from now on. `options.rules` decide which of its videos are wanted."""

    follow_id: FollowId
    change_id: str
    target: RawTarget
    type: JobType
    options: JobOptions
    root: str
    priority: int = Field(default=0, ge=-100, le=100)
    every_seconds: float | None = None
    last: Index | None = None


class FollowChanged(Event, subject="follow.changed", publishers={"jobs"}, key=("follow_id", "change_id")):
    """A follow was changed. What is None stays; `every_seconds` 0: by the rhythm of the channel again."""

    follow_id: FollowId
    change_id: str
    options: JobOptions | None = None
    root: str | None = None
    priority: int | None = None
    every_seconds: float | None = None
    paused: bool | None = None


class FollowRemoved(Event, subject="follow.removed", publishers={"jobs"}, key=("follow_id", "change_id")):
    """A follow has ended. What it has saved stays."""

    follow_id: FollowId
    change_id: str


class FollowLookRequested(Event, subject="follow.look_requested", publishers={"jobs"}, key=("follow_id", "change_id")):
    """Somebody wants a look now."""

    follow_id: FollowId
    change_id: str


class FollowLookDue(Event, subject="follow.look_due", publishers={"jobs"}, key=("follow_id", "look")):
    """Metadata is to look at a channel or playlist. `prefixes`: of the lists of a channel (`UU`, or `UULF`, `UUSH`,
    `UULV`); `known`: newest videos that are known, none for a look at everything; `since`: uploads before that
    day are of no interest."""

    follow_id: FollowId
    look: LookNumber
    target: Target
    how: HowToLook
    prefixes: tuple[str, ...]
    known: tuple[VideoId, ...] = Field(default=(), max_length=PAGE_SIZE)
    since: date | None = None


class FollowListed(Event, subject="follow.listed", publishers={"metadata"}, key=("follow_id", "look", "how", "page")):
    """Up to 100 videos that a look has seen, new ones and known ones."""

    follow_id: FollowId
    look: LookNumber
    how: HowToLook
    page: Index
    entries: tuple[Entry, ...] = Field(max_length=PAGE_SIZE)


class FollowLooked(Event, subject="follow.looked", publishers={"metadata"}, key=("follow_id", "look")):
    """A look is over, after `pages` of `follow.listed`. `how`: how it was done in the end; `feed_problem`: why the feed
    did not do, if it was tried. With `error` it failed, and `retry_after` says when another one makes sense."""

    follow_id: FollowId
    look: LookNumber
    how: HowToLook
    pages: Index = 0
    requests: Index = 0
    playlist: PlaylistMetadata | None = None
    feed_problem: str | None = None
    error: ErrorDetail | None = None
    retry_after: AwareDatetime | None = None


class FollowFound(Event, subject="follow.found", publishers={"jobs"}, key=("follow_id", "look")):
    """A look has found new videos that are wanted, and a job fetches them. `entries`: the first 100 of `found`."""

    follow_id: FollowId
    look: LookNumber
    job_id: JobId
    title: str | None = None
    entries: tuple[Entry, ...] = Field(max_length=PAGE_SIZE)
    found: Index
    left_out: Index = 0


# --- secrets ------------------------------------------------------------------------------------------------------


class CredentialsOffered(
    Event, subject="credentials.offered", publishers={"cli", "jobs", "download"}, delivery=Delivery.REQUEST
):
    """A job's API key, sent to metadata before the job is created; kept in memory only, never logged or stored.
    Answered with CredentialsTaken."""

    job_id: JobId
    api_key: str = Field(min_length=1, max_length=200, repr=False)


# --- the services themselves --------------------------------------------------------------------------------------

_ALL = {"jobs", "metadata", "download", "storage", "logging"}


class ServiceRegistered(Event, subject="service.registered", publishers=_ALL, key=("instance",)):
    instance: str
    service: ServiceInfo


class ServiceHeartbeat(Event, subject="service.heartbeat", publishers=_ALL, delivery=Delivery.CORE):
    """A sign of life, every 5 s and whenever the number of free slots changes."""

    service: ServiceInfo


class ServiceStopped(Event, subject="service.stopped", publishers=_ALL, key=("instance",)):
    instance: str
    name: str


class LogRecorded(Event, subject="log.recorded", publishers=_ALL | {"cli"}, delivery=Delivery.LOG):
    """A batch of log records, up to 100 or of 250 ms: {timestamp, level, event, service, trace_id?, …}."""

    records: tuple[dict[str, Any], ...] = Field(max_length=100)


class DeadLettered(DeadLetter, subject="dead.lettered", publishers={"bus"}, key=("consumer", "sequence")):
    """A message that could not be handled: it is unreadable, or its handler raised six times. It is not retried
    automatically.

    `payload` is the first 64 KiB of the message as text, with secrets masked; `whole` means that the message is no
    longer than that and held no secret. `size` is that of the message in bytes, `sequence` its position in the stream.
    `job_id` and the fields after it are set where the message could be read that far; `video_ids` are all videos that
    it names.
    """

    namespace: ClassVar[UUID] = _NAMESPACE

    job_id: str | None = None
    video_id: str | None = None
    dispatch_id: str | None = None
    target_index: int | None = None
    video_ids: tuple[str, ...] = ()
    follow_id: str | None = None


def catalogue() -> tuple[type[bus.message.Event], ...]:
    """Return every event of this module, in order; DeadLettered last."""
    named = [value for value in globals().values() if isinstance(value, type) and issubclass(value, bus.message.Event)]
    return tuple(kind for kind in dict.fromkeys(named) if kind.subject)
