"""The archive, work plans and logs for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from services.common.domain.archive import RevisitReason
from services.storage.formats.work_plan import WorkPlan
from services.storage.index.highlight import Passage
from services.storage.index.queries import ArchiveStats, Existence, Prospect, VideoPage
from services.storage.index.search import SearchHit, SearchPage
from services.storage.workplans.queries import PlanPage
from ytarchive.cli.render.table import page_of, table
from ytarchive.text import clock, count, safe_text, size, span

_SHOWN_SEPARATELY = {
    "timestamp", "level", "event", "service", "message_id", "trace_id", "version", "subject", "data", "source",
}  # fmt: skip


_REASONS = {
    RevisitReason.LOWER: "a recent upload, lower than asked for",
    RevisitReason.FORMATS_MISSING: "yt-dlp could not get all formats",
    RevisitReason.CAPTIONS_ABSENT: "no captions yet",
    RevisitReason.CAPTIONS_REFUSED: "captions were refused",
    RevisitReason.STREAM_ENDED: "the stream had just ended",
    RevisitReason.LENGTH: "another length than in the listing",
}


def videos(page: VideoPage, *, prospects: bool = False) -> RenderableType:
    """`prospects`: show why each might get better instead of channel, length and size."""
    if not page.videos:
        return Text("No videos.")
    if prospects:
        return _below_wanted(page)
    rows = (
        (
            video.video_id,
            safe_text(video.title, 80),
            safe_text(video.channel or "", 40),
            span(video.duration_seconds) if video.duration_seconds is not None else "",
            size(video.bytes),
            f"{video.archived_at.astimezone():%Y-%m-%d}",
        )
        for video in page.videos
    )
    listed = table("id", "title", "channel", "length", "size", "archived", rows=rows)
    return page_of(listed, len(page.videos), page.total, "video")


def _below_wanted(page: VideoPage) -> RenderableType:
    rows = (
        (video.video_id, safe_text(video.title, 60), _lines(one), _reasons(one), _next_look(one))
        for video in page.videos
        if (one := video.prospect) is not None
    )
    listed = table("id", "title", "held", "reason", "next look", rows=rows)
    return page_of(listed, len(page.videos), page.total, "video")


def _lines(prospect: Prospect) -> str:
    return f"{prospect.resolution}p" if prospect.resolution is not None else ""


def _reasons(prospect: Prospect) -> str:
    captions = f" ({safe_text(', '.join(prospect.captions))})" if prospect.captions else ""
    return "; ".join(_REASONS[reason] for reason in prospect.reasons) + captions


def _next_look(prospect: Prospect) -> str:
    return f"{prospect.next_look.astimezone():%Y-%m-%d %H:%M}" if prospect.next_look is not None else "none"


def hits(page: SearchPage) -> RenderableType:
    if not page.hits:
        return Text("No results." if not page.total else f"No more results: {_total(page)} in total.")
    blocks: list[RenderableType] = [block for hit in page.hits for block in (_hit(hit), Text())]
    all_shown = len(page.hits) == page.total and not page.more_than_total
    return Group(*blocks, Text(_total(page) if all_shown else f"{len(page.hits)} of {_total(page)}"))


def _total(page: SearchPage) -> str:
    counted = count(page.total, "video")
    return f"more than {counted}" if page.more_than_total else counted


def _hit(hit: SearchHit) -> RenderableType:
    """Return title, channel and id, then one line per match: `12:34  spoken words (en)`."""
    found = {text.place: text for text in hit.texts}
    title = _highlighted(found["title"]) if "title" in found else Text(safe_text(hit.title))
    channel = _highlighted(found["channel"]) if "channel" in found else Text(safe_text(hit.channel or ""))
    head = Text("  ").join([part for part in (title, channel, Text(hit.video_id, "dim")) if part])
    lines = (
        [_indented(Text("description", "dim"), _highlighted(found["description"]))] if "description" in found else []
    )
    for moment in hit.moments:
        at, language = Text(clock(moment.start_seconds), "cyan"), Text(moment.language, "dim")
        lines.append(_indented(at, _highlighted(moment), language))
    if (more := hit.moments_total - len(hit.moments)) > 0:
        lines.append(_indented(Text(f"and {more} more in captions", "dim")))
    return Group(head, *lines)


def _indented(*parts: Text) -> Text:
    return Text("  ").join([Text(), *parts])


def _highlighted(passage: Passage) -> Text:
    """Return a passage with its matches highlighted. Each piece is cleaned by itself, so that offsets stay valid."""
    shown, end = Text(), 0
    for first, last in passage.matches:
        shown.append(_piece(passage.text[end:first])).append(_piece(passage.text[first:last]), "bold yellow")
        end = last
    return shown.append(_piece(passage.text[end:]))


def _piece(text: str) -> str:
    """Return safe text that keeps a blank at either end."""
    before, after = " " if text[:1].isspace() else "", " " if text[1:] and text[-1].isspace() else ""
    return f"{before}{safe_text(text)}{after}"


def existence(found: Existence) -> RenderableType:
    if not found.exists:
        reason = f" Known to be gone: {safe_text(found.known_gone.reason)}." if found.known_gone else ""
        return Text(f"{found.video_id} is not in the archive.{reason}")
    rows = (
        (safe_text(copy.root), safe_text(file.name), size(file.size), file.sha256)
        for copy in found.copies
        for file in copy.files
    )
    listed = table("root", "file", "size", "sha256", rows=rows)
    better = [one for copy in found.copies if (one := copy.prospect) is not None]
    lines = (Text(f"Might get better: {_reasons(one)}. Next look: {_next_look(one)}.") for one in better)
    return Group(listed, *lines)


def stats(found: ArchiveStats) -> RenderableType:
    roots = (
        (
            safe_text(root.root),
            str(root.videos),
            size(root.bytes),
            span(root.duration_seconds),
            size(root.free_bytes) if root.free_bytes is not None else "?",
        )
        for root in found.roots
    )
    channels = (
        (safe_text(channel.channel or "(unknown)", 60), str(channel.videos), size(channel.bytes))
        for channel in found.channels
    )
    parts: list[RenderableType] = [table("root", "videos", "size", "length", "free", rows=roots)]
    parts += [table("channel", "videos", "size", rows=channels)] if found.channels else []
    on_plans = count(found.open_plan_entries, "video")
    return Group(*parts, Text(f"{on_plans} on work plans, {found.known_gone} known to be gone."))


def work_plans(page: PlanPage) -> RenderableType:
    if not page.total:
        return Text("No work plans.")
    rows = (
        (
            plan.plan_id,
            f"{plan.updated_at.astimezone():%Y-%m-%d %H:%M}",
            str(plan.unavailable),
            str(plan.failed),
            str(plan.resolved),
            safe_text(plan.root),
        )
        for plan in page.work_plans
    )
    listed = table("plan", "updated", "unavailable", "failed", "resolved", "root", rows=rows)
    return page_of(listed, len(page.work_plans), page.total, "work plan")


def work_plan(plan: WorkPlan) -> RenderableType:
    data = plan.model_dump(mode="json")
    rows = [_entry(entry, entry["reason"], entry["detected_at"]) for entry in data["unavailable_videos"]]
    for entry in data["failed_downloads"]:
        last = entry["errors"][-1].get("message", "") if entry["errors"] else ""
        rows.append(_entry(entry, f"failed {entry['attempts']} times: {last}", entry["last_attempt"]))
    head = Text(f"Work plan {safe_text(data['plan_id'])} of {safe_text(data['root'])}")
    return Group(head, table("id", "title", "reason", "since", "resolved", rows=rows))


def _entry(entry: Mapping[str, Any], reason: str, since: str) -> tuple[str, ...]:
    title, resolved = safe_text(entry.get("title") or "", 60), (entry.get("resolved_at") or "")[:10]
    return safe_text(entry["video_id"]), title, safe_text(reason, 80), since[:10], resolved


def log_records(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    return Text("\n".join(map(_log_line, found)) if found else "No records.")


def _log_line(record: Mapping[str, Any]) -> str:
    """Format a log record as `2026-03-01T12:00:00Z info     service_started (jobs) port=8000`, and an event with its
    subject and source."""
    at = safe_text(record.get("timestamp", ""), 40)
    if record.get("subject"):
        return f"{at} event    {safe_text(record['subject'])} from {safe_text(record.get('source', ''))}"
    extra = " ".join(
        f"{safe_text(key)}={safe_text(value)}" for key, value in record.items() if key not in _SHOWN_SEPARATELY
    )
    service = f" ({safe_text(record['service'])})" if record.get("service") else ""
    level = safe_text(record.get("level", ""))
    return f"{at} {level:<8} {safe_text(record.get('event', ''))}{service} {extra}".rstrip()
