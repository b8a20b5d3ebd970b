"""Messages about a running job, and the summary of its result. Pure; upstream text goes through safe_text."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from rich.text import Text

from services.common.domain.jobs import Item, Job, Shortfall
from services.common.models import JobStatus, JobType
from ytarchive.cli.jobs.exit_codes import Exit, rejected
from ytarchive.cli.jobs.job_state import (
    AttemptFailedMessage,
    AvailableMessage,
    BetterCopyKeptMessage,
    BetterOfferedMessage,
    BlockedMessage,
    DiskFullMessage,
    FailedMessage,
    JobMessage,
    JobState,
    ListingFailedMessage,
    LookFailedMessage,
    NothingBetterMessage,
    RunningDownload,
    SavedMessage,
    UnavailableMessage,
)
from ytarchive.cli.jobs.result import RunResult
from ytarchive.text import count, moment, safe_text, short_id, size, span

_MAX_LISTED = 50  # videos of one kind in a summary; the work plan lists all
_MAX_EXAMPLES = 3  # videos that a line about something that is not there names
_TITLE = 80
_CAPTIONS = "captions/"


def video_name(video_id: str, title: str | None) -> str:
    """Return `title (video_id)`, or the id alone."""
    shown = safe_text(title, _TITLE) if title else ""
    return f"{shown} ({safe_text(video_id)})" if shown else safe_text(video_id)


def message_line(message: JobMessage, now: datetime) -> Text:
    match message:
        case SavedMessage(video_id, title, amount):
            weight = f", {size(amount)}" if amount else ""
            return _line("saved", "green", video_name(video_id, title) + weight)
        case BetterCopyKeptMessage(video_id, title):
            reason = "the archive keeps its better copy (--force replaces it)"
            return _line("kept", "green", f"{video_name(video_id, title)}: {reason}")
        case UnavailableMessage(video_id, title, reason):
            return _line("unavailable", "yellow", f"{video_name(video_id, title)}: {_reason(reason)}")
        case FailedMessage(video_id, title, attempts, error):
            tries = count(attempts, "attempt")
            return _line("failed", "red", f"{video_name(video_id, title)} after {tries}: {safe_text(error)}")
        case AttemptFailedMessage(video_id, title, error):
            return _line("attempt failed", "yellow", f"{video_name(video_id, title)}: {safe_text(error)}")
        case ListingFailedMessage(error, retry_at):
            retry = f"; next attempt at {moment(retry_at, now)}" if retry_at else ""
            return _line("listing failed", "yellow", safe_text(error) + retry)
        case BlockedMessage(reason, until, what):
            said = safe_text(what, 1000) or f"YouTube blocks this machine ({_reason(reason)})."
            return _line("waiting", "yellow", f"{said} The next attempt is at {moment(until, now)}.")
        case DiskFullMessage(error):
            return _line("waiting", "yellow", f"The disk is full: {safe_text(error)}")
        case AvailableMessage():
            return _line("continuing", "green", "YouTube answers again")
        case _:
            return _look_line(message, now)


def _look_line(message: BetterOfferedMessage | NothingBetterMessage | LookFailedMessage, now: datetime) -> Text:
    """Return a line about a look at an archived video."""
    name = video_name(message.video_id, message.title)
    match message:
        case BetterOfferedMessage():
            return _line("better", "cyan", f"{name}: {_offered(message)}: fetching")
        case NothingBetterMessage(next_look=next_look):
            then = f"next look {_at(next_look, now)}" if next_look else "no further look"
            return _line("looked again", "green", f"{name}: nothing better yet; {then}")
        case LookFailedMessage(message=error):
            return _line("look failed", "yellow", f"{name}: the archive keeps what it has: {safe_text(error)}")


def _offered(message: BetterOfferedMessage) -> str:
    """Return `720p is offered now`, or what else is better."""
    better = [f"{message.resolution}p"] if message.resolution is not None else []
    better += ["a longer recording"] if message.longer else []
    better += [f"captions {', '.join(map(safe_text, message.captions))}"] if message.captions else []
    return f"{', '.join(better)} {'are' if len(better) > 1 else 'is'} offered now"


def _at(when: datetime, now: datetime) -> str:
    return f"at {moment(when, now)}" if when > now else "in the next run"


def progress_line(running: RunningDownload) -> Text:
    """Return a line about a running download, for output without bars."""
    progress = running.progress
    shown = "" if progress is None else f"{progress.percentage:.0f} % of {size(progress.total)}"
    if progress is not None and progress.speed_bps:
        shown += f", {size(progress.speed_bps)}/s"
    if progress is not None and progress.eta_seconds is not None:
        shown += f", {span(progress.eta_seconds)} left"
    return _line("downloading", "cyan", f"{video_name(running.video_id, running.title)}: {shown or 'starting'}")


def job_line(state: JobState) -> str:
    """Return the progress of a job, `7 of 12 done, 2 already archived, 1 failure`; during the listing, the number of
    videos so far."""
    job = state.job
    if job is None:
        return "waiting for the jobs service"
    counts = job.counts
    known = max(counts.total, len(state.titles))
    done = counts.total - counts.open
    parts = [f"{done} of {counts.total} done" if job.listed else f"listing… {known} so far, {done} done"]
    if job.paused:
        parts.append(f"paused: `ytarchive jobs resume {short_id(job.job_id)}` continues it")
    if job.waiting_for:
        parts.append(f"waiting: {safe_text(job.waiting_for, 1000)}")
    if not job.listed:
        return ", ".join(parts)
    if counts.skipped:
        parts.append(f"{counts.skipped} already archived")
    failures = counts.unavailable + counts.failed
    if failures:
        parts.append(count(failures, "failure"))
    return ", ".join(parts)


# --- the summary --------------------------------------------------------------------------------------------------


def summary(result: RunResult, now: datetime) -> list[Text]:
    """Return what was saved, what is missing and why, and where the files are."""
    job = result.job
    if job is None:
        return [Text("The job was not started.", style="red")]
    if rejected(job):
        return []  # the error has all of it
    return [*_headline(result, job, now), *_shortfalls(result, job), *_missing(result), *_locations(result, job)]


def _headline(result: RunResult, job: Job, now: datetime) -> Iterator[Text]:
    style = {Exit.OK: "green", Exit.FAILED: "red"}.get(result.exit, "yellow")
    counts = job.counts
    verb = "described" if job.type is JobType.METADATA_ONLY else "saved"
    parts = [f"{counts.archived} {verb}", f"{counts.skipped} already archived"]
    parts += [f"{counts.unavailable} unavailable"] if counts.unavailable else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.cancelled} cancelled"] if counts.cancelled else []
    parts += [f"{counts.open} still open"] if counts.open else []
    weight = f", {size(result.items.bytes)}" if result.items.bytes else ""
    yield Text.assemble((f"{_outcome(result, job)}: ", style), f"{', '.join(parts)}{weight} in {span(result.seconds)}")
    if job.error is not None:
        yield Text(f"Error [{job.error.code}]: {safe_text(job.error.message, 500)}", style="red")
    for note in job.notes:
        yield Text(f"Note: {safe_text(note, 500)}", style="yellow")
    if result.exit is Exit.PARKED and job.waiting_for:
        yield Text(safe_text(job.waiting_for, 1000))
    elif result.exit is Exit.PARKED and job.retry_at is not None:
        yield Text(f"Waiting for a scheduled retry; the next one is at {moment(job.retry_at, now)}.")


def _outcome(result: RunResult, job: Job) -> str:
    if result.exit is Exit.INTERRUPTED:
        return "Interrupted"
    if result.exit is Exit.PARKED:
        return "Parked"
    match job.status:
        case JobStatus.FAILED:
            return "Failed"
        case JobStatus.CANCELLED:
            return "Cancelled"
        case _ if job.counts.nothing_saved:
            return "Nothing was saved"
        case _:
            return "Done, with failures" if result.exit is Exit.INCOMPLETE else "Done"


def _shortfalls(result: RunResult, job: Job) -> Iterator[Text]:
    """Yield a line for each kind of what was wanted of the saved videos and is not there."""
    short = result.items.short
    below = f"below {safe_text(job.options.quality)}, because YouTube offered no better"
    yield from _short("without captions that YouTube does not have", short, lambda one: _languages(one.absent))
    unfetched = "without captions that could not be fetched"
    yield from _short(unfetched, short, lambda one: _languages(one.unfetched))
    no_thumbnail = "without a thumbnail, which YouTube does not have"
    yield from _short(no_thumbnail, short, lambda one: "" if "thumbnail" in one.absent else None)
    yield from _short(below, short, lambda one: f"{one.height}p" if one.height else None)


def _short(heading: str, items: Sequence[Item], detail: Callable[[Shortfall], str | None]) -> Iterator[Text]:
    """`detail`: a text to the video, which may be empty; None for a video that lacks something else."""
    found = [(item, text) for item in items if item.shortfall and (text := detail(item.shortfall)) is not None]
    if not found:
        return
    named = (
        video_name(item.video_id, item.title) + (f": {safe_text(text)}" if text else "")
        for item, text in found[:_MAX_EXAMPLES]
    )
    more = f"; and {len(found) - _MAX_EXAMPLES} more" if len(found) > _MAX_EXAMPLES else ""
    looks = [at for item, _text in found if item.shortfall and (at := item.shortfall.next_look)]
    again = f" (next look {min(looks).astimezone():%Y-%m-%d %H:%M})" if looks else ""
    yield Text(f"{count(len(found), 'video')} {heading}{again}: {'; '.join(named)}{more}", style="yellow")


def _languages(names: Sequence[str]) -> str | None:
    found = [name.removeprefix(_CAPTIONS) for name in names if name.startswith(_CAPTIONS)]
    return ", ".join(found) or None


def _missing(result: RunResult) -> Iterator[Text]:
    items = result.items
    yield from _listed("Unavailable", items.unavailable, lambda item: _reason(item.reason or "unknown"))
    yield from _listed("Failed", items.failed, _failure)
    yield from _listed("Waiting", items.waiting, lambda item: safe_text(item.message or item.reason or "for a retry"))


def _failure(item: Item) -> str:
    reason = safe_text(item.message or item.reason or "unknown")
    return f"{reason} ({count(item.attempts, 'attempt')})"


def _listed(heading: str, items: Sequence[Item], reason: Callable[[Item], str]) -> Iterator[Text]:
    if not items:
        return
    yield Text(f"{heading}:", style="bold")
    for item in items[:_MAX_LISTED]:
        title = f"  {safe_text(item.title, _TITLE)}" if item.title else ""
        yield Text(f"  {safe_text(item.video_id)}  {reason(item)}{title}")
    if len(items) > _MAX_LISTED:
        yield Text(f"  … and {len(items) - _MAX_LISTED} more; `ytarchive jobs show` lists all")


def _locations(result: RunResult, job: Job) -> Iterator[Text]:
    if job.root:
        yield Text(f"Files:     {safe_text(job.root, 4096)}")
    if job.work_plan:
        yield Text(f"Work plan: {safe_text(job.work_plan, 4096)}")
    if result.exit is Exit.INTERRUPTED:
        if result.attached:
            yield Text("The running stack continues the job: `ytarchive jobs list` shows it.")
        else:
            yield Text("Downloaded data is kept. Run the same command again to continue.")
    if result.exit is Exit.PARKED:
        yield Text("The running stack continues it." if result.attached else "Run the same command again then.")


def _line(label: str, style: str, text: str) -> Text:
    return Text.assemble((f"{label:<14} ", style), text)


def _reason(reason: str) -> str:
    return safe_text(reason).replace("_", " ")
