"""The catalogue: every subject of the bus, what it carries, who publishes it, how it is delivered.

Read from top to bottom it is the story of a job. `docs/events.md` and `docs/asyncapi.json` are made from this page.
An event that names a job carries that job's trace_id; `download.*` carry the one of the first job that waits.
"""

from typing import Annotated, Any, ClassVar
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AwareDatetime, Field

import bus.message
from bus.message import DeadLetter, Delivery
from services.common.models import (
    Entry,
    ErrorDetail,
    FailedDownload,
    Failure,
    FileFact,
    Held,
    Index,
    Job,
    JobOptions,
    JobType,
    PlaylistMetadata,
    Progress,
    Provenance,
    ServiceInfo,
    Target,
    UnavailableVideo,
    VideoMetadata,
    Wanted,
)
from services.common.models import VideoId as VideoId

PAGE_SIZE = 100  # entries of a list in one event, at most
JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]

RawTarget = Annotated[str, Field(min_length=1, max_length=2048)]  # as a user pasted it

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:ytarchive:event")  # of the deterministic ids


class Event(bus.message.Event):
    """Base class of the events below."""

    namespace: ClassVar[UUID] = _NAMESPACE


# --- a job begins -------------------------------------------------------------------------------------------------


class JobCreated(Event, subject="job.created", publishers={"cli", "jobs", "download", "storage"}, key=("job_id",)):
    """Somebody wants something saved. The sender makes the job_id; one that is known already is ignored."""

    job_id: JobId
    type: JobType = JobType.PLAYLIST_DOWNLOAD
    targets: tuple[RawTarget, ...] = Field(min_length=1, max_length=20_000)
    options: JobOptions = Field(default_factory=JobOptions)
    priority: int = Field(default=0, ge=-100, le=100)


class JobCancelRequested(Event, subject="job.cancel_requested", publishers={"cli", "jobs"}, key=("job_id", "video_id")):
    """Stop a job, or one video of it. What is complete by then is archived; partials go when nobody else waits."""

    job_id: JobId
    video_id: VideoId | None = None


class JobPauseRequested(Event, subject="job.pause_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Release nothing more of this job. What runs goes on to its end."""

    job_id: JobId


class JobResumeRequested(Event, subject="job.resume_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Go on with a paused job, or with one that a one-shot had left parked."""

    job_id: JobId


class JobRetryRequested(Event, subject="job.retry_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Try the gaps of an ended job again: failed and unavailable items, and targets that could not be listed."""

    job_id: JobId


class JobPriorityRequested(Event, subject="job.priority_requested", publishers={"cli", "jobs"}, key=("job_id",)):
    """Another place in the queue for an open job, from its next video on."""

    job_id: JobId
    priority: int = Field(ge=-100, le=100)


class JobQueued(Event, subject="job.queued", publishers={"jobs"}, key=("job_id", "listing")):
    """A target of an accepted job waits to be listed. `listing` numbers the tries of the job; `cursor` goes on
    where an earlier try ended."""

    job_id: JobId
    type: JobType
    root: str
    options: JobOptions
    target: Target
    target_index: Index
    listing: Index
    cursor: str | None = None


# --- listing ------------------------------------------------------------------------------------------------------


class PlaylistFetched(Event, subject="playlist.fetched", publishers={"metadata"}, key=("job_id", "listing")):
    """The playlist's (or channel's) own metadata."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    playlist: PlaylistMetadata


class ListingPageFetched(
    Event, subject="listing.page_fetched", publishers={"metadata", "jobs"}, key=("job_id", "listing", "page_key")
):
    """Up to 100 entries of a target. `page_key` is `listing/source/offset/digest of the ids`. Jobs says it, with no
    `playlist_id`, of videos that are tried again: the archive is asked what it holds of them by now."""

    job_id: JobId
    root: str
    type: JobType
    options: JobOptions
    target_index: Index
    listing: Index
    page_key: str
    playlist_id: str | None = None
    entries: tuple[Entry, ...] = Field(max_length=PAGE_SIZE)


class ListingCompleted(Event, subject="listing.completed", publishers={"metadata"}, key=("job_id", "listing")):
    """The target is listed to its end. `playlist_id` is set for playlists and channels; `source_name` listed it."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    page_keys: tuple[str, ...]
    total: Index
    playlist_id: str | None = None
    title: str | None = None
    source_name: str = ""


class ListingFailed(Event, subject="listing.failed", publishers={"metadata"}, key=("job_id", "listing")):
    """The listing ended early. With `retry_after` it goes on from `cursor` then; `spent` false costs no attempt."""

    job_id: JobId
    root: str
    target_index: Index
    listing: Index
    error: ErrorDetail
    cursor: str | None = None
    retry_after: AwareDatetime | None = None
    final: bool = False  # another try would say the same: a playlist that does not exist
    spent: bool = True


class ArchiveChecked(Event, subject="archive.checked", publishers={"storage"}, key=("job_id", "page_key")):
    """Storage's answer to a page: what is held of each entry. `entries` and `held` have the same order."""

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
    """One video's full metadata, from the Data API (`data_api`) or from the download's own extraction (`yt_dlp`)."""

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
    """metadata/videos/{video_id}.json is written; ends an item of METADATA_ONLY."""

    job_id: JobId
    root: str
    video_id: VideoId
    source_name: str
    path: str
    dispatch_id: str | None = None


# --- downloads ----------------------------------------------------------------------------------------------------


class _Dispatch(Event):
    """What names a dispatch: one attempt to fetch one video for the jobs that wait. A new attempt has a new id."""

    dispatch_id: str
    fetch_id: str
    job_id: JobId  # the first job that waits
    video_id: VideoId
    root: str


class DownloadRequested(_Dispatch, subject="download.requested", publishers={"jobs"}, key=("dispatch_id",)):
    wanted: Wanted


class DownloadClaim(Event, subject="download.claim", publishers={"download", "metadata"}, delivery=Delivery.REQUEST):
    """May I begin? Names a dispatch, or a job and its listing number; a person's look-up names neither, and asks only
    whether its way out is open. Answered with a ClaimAnswer."""

    instance: str
    egress: str
    dispatch_id: str | None = None
    job_id: JobId | None = None
    listing: Index | None = None


class PartialsLeft(Event, subject="download.partials_left", publishers={"download"}, delivery=Delivery.REQUEST):
    """Partials that this worker has on its disk and not in hand: whose are they? Answered with PartialsOwned."""

    video_ids: tuple[VideoId, ...] = Field(max_length=1000)


class DownloadStarted(_Dispatch, subject="download.started", publishers={"download"}, key=("dispatch_id",)):
    instance: str


class DownloadProgress(_Dispatch, subject="download.progress", publishers={"download"}, delivery=Delivery.CORE):
    """Every 5 s or 5 %, whichever comes first (SPEC: Progress Reporting). `current` and `total` are bytes."""

    title: str | None = None
    progress: Progress


class DownloadCompleted(_Dispatch, subject="download.completed", publishers={"download"}, key=("dispatch_id",)):
    """All that was wanted lies in `directory` (absolute, below tmp/). Without media there are no files."""

    wanted: Wanted
    directory: str
    files: tuple[FileFact, ...]
    absent: tuple[str, ...] = ()
    metadata: VideoMetadata
    provenance: Provenance


class DownloadFailed(_Dispatch, subject="download.failed", publishers={"download"}, key=("dispatch_id",)):
    failure: Failure
    title: str | None = None


class DownloadCancelRequested(
    _Dispatch, subject="download.cancel_requested", publishers={"jobs"}, delivery=Delivery.CORE
):
    """Nobody waits for this dispatch any more. Repeated until the worker answers, or is gone."""


class DownloadCancelled(_Dispatch, subject="download.cancelled", publishers={"download"}, key=("dispatch_id",)):
    """The process group is gone and the partial is removed. `by_hand`: a person asked the worker, not jobs; so nobody
    who waits for the video is to have it."""

    by_hand: bool = False


class DownloadDeferred(_Dispatch, subject="download.deferred", publishers={"download"}, key=("dispatch_id",)):
    """Given back without an attempt spent: the source is blocked, the disk is full, or the worker shuts down. Partials
    are kept. `failure` says more, if there was one."""

    reason: str
    failure: Failure | None = None
    retry_after: AwareDatetime | None = None


class VideoArchived(Event, subject="video.archived", publishers={"storage"}, key=("video_id", "root", "dispatch_id")):
    """The files lie in the archive, whole. `directory` is absolute, names are relative to it. `kept`: what was fetched
    is less than the video that was held, which stays."""

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


class StorageFailed(Event, subject="storage.failed", publishers={"storage"}, key=("video_id", "root", "dispatch_id")):
    """A take-in that did not succeed; nothing visible has changed."""

    job_id: JobId
    video_id: VideoId
    root: str
    dispatch_id: str
    failure: Failure


class FixityFailed(Event, subject="fixity.failed", publishers={"storage"}, key=("verification_id", "root", "video_id")):
    """A verification found a video damaged. `files` are relative to its folder, `reasons` of the same order say what is
    wrong; a damaged file that was set aside lies at its place in `set_aside`. What fetches it again is a job of this
    trace."""

    verification_id: str
    root: str
    video_id: VideoId
    files: tuple[str, ...]
    reasons: tuple[str, ...]
    set_aside: dict[str, str] = Field(default_factory=dict)


class VideoFailed(Event, subject="video.failed", publishers={"jobs"}, key=("job_id", "video_id", "number")):
    """An item is given up: it goes onto its job's work plan. Exactly one of `unavailable` and `failed` is set."""

    job_id: JobId
    video_id: VideoId
    root: str
    number: Index  # tells a second giving-up of one item, after a retry, from the first
    type: JobType
    options: JobOptions
    targets: tuple[str, ...]
    unavailable: UnavailableVideo | None = None
    failed: FailedDownload | None = None


class WorkPlanUpdated(
    Event, subject="work_plan.updated", publishers={"storage"}, key=("plan_id", "video_ids", "number")
):
    """A work plan was written; one for every video.failed, also when it changed nothing. `plan_id` is the job_id."""

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
    """The site refuses an egress (a machine's way out) as a whole: nothing is asked of it until then."""

    egress: str
    reason: str
    until: AwareDatetime


class SourceCleared(Event, subject="source.cleared", publishers={"download", "metadata"}, key=("egress",)):
    egress: str


# --- a job goes on and ends ---------------------------------------------------------------------------------------


class JobProgress(Event, subject="job.progress", publishers={"jobs"}, delivery=Delivery.CORE):
    job_id: JobId
    job: Job


class JobCompleted(Event, subject="job.completed", publishers={"jobs"}, key=("job_id", "revision")):
    """Listed, and every item ended, with gaps or without."""

    job_id: JobId
    revision: Index
    job: Job


class JobCancelled(Event, subject="job.cancelled", publishers={"jobs"}, key=("job_id", "revision")):
    """Nothing of it runs any more; what had been saved stays."""

    job_id: JobId
    revision: Index
    job: Job


class JobFailed(Event, subject="job.failed", publishers={"jobs"}, key=("job_id", "revision")):
    """Rejected (E007), or none of its targets could be listed."""

    job_id: JobId
    revision: Index
    job: Job


# --- secrets ------------------------------------------------------------------------------------------------------


class CredentialsOffered(
    Event, subject="credentials.offered", publishers={"cli", "jobs", "download"}, delivery=Delivery.REQUEST
):
    """A job's API key, handed to metadata before the job is created; kept in memory only, never logged or stored.
    Answered with CredentialsTaken."""

    job_id: JobId
    api_key: str = Field(min_length=1, max_length=200, repr=False)


# --- the services themselves --------------------------------------------------------------------------------------

_ALL = {"jobs", "metadata", "download", "storage", "logging"}


class ServiceRegistered(Event, subject="service.registered", publishers=_ALL, key=("instance",)):
    instance: str
    service: ServiceInfo


class ServiceHeartbeat(Event, subject="service.heartbeat", publishers=_ALL, delivery=Delivery.CORE):
    """Every 5 s, and at once when the number of free slots changes."""

    service: ServiceInfo


class ServiceStopped(Event, subject="service.stopped", publishers=_ALL, key=("instance",)):
    instance: str
    name: str


class LogRecorded(Event, subject="log.recorded", publishers=_ALL | {"cli"}, delivery=Delivery.LOG):
    """Structured records, up to 100 or 250 ms worth of them: {timestamp, level, event, service, trace_id?, …}."""

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


def catalogue() -> tuple[type[bus.message.Event], ...]:
    """Return every event of this module, in order; DeadLettered last."""
    named = [value for value in globals().values() if isinstance(value, type) and issubclass(value, bus.message.Event)]
    return tuple(kind for kind in dict.fromkeys(named) if kind.subject)
