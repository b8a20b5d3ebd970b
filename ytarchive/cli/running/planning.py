"""What a download would come to, said before anything is fetched: gathered by asking, decided by a job's own rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from services.common.errors import NetworkTimeout, ServiceUnavailable, YTArchiveError
from services.common.models import Entry, ErrorDetail, GoneReason, Held, Target, TargetKind, Wanted
from services.common.targets import group_targets
from services.jobs.domain.coverage import missing
from services.jobs.domain.listings import stays_gone
from services.metadata.api import BATCH
from services.metadata.quota_status import QuotaStatus
from services.storage.reporting.estimate import Throughput
from ytarchive.cli.running.job_request import Order
from ytarchive.client import youtube
from ytarchive.client.endpoints import System
from ytarchive.client.rest import Rest
from ytarchive.estimate import EXTRAS, METADATA, Estimate, estimate, listing_units, videos_units

LOOK_UPS = 20  # of single videos; with an API key each is one call for 50 of them
_AT_ONCE = 10  # videos in one request that goes without the Data API: they have 25 s

Say = Callable[[str], None]


class PlannedTarget(BaseModel):
    """One playlist, channel, or all videos that were named by themselves (`id` is empty). `error`: why it has none."""

    kind: TargetKind
    id: str = ""
    title: str | None = None
    videos: int = 0
    error: ErrorDetail | None = None


class Plan(BaseModel):
    """`quota_left` are units that jobs may still spend today; None without an API key. `gone` names those marked."""

    root: str
    quality: str
    targets: list[PlannedTarget]
    estimate: Estimate
    quota_left: int | None = None
    min_free: int = 0
    gone: dict[str, str] = {}  # video_id -> reason
    notes: list[str] = []


@dataclass
class _Lines:
    """All entries of an order. `listed` are ids that a list names; the others were named by themselves."""

    targets: list[PlannedTarget] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    failures: list[YTArchiveError] = field(default_factory=list)
    units: int = 0


@dataclass(frozen=True)
class Sorted:
    """`entries` as `estimate` takes them: what is gone is marked, what needs no media has no length."""

    entries: list[Entry]
    held: frozenset[str]
    gone: Mapping[str, str]


async def plan(
    system: System,
    order: Order,
    *,
    recheck_after: timedelta,
    look_ups: int = LOOK_UPS,
    say: Say = lambda _text: None,
) -> Plan:
    """`recheck_after` is that of jobs: `[recheck] interval_days`.

    Raises YTArchiveError when nothing at all could be listed, or the archive root is refused."""
    async with AsyncExitStack() as held:
        metadata = await held.enter_async_context(Rest.open(system.services["metadata"], patience=youtube.PATIENCE))
        storage = await held.enter_async_context(Rest.open(system.services["storage"], patience=youtube.PATIENCE))
        return await _plan(metadata, storage, order, recheck_after, look_ups, say)


async def _plan(metadata: Rest, storage: Rest, order: Order, recheck_after: timedelta, look_ups: int, say: Say) -> Plan:
    root = order.options.chosen_output_dir
    quality = order.options.quality
    wanted = Wanted.of(order.type, order.options)
    learned = await youtube.throughput(storage, root, quality)
    lines = await _list_all(metadata, group_targets(order.targets), say)
    quota = await youtube.quota(metadata)
    known = await youtube.held(storage, root, (entry.video_id for entry in lines.entries))
    now, notes = datetime.now(UTC), list[str]()
    skip_existing = order.options.skip_existing
    found = sort_out(lines.entries, known, wanted, now, recheck_after, skip_existing=skip_existing, listed=lines.listed)
    unknown = [] if not wanted.media else [one.video_id for one in found.entries if _length_unknown(one, found, lines)]
    if unknown:
        say(f"Asking for the length of {len(unknown)} single videos")
        told = await _look_up(metadata, unknown, look_ups, quota, notes)
        found = _with_lengths(found, told)
    return Plan(
        root=learned.root,
        quality=quality,
        targets=lines.targets,
        estimate=_estimate(found, order, wanted, learned, lines.units if quota.configured else None),
        quota_left=_left(quota),
        min_free=learned.min_free,
        gone=dict(found.gone),
        notes=notes,
    )


def _estimate(found: Sorted, order: Order, wanted: Wanted, learned: Throughput, units: int | None) -> Estimate:
    return estimate(
        found.entries,
        order.options.quality,
        held=found.held,
        bytes_per_second=learned.bytes_per_second,
        throughput=learned.throughput,
        free_bytes=learned.free_bytes,
        min_free=learned.min_free,
        quota_units=units,
        extras=EXTRAS if wanted.media else METADATA,
    )


# --- what there is ------------------------------------------------------------------------------------------------


async def _list_all(metadata: Rest, targets: Sequence[Target], say: Say) -> _Lines:
    lines = _Lines()
    singles: list[str] = []
    for target in targets:
        if target.kind is TargetKind.VIDEOS:
            singles += target.video_ids
        else:
            say(f"Reading {target}")
            await _list(metadata, target, lines)
    if singles:
        lines.targets.append(PlannedTarget(kind=TargetKind.VIDEOS, videos=len(singles)))
        lines.units += videos_units(len(singles))
        alone = [video_id for video_id in singles if video_id not in lines.listed]
        lines.entries += [Entry(video_id=video_id) for video_id in alone]
    elif lines.failures and len(lines.failures) == len(targets):
        raise lines.failures[0]
    return lines


async def _list(metadata: Rest, target: Target, lines: _Lines) -> None:
    planned = PlannedTarget(kind=target.kind, id=target.id)
    lines.targets.append(planned)
    try:
        playlist, entries = await youtube.listing(metadata, target)
    except YTArchiveError as error:
        lines.failures.append(error)
        planned.error = error.detail()
        return
    planned.title = (playlist.channel if target.kind is TargetKind.CHANNEL else None) or playlist.title
    planned.videos = len({entry.video_id for entry in entries})
    lines.entries += entries
    lines.listed |= {entry.video_id for entry in entries}
    lines.units += listing_units(len(entries))


async def _look_up(
    metadata: Rest, ids: Sequence[str], most: int, quota: QuotaStatus, notes: list[str]
) -> Mapping[str, float | str | None]:
    """Their lengths in seconds, or why they are gone; whoever is not in it was not asked for, or nobody knows."""
    by_api = bool(quota.keys) and quota.configured and not quota.keys[0].exhausted
    asked = ids[: most * BATCH if by_api else most]
    step = BATCH if by_api else _AT_ONCE
    told: dict[str, float | str | None] = {}
    for start in range(0, len(asked), step):
        try:
            answer = await youtube.videos(metadata, asked[start : start + step])
        except (ServiceUnavailable, NetworkTimeout) as error:
            notes.append(f"Not all lengths are known: {error.message}")
            break
        told |= {one.video_id: one.duration_seconds for one in answer.videos}
        told |= {one.video_id: one.reason for one in answer.missing if one.reason in set(GoneReason)}
    return told


# --- what it means: pure ------------------------------------------------------------------------------------------


def sort_out(
    entries: Iterable[Entry],
    known: Mapping[str, Held],
    wanted: Wanted,
    now: datetime,
    recheck_after: timedelta,
    *,
    skip_existing: bool,
    listed: set[str],
) -> Sorted:
    """As a job decides (services.jobs.domain.listings): what is held suffices, is known to be gone, or is fetched."""
    left: list[Entry] = []
    held: set[str] = set()
    gone: dict[str, str] = {}
    for entry in entries:
        have = known.get(entry.video_id, Held(video_id=entry.video_id))
        need = missing(wanted, have) if skip_existing else wanted
        lost = have.known_gone if skip_existing else None
        if need is None:
            held.add(entry.video_id)
        elif lost and stays_gone(entry, lost, now, recheck_after, in_list=entry.video_id in listed):
            entry = entry.model_copy(update={"marked": lost.reason})
        if need is not None and entry.marked is not None:
            gone[entry.video_id] = entry.marked
        elif need is not None and not need.media:
            entry = entry.model_copy(update={"duration_seconds": 0.0})
        left.append(entry)
    return Sorted(left, frozenset(held), gone)


def _length_unknown(entry: Entry, found: Sorted, lines: _Lines) -> bool:
    """Of a single video that would be fetched. A list has told of its own what there is to tell."""
    alone = entry.video_id not in lines.listed
    return alone and entry.duration_seconds is None and entry.video_id not in found.held and entry.marked is None


def _with_lengths(found: Sorted, told: Mapping[str, float | str | None]) -> Sorted:
    entries: list[Entry] = []
    gone = dict(found.gone)
    for entry in found.entries:
        match told.get(entry.video_id):
            case str(reason):
                entry = entry.model_copy(update={"marked": reason})
                gone[entry.video_id] = reason
            case float(seconds):
                entry = entry.model_copy(update={"duration_seconds": seconds})
            case _:
                pass
        entries.append(entry)
    return Sorted(entries, found.held, gone)


def _left(quota: QuotaStatus) -> int | None:
    return quota.keys[0].remaining_background if quota.configured and quota.keys else None
