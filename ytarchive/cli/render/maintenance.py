"""Services, quota, retention and the version of yt-dlp for people. Pure."""

from rich.console import RenderableType
from rich.text import Text

from services.common.youtube.ytdlp.release import is_newer
from services.jobs.rest_models import ServiceList
from services.metadata.quota_status import QuotaStatus
from ytarchive.backup import Backup, Restored
from ytarchive.cli.render.table import table
from ytarchive.client.maintenance import CleanupReport
from ytarchive.client.ytdlp_update import YtDlpVersions
from ytarchive.text import count, safe_text, size


def services(found: ServiceList) -> RenderableType:
    rows = (
        (
            *(safe_text(text) for text in (one.name, one.instance, one.url, one.version, one.host)),
            f"{one.free_slots} of {one.slots} free" if one.slots else "",
        )
        for one in found.services
    )
    return table("service", "instance", "url", "version", "host", "slots", rows=rows)


def quota(found: QuotaStatus) -> RenderableType:
    lines = [safe_text(found.message)] if found.message else []
    for key in found.keys:
        left = f"{key.remaining_background} units left for jobs, {key.remaining_people} for your own requests"
        state = ", exhausted" if key.exhausted else ", over 80 %" if key.warning else ""
        lines.append(f"key {safe_text(key.key)}…: {key.used} of {found.limit} used{state}; {left}")
    lines.append(f"The quota is renewed at {safe_text(found.model_dump(mode='json')['resets_at'])}.")
    return Text("\n".join(lines))


def cleanup(found: CleanupReport) -> RenderableType:
    verb = "would be removed" if found.jobs.dry_run else "removed"
    files = count(len(found.logs.files), "log file")
    return Text(f"{count(found.jobs.total, 'job')} and {files} ({size(found.logs.bytes)}) {verb}.")


def backup(written: Backup) -> RenderableType:
    total = sum(file.size for file in written.files)
    head = f"{count(len(written.files), 'file')} ({size(total)}) backed up to {safe_text(written.directory, 4096)}."
    return Text("\n".join([head, *(f"Left out: {safe_text(one, 4096)}" for one in written.left_out)]))


def restored(found: Restored) -> RenderableType:
    head = f"{count(len(found.restored), 'file')} restored as of {found.created_at:%Y-%m-%d %H:%M} UTC."
    kept = [f"Kept: {safe_text(path, 4096)}" for path in found.set_aside]
    return Text("\n".join([head, *kept, "Start `ytarchive up`: it finds the jobs since then again."]))


def ytdlp_versions(found: YtDlpVersions, *, asked: bool) -> RenderableType:
    """`asked`: the newest version was to be installed."""
    origin = f"in {safe_text(found.folder, 4096)}" if found.folder else "installed with ytarchive"
    lines = [f"yt-dlp {found.version} is in use, {origin}."]
    if found.changed:
        lines.append(
            f"Before, it was {found.before}. Running services need no restart: their next video is fetched with it."
        )
    if found.newest is not None:
        lines.append(_newest(found, found.newest, asked=asked))
    elif asked and not found.changed:
        lines.append("pip offers no newer one.")
    elif not found.changed:
        lines.append(
            "Whether a newer one exists is not known: the release page ([updates] releases_url) does not answer."
        )
    if found.back is not None:
        lines.append(f"`ytarchive update --back` goes back to {found.back}.")
    if found.problem is not None:
        lines.append(safe_text(f"Warning: {found.problem}.", 4096))
    return Text("\n".join(lines))


def _newest(found: YtDlpVersions, newest: str, *, asked: bool) -> str:
    if found.version is not None and not is_newer(newest, found.version):
        return "It is the newest one."
    if asked:
        return f"{newest} exists, but pip does not offer it yet: try again later."
    return f"{newest} exists: `ytarchive update` installs it."
