"""What happens during a download, and how it ended, in words. Pure; all upstream text goes through safe_text."""

from collections.abc import Callable, Iterator
from datetime import datetime

from rich.text import Text

from services.common.models import Item, Job, JobStatus, JobType
from ytarchive.cli.exits import Exit, rejected
from ytarchive.cli.render.text import count, moment, safe_text, short_id, size, span
from ytarchive.cli.running.job_state import (
    AttemptFailed,
    Blocked,
    Cleared,
    Failed,
    Kept,
    ListingTrouble,
    NoSpace,
    Notice,
    Picture,
    Running,
    Saved,
    Unavailable,
)
from ytarchive.cli.running.result import Result

_MOST_NAMED = 50  # videos of one kind in a summary; the work plan has them all
_TITLE = 80


def name(video_id: str, title: str | None) -> str:
    """`title (video_id)`, or the id alone."""
    shown = safe_text(title, _TITLE) if title else ""
    return f"{shown} ({safe_text(video_id)})" if shown else safe_text(video_id)


def told(notice: Notice, now: datetime) -> Text:
    """One line for one notice."""
    match notice:
        case Saved(video_id, title, amount):
            weight = f", {size(amount)}" if amount else ""
            return Text.assemble(("saved        ", "green"), name(video_id, title) + weight)
        case Kept(video_id, title):
            why = "a better one is held and was kept (--force would replace it)"
            return Text.assemble(("kept         ", "green"), f"{name(video_id, title)}: {why}")
        case Unavailable(video_id, title, reason):
            return Text.assemble(("unavailable  ", "yellow"), f"{name(video_id, title)}: {_reason(reason)}")
        case Failed(video_id, title, attempts, message):
            tries = count(attempts, "attempt")
            return Text.assemble(
                ("failed       ", "red"), f"{name(video_id, title)} after {tries}: {safe_text(message)}"
            )
        case AttemptFailed(video_id, title, message):
            return Text.assemble(("attempt lost ", "yellow"), f"{name(video_id, title)}: {safe_text(message)}")
        case ListingTrouble(message, again_at):
            again = f"; again at {moment(again_at, now)}" if again_at else ""
            return Text.assemble(("listing      ", "yellow"), safe_text(message) + again)
        case Blocked(reason, until):
            until_text = moment(until, now)
            return Text.assemble(
                ("waiting      ", "yellow"), f"YouTube refuses this machine ({_reason(reason)}) until {until_text}"
            )
        case NoSpace(message):
            return Text.assemble(("waiting      ", "yellow"), f"The disk is full: {safe_text(message)}")
        case Cleared():
            return Text.assemble(("going on     ", "green"), "YouTube answers again")


def progress_line(running: Running) -> Text:
    """A download under way, for where there are no bars."""
    progress = running.progress
    facts = "" if progress is None else f"{progress.percentage:.0f} % of {size(progress.total)}"
    if progress is not None and progress.speed_bps:
        facts += f", {size(progress.speed_bps)}/s"
    if progress is not None and progress.eta_seconds is not None:
        facts += f", {span(progress.eta_seconds)} left"
    return Text.assemble(("downloading  ", "cyan"), f"{name(running.video_id, running.title)}: {facts or 'begins'}")


def job_line(picture: Picture) -> str:
    """How far the job is: `7 of 12 done, 2 skipped, 1 gap`; while it is listed, how many there are so far."""
    job = picture.job
    if job is None:
        return "waiting for the job to be taken up"
    counts = job.counts
    known = max(counts.total, len(picture.titles))
    done = counts.total - counts.open
    parts = [f"{done} of {counts.total} done" if job.listed else f"listing… {known} so far, {done} done"]
    if job.paused:
        parts.append(f"paused: `ytarchive jobs resume {short_id(job.job_id)}` goes on")
    if not job.listed:
        return ", ".join(parts)
    if counts.skipped:
        parts.append(f"{counts.skipped} already there")
    gaps = counts.unavailable + counts.failed
    if gaps:
        parts.append(count(gaps, "gap"))
    return ", ".join(parts)


def job_name(job: Job | None) -> str:
    if job is None:
        return "…"
    if job.title:
        return safe_text(job.title, _TITLE)
    return count(job.target_count, "target") if job.target_count > 1 else safe_text(job.targets[0], _TITLE)


# --- the end ------------------------------------------------------------------------------------------------------


def summary(result: Result, now: datetime) -> list[Text]:
    """The last words of a download: what was saved, what is missing and why, where everything is."""
    job = result.job
    if job is None:
        return [Text("The job was not taken up.", style="red")]
    if rejected(job):
        return []  # the error says it all
    return [*_headline(result, job, now), *_gaps(result), *_places(result, job)]


def _headline(result: Result, job: Job, now: datetime) -> Iterator[Text]:
    style = {Exit.OK: "green", Exit.FAILED: "red"}.get(result.exit, "yellow")
    counts = job.counts
    verb = "described" if job.type is JobType.METADATA_ONLY else "saved"
    parts = [f"{counts.archived} {verb}", f"{counts.skipped} already there"]
    parts += [f"{counts.unavailable} unavailable"] if counts.unavailable else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.cancelled} cancelled"] if counts.cancelled else []
    parts += [f"{counts.open} still open"] if counts.open else []
    weight = f", {size(result.bytes)}" if result.bytes else ""
    state = _state(result, job)
    yield Text.assemble((f"{state}: ", style), f"{', '.join(parts)}{weight} in {span(result.seconds)}")
    if job.error is not None:
        yield Text(f"Error [{job.error.code}]: {safe_text(job.error.message, 500)}", style="red")
    if result.exit is Exit.PARKED and job.retry_at is not None:
        yield Text(f"Only later timers are left: the next is at {moment(job.retry_at, now)}.")


def _state(result: Result, job: Job) -> str:
    if result.exit is Exit.INTERRUPTED:
        return "Interrupted"
    if result.exit is Exit.PARKED:
        return "Parked"
    match job.status:
        case JobStatus.FAILED:
            return "Failed"
        case JobStatus.CANCELLED:
            return "Cancelled"
        case _:
            return "Done, with gaps" if result.exit is Exit.GAPS else "Done"


def _gaps(result: Result) -> Iterator[Text]:
    yield from _named("Unavailable", result.unavailable, lambda item: _reason(item.reason or "unknown"))
    yield from _named("Failed", result.failed, _failure)
    yield from _named("Waiting", result.waiting, lambda item: safe_text(item.message or item.reason or "for its time"))


def _failure(item: Item) -> str:
    why = safe_text(item.message or item.reason or "unknown")
    return f"{why} ({count(item.attempts, 'attempt')})"


def _named(heading: str, items: tuple[Item, ...], why: Callable[[Item], str]) -> Iterator[Text]:
    if not items:
        return
    yield Text(f"{heading}:", style="bold")
    for item in items[:_MOST_NAMED]:
        title = f"  {safe_text(item.title, _TITLE)}" if item.title else ""
        yield Text(f"  {safe_text(item.video_id)}  {why(item)}{title}")
    if len(items) > _MOST_NAMED:
        yield Text(f"  … and {len(items) - _MOST_NAMED} more; `ytarchive jobs show` lists them all")


def _places(result: Result, job: Job) -> Iterator[Text]:
    if job.root:
        yield Text(f"Files:     {safe_text(job.root, 4096)}")
    if job.work_plan:
        yield Text(f"Work plan: {safe_text(job.work_plan, 4096)}")
    if result.exit is Exit.INTERRUPTED:
        if result.attached:
            yield Text("The job goes on in the stack that runs: `ytarchive jobs list` shows it.")
        else:
            yield Text("What was fetched is kept. To go on, run the same command again.")
    if result.exit is Exit.PARKED:
        goes_on = "The stack that runs goes on with it." if result.attached else "Run the same command again then."
        yield Text(goes_on)


def _reason(reason: str) -> str:
    return safe_text(reason).replace("_", " ")
