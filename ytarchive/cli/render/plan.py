"""A plan, a video and a playlist for people. Pure: models in, rich tables and text out."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.common.models import Entry, PlaylistMetadata, TargetKind, VideoMetadata
from ytarchive.cli.render.text import count, safe_text, size, span
from ytarchive.cli.running.planning import Plan, PlannedTarget
from ytarchive.estimate import Estimate, Range

_MOST_NAMED = 20
_DESCRIPTION = 400


def plan(found: Plan) -> RenderableType:
    told = found.estimate
    facts = _facts()
    for target in found.targets:
        facts.add_row(*_target(target))
    facts.add_row("Videos", _videos(told))
    facts.add_row("Size", f"{_range(told.bytes, size)}{_lengths(told)}")
    facts.add_row("", "by what the archive holds" if told.learned else "by what such videos usually weigh")
    facts.add_row("Time", _range(told.seconds, span))
    facts.add_row("", "by earlier downloads" if told.measured else "by what a usual line carries")
    if told.quota_units is not None:
        left = f"; {found.quota_left} are left for jobs today" if found.quota_left is not None else ""
        facts.add_row("Quota", f"{count(told.quota_units, 'unit')} of the Data API{left}")
    facts.add_row("Disk", _disk(found))
    return Group(facts, *map(_line, (*_named(found.gone), *found.notes)), Text("Nothing was fetched, no job was made."))


def _target(target: PlannedTarget) -> tuple[str, str]:
    if target.kind is TargetKind.VIDEOS:
        return "Singly", count(target.videos, "video")
    label = "Channel" if target.kind is TargetKind.CHANNEL else "Playlist"
    if target.error is not None:
        return label, f"{safe_text(target.id)}: cannot be listed: {safe_text(target.error.message)}"
    named = f"{safe_text(target.title, 80)} ({safe_text(target.id)})" if target.title else safe_text(target.id)
    return label, f"{named}: {count(target.videos, 'video')}"


def _videos(told: Estimate) -> str:
    return f"{told.videos}: {told.to_fetch} to fetch, {told.held} already archived, {told.gone} marked as gone"


def _lengths(told: Estimate) -> str:
    unknown = f", {told.unknown_lengths} of them of unknown length" if told.unknown_lengths else ""
    return f" for {span(told.video_seconds)} of video{unknown}"


def _range(found: Range, write: Callable[[float], str]) -> str:
    return f"about {write(found.likely)} ({write(found.low)} to {write(found.high)})"


def _disk(found: Plan) -> str:
    told, root = found.estimate, safe_text(found.root, 4096)
    if told.free_bytes is None or told.free_after is None:
        return f"nobody knows what is free on the disk of {root}"
    kept = f" beside the {size(found.min_free)} that stay free" if found.min_free else ""
    if told.fits:
        verdict = "it fits"
    elif told.free_after >= found.min_free:
        verdict = f"it may not fit{kept}"
    else:
        verdict = f"it does not fit{kept}"
    after = size(told.free_after) if told.free_after > 0 else "nothing"
    return f"{size(told.free_bytes)} free for {root}, about {after} afterwards: {verdict}"


def _named(gone: Mapping[str, str]) -> list[str]:
    lines = [f"Marked as gone: {video_id} ({reason})" for video_id, reason in list(gone.items())[:_MOST_NAMED]]
    return [*lines, f"… and {len(gone) - _MOST_NAMED} more"] if len(gone) > _MOST_NAMED else lines


def _line(text: str) -> Text:
    return Text(safe_text(text, 500))


# --- a video ------------------------------------------------------------------------------------------------------


def video(found: VideoMetadata) -> RenderableType:
    facts = _facts()
    told: tuple[tuple[str, object], ...] = (
        ("Title", found.title),
        ("Id", found.video_id),
        ("Channel", _of(found.channel, found.channel_handle or found.channel_id)),
        ("Uploaded", found.upload_date),
        ("Length", None if found.duration_seconds is None else span(found.duration_seconds)),
        ("Views", found.view_count),
        ("Likes", found.like_count),
        ("Captions", ", ".join(found.caption_languages)),
        ("Tags", ", ".join(found.tags)),
        ("Categories", ", ".join(found.categories)),
        ("Availability", found.availability),
        ("Live", None if found.live_status in {None, "not_live"} else found.live_status),
        ("Page", found.webpage_url),
    )
    for label, value in told:
        if value is not None and value != "":
            facts.add_row(label, Text(safe_text(value, 300)))
    about = safe_text(found.description, _DESCRIPTION)
    return Group(facts, Text(about)) if about else facts


# --- a playlist ---------------------------------------------------------------------------------------------------


def playlist(found: PlaylistMetadata, entries: Sequence[Entry], held: set[str], *, lines: bool) -> RenderableType:
    marked = {entry.video_id: entry.marked for entry in entries if entry.marked}
    ids = {entry.video_id for entry in entries}
    facts = _facts()
    facts.add_row("Title", Text(safe_text(found.title or "")))
    facts.add_row("Id", Text(safe_text(found.playlist_id)))
    if found.channel or found.channel_id:
        facts.add_row("Channel", Text(safe_text(_of(found.channel, found.channel_handle or found.channel_id))))
    facts.add_row("Videos", f"{len(ids)}, of which {len(ids & held)} are held and {len(marked)} marked as gone")
    known = [entry.duration_seconds for entry in entries if entry.duration_seconds is not None]
    facts.add_row("Length", span(sum(known)))
    shown: list[RenderableType] = [facts, *map(_line, _named(marked))]
    return Group(*shown, _entries(entries, held)) if lines else Group(*shown)


def _entries(entries: Sequence[Entry], held: set[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("id", "title", "length", "state"):
        table.add_column(column)
    for entry in entries:
        length = "" if entry.duration_seconds is None else span(entry.duration_seconds)
        state = "held" if entry.video_id in held else entry.marked or ""
        table.add_row(entry.video_id, safe_text(entry.title or "", 80), length, safe_text(state))
    return table


def _of(name: str | None, identity: str | None) -> str:
    return f"{name} ({identity})" if name and identity else name or identity or ""


def _facts() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    return table
