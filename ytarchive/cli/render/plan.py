"""Download plans, videos and playlists for people. Pure."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.common.domain.videos import Entry, PlaylistMetadata, TargetKind, VideoMetadata
from ytarchive.cli.render.table import Cell, facts, table
from ytarchive.planning.download_plan import DownloadPlan, PlannedTarget
from ytarchive.planning.estimate import Estimate, Range
from ytarchive.text import count, safe_text, size, span

_MAX_LISTED = 20
_DESCRIPTION = 400


def plan(found: DownloadPlan) -> RenderableType:
    estimate = found.estimate
    rows: list[tuple[str, Cell]] = [_target(target) for target in found.targets]
    rows += [
        ("Videos", _videos(estimate)),
        ("Size", f"{_range(estimate.bytes, size)}{_lengths(estimate)}"),
        ("", "based on the videos in the archive" if estimate.learned else "based on typical bit rates"),
        ("Time", _range(estimate.seconds, span)),
        ("", "based on earlier downloads" if estimate.measured else "based on a typical connection"),
    ]
    if estimate.quota_units is not None:
        left = f"; {found.quota_left} left for jobs today" if found.quota_left is not None else ""
        rows.append(("Quota", f"{count(estimate.quota_units, 'unit')} of the Data API{left}"))
    rows.append(("Disk", _disk(found)))
    lines = map(_line, (*_marked_as_gone(found.gone), *found.notes))
    return Group(facts(rows), *lines, Text("Nothing was downloaded and no job was created."))


def _target(target: PlannedTarget) -> tuple[str, Cell]:
    if target.kind is TargetKind.VIDEOS:
        return "Single videos", count(target.videos, "video")
    label = "Channel" if target.kind is TargetKind.CHANNEL else "Playlist"
    if target.error is not None:
        return label, f"{safe_text(target.id)}: cannot be listed: {safe_text(target.error.message)}"
    name = f"{safe_text(target.title, 80)} ({safe_text(target.id)})" if target.title else safe_text(target.id)
    return label, f"{name}: {count(target.videos, 'video')}"


def _videos(estimate: Estimate) -> str:
    return (
        f"{estimate.videos}: {estimate.to_fetch} to download, {estimate.held} already archived,"
        f" {estimate.gone} marked as gone"
    )


def _lengths(estimate: Estimate) -> str:
    unknown = f", {estimate.unknown_lengths} of unknown length" if estimate.unknown_lengths else ""
    return f" for {span(estimate.video_seconds)} of video{unknown}"


def _range(found: Range, write: Callable[[float], str]) -> str:
    return f"about {write(found.likely)} ({write(found.low)} to {write(found.high)})"


def _disk(found: DownloadPlan) -> str:
    estimate, root = found.estimate, safe_text(found.root, 4096)
    if estimate.free_bytes is None or estimate.free_after is None:
        return f"free space on {root} is unknown"
    reserve = f" without the {size(found.min_free)} that are kept free" if found.min_free else ""
    if estimate.fits:
        verdict = "it fits"
    elif estimate.free_after >= found.min_free:
        verdict = f"it may not fit{reserve}"
    else:
        verdict = f"it does not fit{reserve}"
    after = size(estimate.free_after) if estimate.free_after > 0 else "nothing"
    return f"{size(estimate.free_bytes)} free on {root}, about {after} afterwards: {verdict}"


def _marked_as_gone(gone: Mapping[str, str]) -> list[str]:
    lines = [f"Marked as gone: {video_id} ({reason})" for video_id, reason in list(gone.items())[:_MAX_LISTED]]
    return [*lines, f"… and {len(gone) - _MAX_LISTED} more"] if len(gone) > _MAX_LISTED else lines


def _line(text: str) -> Text:
    return Text(safe_text(text, 500))


# --- a video ------------------------------------------------------------------------------------------------------


def video(found: VideoMetadata) -> RenderableType:
    values: tuple[tuple[str, object], ...] = (
        ("Title", found.title),
        ("Id", found.video_id),
        ("Channel", _with_id(found.channel, found.channel_handle or found.channel_id)),
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
    known = facts((label, safe_text(value, 300)) for label, value in values if value is not None and value != "")
    description = safe_text(found.description, _DESCRIPTION)
    return Group(known, Text(description)) if description else known


# --- a playlist ---------------------------------------------------------------------------------------------------


def playlist(
    found: PlaylistMetadata, entries: Sequence[Entry], archived: set[str], *, with_entries: bool
) -> RenderableType:
    """`archived`: the ids of archived videos."""
    marked = {entry.video_id: entry.marked for entry in entries if entry.marked}
    ids = {entry.video_id for entry in entries}
    known = [entry.duration_seconds for entry in entries if entry.duration_seconds is not None]
    rows: list[tuple[str, Cell]] = [("Title", safe_text(found.title or "")), ("Id", safe_text(found.playlist_id))]
    if found.channel or found.channel_id:
        rows.append(("Channel", safe_text(_with_id(found.channel, found.channel_handle or found.channel_id))))
    rows += [
        ("Videos", f"{len(ids)}, of which {len(ids & archived)} are archived and {len(marked)} marked as gone"),
        ("Length", span(sum(known))),
    ]
    shown: list[RenderableType] = [facts(rows), *map(_line, _marked_as_gone(marked))]
    return Group(*shown, _entries(entries, archived)) if with_entries else Group(*shown)


def _entries(entries: Sequence[Entry], archived: set[str]) -> Table:
    rows = (
        (
            entry.video_id,
            safe_text(entry.title or "", 80),
            "" if entry.duration_seconds is None else span(entry.duration_seconds),
            safe_text("archived" if entry.video_id in archived else entry.marked or ""),
        )
        for entry in entries
    )
    return table("id", "title", "length", "state", rows=rows)


def _with_id(name: str | None, identity: str | None) -> str:
    return f"{name} ({identity})" if name and identity else name or identity or ""
