"""What is held, what is missing and what was logged, for people. Pure: models in, rich tables and text out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.storage.index.highlight import Passage
from services.storage.index.queries import ArchiveStats, Existence, VideoPage
from services.storage.index.search import SearchHit, SearchPage
from services.storage.workplans.queries import PlanPage
from ytarchive.cli.render.text import clock, count, safe_text, size, span

_ROW = ("timestamp", "level", "event", "service", "message_id", "trace_id", "version", "subject", "data", "source")


def videos(page: VideoPage) -> RenderableType:
    table = _table("id", "title", "channel", "length", "size", "archived")
    for video in page.videos:
        table.add_row(
            video.video_id,
            safe_text(video.title, 80),
            safe_text(video.channel or "", 40),
            span(video.duration_seconds) if video.duration_seconds is not None else "",
            size(video.bytes),
            f"{video.archived_at.astimezone():%Y-%m-%d}",
        )
    return Group(table, _shown(len(page.videos), page.total, "video")) if page.videos else Text("No videos.")


def hits(page: SearchPage) -> RenderableType:
    if not page.hits:
        return Text("Nothing was found." if not page.total else f"Only {count(page.total, 'video')}.")
    blocks: list[RenderableType] = [block for hit in page.hits for block in (_hit(hit), Text())]
    return Group(*blocks, _shown(len(page.hits), page.total, "video"))


def _hit(hit: SearchHit) -> RenderableType:
    """Title, channel and id, then line by line where it was found: `12:34  what is said (en)`."""
    found = {text.place: text for text in hit.texts}
    title = _marked(found["title"]) if "title" in found else Text(safe_text(hit.title))
    channel = _marked(found["channel"]) if "channel" in found else Text(safe_text(hit.channel or ""))
    head = Text("  ").join([part for part in (title, channel, Text(hit.video_id, "dim")) if part])
    lines = [_line_of(Text("description", "dim"), _marked(found["description"]))] if "description" in found else []
    for moment in hit.moments:
        lines.append(_line_of(Text(clock(moment.start_seconds), "cyan"), _marked(moment), Text(moment.language, "dim")))
    if (more := hit.moments_total - len(hit.moments)) > 0:
        lines.append(_line_of(Text(f"and {more} more in captions", "dim")))
    return Group(head, *lines)


def _line_of(*parts: Text) -> Text:
    return Text("  ").join([Text(), *parts])


def _marked(passage: Passage) -> Text:
    """Each piece made harmless on its own, so that the marks stay where they belong."""
    shown, end = Text(), 0
    for first, last in passage.matches:
        shown.append(_piece(passage.text[end:first])).append(_piece(passage.text[first:last]), "bold yellow")
        end = last
    return shown.append(_piece(passage.text[end:]))


def _piece(text: str) -> str:
    """Harmless, with the blanks at its ends."""
    before, after = " " if text[:1].isspace() else "", " " if text[1:] and text[-1].isspace() else ""
    return f"{before}{safe_text(text)}{after}"


def existence(found: Existence) -> RenderableType:
    if not found.exists:
        why = f" Known to be gone: {safe_text(found.known_gone.reason)}." if found.known_gone else ""
        return Text(f"Nothing is held of {found.video_id}.{why}")
    table = _table("root", "file", "size", "sha256")
    for copy in found.copies:
        for file in copy.files:
            table.add_row(safe_text(copy.root), safe_text(file.name), size(file.size), file.sha256)
    return table


def stats(found: ArchiveStats) -> RenderableType:
    roots = _table("root", "videos", "size", "length", "free")
    for root in found.roots:
        free = size(root.free_bytes) if root.free_bytes is not None else "?"
        roots.add_row(safe_text(root.root), str(root.videos), size(root.bytes), span(root.duration_seconds), free)
    channels = _table("channel", "videos", "size")
    for channel in found.channels:
        channels.add_row(safe_text(channel.channel or "(unknown)", 60), str(channel.videos), size(channel.bytes))
    missing = f"{count(found.open_plan_entries, 'video')} on work plans, {found.known_gone} known to be gone."
    return Group(roots, channels, Text(missing)) if found.channels else Group(roots, Text(missing))


def plans(page: PlanPage) -> RenderableType:
    table = _table("plan", "updated", "unavailable", "failed", "resolved", "root")
    for plan in page.work_plans:
        numbers = (str(plan.unavailable), str(plan.failed), str(plan.resolved))
        table.add_row(plan.plan_id, f"{plan.updated_at.astimezone():%Y-%m-%d %H:%M}", *numbers, safe_text(plan.root))
    return Group(table, _shown(len(page.work_plans), page.total, "work plan")) if page.total else Text("No work plans.")


def plan(found: Mapping[str, Any]) -> RenderableType:
    table = _table("id", "title", "why", "since", "resolved")
    for gap in found["unavailable_videos"]:
        table.add_row(*_gap(gap, gap["reason"], gap["detected_at"]))
    for gap in found["failed_downloads"]:
        last = gap["errors"][-1].get("message", "") if gap["errors"] else ""
        table.add_row(*_gap(gap, f"failed {gap['attempts']} times: {last}", gap["last_attempt"]))
    return Group(Text(f"Work plan {found['plan_id']} of {safe_text(found['root'])}"), table)


def records(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    return Text("\n".join(map(_line, found)) if found else "Nothing.")


def _line(record: Mapping[str, Any]) -> str:
    """`2026-03-01T12:00:00Z info     service_started (jobs) port=8000`; of an event its subject and source."""
    at = safe_text(record.get("timestamp", ""), 40)
    if record.get("subject"):
        return f"{at} event    {safe_text(record['subject'])} from {safe_text(record.get('source', ''))}"
    facts = " ".join(f"{safe_text(key)}={safe_text(value)}" for key, value in record.items() if key not in _ROW)
    who = f" ({safe_text(record['service'])})" if record.get("service") else ""
    return f"{at} {safe_text(record.get('level', '')):<8} {safe_text(record.get('event', ''))}{who} {facts}".rstrip()


def _gap(gap: Mapping[str, Any], why: str, since: str) -> tuple[str, ...]:
    title, resolved = safe_text(gap.get("title") or "", 60), (gap.get("resolved_at") or "")[:10]
    return safe_text(gap["video_id"]), title, safe_text(why, 80), since[:10], resolved


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _shown(shown: int, total: int, noun: str) -> Text:
    return Text(count(total, noun) if shown == total else f"{shown} of {count(total, noun)}")
