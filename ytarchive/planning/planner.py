"""Plan a download: list the targets, compare them with the archive, estimate the effort. Nothing is downloaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.common.domain.failures import GoneReason
from services.common.domain.videos import Entry, Target, TargetKind, Wanted
from services.common.errors import NetworkTimeout, ServiceUnavailable, YTArchiveError
from services.metadata.api import BATCH
from services.metadata.quota_status import QuotaStatus
from services.storage.reporting.estimate import Throughput
from ytarchive.client.archive import HoldingsClient
from ytarchive.client.endpoints import System
from ytarchive.client.metadata import TIMEOUT, MetadataClient
from ytarchive.planning.download_plan import DownloadPlan, PlannedTarget, Prediction, predict
from ytarchive.planning.estimate import EXTRAS, METADATA, Estimate, estimate, listing_units, videos_units
from ytarchive.planning.job_request import JobRequest

LOOKUPS = 20  # of single videos; with an API key each is one call for 50 of them
_KEYLESS_BATCH = 10  # videos per request without the Data API, which has to be answered within 25 s

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """`prediction` has the videos that `plan` counts."""

    plan: DownloadPlan
    prediction: Prediction


@dataclass(frozen=True)
class ListingProgress:
    """`read` of the `total` entries of a target were read; the total may still grow."""

    target: Target
    read: int
    total: int


Report = Callable[[ListingProgress], None]


def _ignore(_progress: ListingProgress) -> None:
    """Nobody waits for a long list."""


@dataclass
class _Listing:
    """The entries of all targets. `listed`: ids from playlists and channels; the others were given singly."""

    targets: list[PlannedTarget] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    failures: list[YTArchiveError] = field(default_factory=list)
    units: int = 0


async def plan_download(
    system: System,
    request: JobRequest,
    *,
    recheck_after: timedelta,
    lookups: int = LOOKUPS,
    notify: Notify = lambda _text: None,
    report: Report = _ignore,
) -> Planned:
    """`recheck_after`: `[recheck] interval_days`, as jobs use it. `notify` gets what is done next, `report` how far a
    list was read.

    Raise YTArchiveError when no target can be listed, or the archive root is rejected.
    """
    root, quality = request.options.chosen_output_dir, request.options.quality
    wanted = Wanted.of(request.type, request.options)
    async with MetadataClient.open(system) as metadata, HoldingsClient.open(system, answer_timeout=TIMEOUT) as storage:
        throughput = await storage.throughput(root, quality)
        listing = await _list_all(metadata, request.targets, notify, report)
        quota = await metadata.quota()
        known = await storage.held(root, (entry.video_id for entry in listing.entries))
        notes: list[str] = []
        prediction = predict(
            listing.entries,
            known,
            wanted,
            datetime.now(UTC),
            recheck_after,
            skip_existing=request.options.skip_existing,
            listed=listing.listed,
        )
        unknown = _unknown_lengths(prediction, listing) if wanted.media else []
        if unknown:
            notify(f"Looking up the length of {len(unknown)} single videos")
            prediction = prediction.with_lookups(await _look_up(metadata, unknown, lookups, quota, notes))
    plan = DownloadPlan(
        root=throughput.root,
        quality=quality,
        targets=listing.targets,
        estimate=_estimate(prediction, request, wanted, throughput, listing.units if quota.configured else None),
        quota_left=quota.keys[0].remaining_background if quota.configured and quota.keys else None,
        min_free=throughput.min_free,
        gone=dict(prediction.gone),
        notes=notes,
    )
    return Planned(plan, prediction)


def _estimate(
    prediction: Prediction, request: JobRequest, wanted: Wanted, throughput: Throughput, units: int | None
) -> Estimate:
    return estimate(
        prediction.entries,
        request.options.quality,
        held=prediction.held,
        bytes_per_second=throughput.bytes_per_second,
        throughput=throughput.throughput,
        free_bytes=throughput.free_bytes,
        min_free=throughput.min_free,
        quota_units=units,
        extras=EXTRAS if wanted.media else METADATA,
    )


async def _list_all(metadata: MetadataClient, targets: Sequence[Target], notify: Notify, report: Report) -> _Listing:
    listing = _Listing()
    singles: list[str] = []
    for target in targets:
        if target.kind is TargetKind.VIDEOS:
            singles += target.video_ids
        else:
            notify(f"Listing {target}")
            await _list(metadata, target, listing, report)
    if singles:
        listing.targets.append(PlannedTarget(kind=TargetKind.VIDEOS, videos=len(singles)))
        listing.units += videos_units(len(singles))
        only_single = [video_id for video_id in singles if video_id not in listing.listed]
        listing.entries += [Entry(video_id=video_id) for video_id in only_single]
    elif listing.failures and len(listing.failures) == len(targets):
        raise listing.failures[0]
    return listing


async def _list(metadata: MetadataClient, target: Target, listing: _Listing, report: Report) -> None:
    planned = PlannedTarget(kind=target.kind, id=target.id)
    listing.targets.append(planned)
    try:
        playlist, entries = await metadata.listing(
            target, on_page=lambda read, total: report(ListingProgress(target, read, total))
        )
    except YTArchiveError as error:
        listing.failures.append(error)
        planned.error = error.detail()
        return
    planned.title = (playlist.channel if target.kind is TargetKind.CHANNEL else None) or playlist.title
    planned.videos = len({entry.video_id for entry in entries})
    listing.entries += entries
    listing.listed |= {entry.video_id for entry in entries}
    listing.units += listing_units(len(entries))


def _unknown_lengths(prediction: Prediction, listing: _Listing) -> list[str]:
    """Return the single videos to download whose length is unknown. Listings contain all that is known of theirs."""
    return [
        entry.video_id
        for entry in prediction.entries
        if entry.video_id not in listing.listed
        and entry.duration_seconds is None
        and entry.video_id not in prediction.held
        and entry.marked is None
    ]


async def _look_up(
    metadata: MetadataClient, ids: Sequence[str], lookups: int, quota: QuotaStatus, notes: list[str]
) -> Mapping[str, float | str | None]:
    """Return lengths in seconds, or reasons why videos are gone, by id; without those that were not looked up or whose
    lengths are unknown."""
    with_api = bool(quota.keys) and quota.configured and not quota.keys[0].exhausted
    chosen = ids[: lookups * BATCH if with_api else lookups]
    step = BATCH if with_api else _KEYLESS_BATCH
    found: dict[str, float | str | None] = {}
    for start in range(0, len(chosen), step):
        try:
            answer = await metadata.videos(chosen[start : start + step])
        except (ServiceUnavailable, NetworkTimeout) as error:
            notes.append(f"Some lengths are unknown: {error.message}")
            break
        found |= {one.video_id: one.duration_seconds for one in answer.videos}
        found |= {one.video_id: one.reason for one in answer.missing if one.reason in set(GoneReason)}
    return found
