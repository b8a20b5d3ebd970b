"""The history of one video or one playlist as a list of events. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel

from services.common.domain.archive import FileRole
from services.storage.formats.manifest import Manifest, TakeIn
from services.storage.formats.playlist import PlaylistFile
from services.storage.formats.revisit import next_look
from services.storage.formats.video_metadata import VideoFile
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import FAILED, Observation


class TimelineEventKind(StrEnum):
    """The kinds of playlist changes (playlist_diff.PlaylistChangeKind), and further events of a video."""

    FIRST_LOOK = "first_look"
    APPEARED = "appeared"
    VANISHED = "vanished"
    PRIVATE = "private"
    DELETED = "deleted"
    CAME_BACK = "came_back"  # of a playlist: listed again; else: it was gone, and was archived later
    RETITLED = "retitled"
    ARCHIVED = "archived"
    REPLACED = "replaced"  # files were replaced
    ADDED = "added"  # further files were added
    FOUND_GONE = "found_gone"
    FAILED = "failed"  # no attempts were left
    RESOLVED = "resolved"  # it had failed, and was archived later
    LOOKED = "looked"  # an archived video was looked at again, and there was nothing better
    GIVEN_UP = "given_up"  # that was the last of these looks


class TimelineEvent(BaseModel):
    """An event of a playlist has `playlist_id`. Which other fields are set depends on `change`.

    `last`: the last time that the state was confirmed, after `looks` looks. `source`: the metadata source of a title.
    """

    at: AwareDatetime
    change: TimelineEventKind
    root: str
    video_id: str | None = None
    playlist_id: str | None = None
    playlist_title: str | None = None
    title: str | None = None
    before: str | None = None
    total: int | None = None
    reason: str | None = None
    last: AwareDatetime | None = None
    plan_id: str | None = None
    job_id: str | None = None
    source: str | None = None
    files: list[str] | None = None
    looks: int | None = None


def sort_events(lines: Iterable[TimelineEvent]) -> list[TimelineEvent]:
    """Return the events oldest first; events of the same time keep their order."""
    return sorted(lines, key=lambda line: line.at)


def playlist_events(file: PlaylistFile, root: str) -> Iterator[TimelineEvent]:
    for one in file.changes:
        fields = one.model_dump(mode="json", include={"at", "job_id", "change", "video_id", "title", "before", "total"})
        about = {"root": root, "playlist_id": file.playlist_id, "playlist_title": file.title}
        yield TimelineEvent.model_validate({**fields, **about})


def video_events_in_playlist(file: PlaylistFile, video_id: str, root: str) -> Iterator[TimelineEvent]:
    """Yield what a playlist's listings showed of one video. One without an APPEARED was in the first listing."""
    own = [line for line in playlist_events(file, root) if line.video_id == video_id]
    listed = any(entry.video_id == video_id for entry in file.entries)
    listed = listed or any(video_id in view for view in file.views.values())
    if (own and own[0].change is not TimelineEventKind.APPEARED) or (not own and listed):
        for line in playlist_events(file, root):
            if line.change is TimelineEventKind.FIRST_LOOK:
                yield line
    yield from own


def take_in_events(manifest: Manifest, root: str) -> Iterator[TimelineEvent]:
    """Yield one event per delivery."""
    held: set[str] = set()
    lines: int | None = None  # of the picture that is held
    for taken in manifest.take_ins:
        again = held.intersection(taken.files)
        change = (
            TimelineEventKind.ARCHIVED if not held else TimelineEventKind.REPLACED if again else TimelineEventKind.ADDED
        )
        held.update(taken.files)
        before, lines = lines, _lines(manifest, taken) or lines
        yield TimelineEvent(
            at=taken.archived_at, change=change, root=root, video_id=manifest.video_id, files=sorted(taken.files),
            reason=f"{lines}p instead of {before}p" if before and before != lines else None,
        )  # fmt: skip


def _lines(manifest: Manifest, taken: TakeIn) -> int | None:
    """Return the lines of the video that a delivery brought; None when it brought none, or they are not known."""
    roles = {manifest.fixity[name].role for name in taken.files if name in manifest.fixity}
    return taken.provenance.resolution if FileRole.VIDEO in roles else None


def look_events(manifest: Manifest, after: Sequence[timedelta], now: datetime, root: str) -> Iterator[TimelineEvent]:
    """Yield the looks for something better that found nothing, and that there are no more. `after`: [revisit] after."""
    for look in manifest.looks:
        yield TimelineEvent(
            at=look.first, change=TimelineEventKind.LOOKED, root=root, video_id=manifest.video_id,
            reason=look.outcome, last=look.last, looks=look.number,
        )  # fmt: skip
    known = manifest.revisit
    open_reasons = known is not None and known.reasons and known.looked_at is not None
    if after and manifest.looks and open_reasons and next_look(known, after, now) is None:
        at, video_id = manifest.looks[-1].last, manifest.video_id
        yield TimelineEvent(at=at, change=TimelineEventKind.GIVEN_UP, root=root, video_id=video_id)


def title_events(file: VideoFile, root: str) -> Iterator[TimelineEvent]:
    for one in file.retitled:
        yield TimelineEvent(
            at=one.at, change=TimelineEventKind.RETITLED, root=root, video_id=file.video_id, source=one.source,
            before=one.before, title=one.title,
        )  # fmt: skip


def work_plan_events(plans: Iterable[WorkPlan], video_id: str) -> Iterator[TimelineEvent]:
    """Yield, for each root, what was found missing and why: once for as long as it stays so, however many plans record
    it."""
    by_root: dict[str, list[tuple[WorkPlan, Observation]]] = {}
    for plan in plans:
        entry = plan.entry(video_id)
        for finding in entry.observations if entry else ():
            by_root.setdefault(plan.root, []).append((plan, finding))
    for root, found in by_root.items():
        yield from _episodes(found, video_id, root)


def _episodes(found: Sequence[tuple[WorkPlan, Observation]], video_id: str, root: str) -> list[TimelineEvent]:
    lines: list[TimelineEvent] = []
    missing: TimelineEvent | None = None
    for at, plan, finding in sorted(_marks(found), key=lambda mark: mark[0]):
        if finding is not None and missing is not None and missing.reason == finding.reason:
            missing.last = max(missing.last or finding.last, finding.last)
            continue
        if finding is not None:
            change = TimelineEventKind.FAILED if finding.reason == FAILED else TimelineEventKind.FOUND_GONE
            missing = TimelineEvent(
                at=at, change=change, root=root, video_id=video_id, reason=finding.reason, last=finding.last,
                plan_id=plan.plan_id,
            )  # fmt: skip
            lines.append(missing)
        elif missing is not None:
            change = (
                TimelineEventKind.RESOLVED
                if missing.change is TimelineEventKind.FAILED
                else TimelineEventKind.CAME_BACK
            )
            lines.append(TimelineEvent(at=at, change=change, root=root, video_id=video_id, plan_id=plan.plan_id))
            missing = None
    return lines


def _marks(found: Iterable[tuple[WorkPlan, Observation]]) -> Iterator[tuple[datetime, WorkPlan, Observation | None]]:
    """Yield each observation by its start, and its end (None) by the arrival."""
    for plan, finding in found:
        yield finding.since, plan, finding
        if finding.resolved_at is not None:
            yield finding.resolved_at, plan, None
