"""What somebody should be told of an event: at once, or with the news of the day. Pure.

    source.blocked for an hour, damage, a full disk, refused cookies,        at once
    a message that could not be handled, a follow that fails for a day
    what a follow has found, jobs that could not save everything,            news of the day
    "saved in time": a video that is held was hidden or deleted

A note has a key: the same thing is told once. What passes by itself (a block, a failing follow) waits before it is
told, and is withdrawn when it is over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.common.domain.jobs import JobCounts
from services.common.models import ErrorCode

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_TITLES = 5  # that one note names
_LONGEST = 300  # characters of a text of others
_WENT = {"private": "was made private", "deleted": "was deleted"}


@dataclass(frozen=True)
class Note:
    """Something to tell. `wait`: not before that time, in case that it passes. `again`: told again after that time;
    None: once for ever."""

    key: str
    urgent: bool
    title: str
    text: str
    wait: timedelta = timedelta()
    again: timedelta | None = None


@dataclass(frozen=True)
class Withdrawn:
    """What was told under this key, or was to be told, is over. If it comes again it is told again."""

    key: str


Change = Note | Withdrawn


def changes(subject: str, data: Mapping[str, Any]) -> list[Change]:
    """Return what an event changes of the notes. `data` is that of a journal: it may be of another version."""
    rule = _RULES.get(subject)
    if rule is None:
        return []
    try:
        return list(rule(data))
    except (LookupError, TypeError, ValueError, AttributeError):
        return []  # of another version


def _blocked(data: Mapping[str, Any]) -> Iterator[Change]:
    text = _short(data.get("message") or f"Reason: {data['reason']}.")
    yield Note(
        f"blocked/{data['egress']}", True, "YouTube blocks this machine since an hour", text, wait=_HOUR, again=_DAY
    )


def _cleared(data: Mapping[str, Any]) -> Iterator[Change]:
    yield Withdrawn(f"blocked/{data['egress']}")


def _damaged(data: Mapping[str, Any]) -> Iterator[Change]:
    files = ", ".join(data["files"][:_TITLES])
    text = f"{data['video_id']}: {_short(files)}. They are set aside and fetched again, if YouTube still has the video."
    yield Note(f"damage/{data['verification_id']}/{data['video_id']}", True, "A file of the archive is damaged", text)


def _dead_letter(data: Mapping[str, Any]) -> Iterator[Change]:
    text = f"{_short(data.get('error') or data['type'])}. `ytarchive events dead list` shows it."
    yield Note("dead-letter", True, "A message could not be handled", text, again=_HOUR * 6)


def _failed(data: Mapping[str, Any]) -> Iterator[Change]:
    failure = data.get("failure") or data.get("error") or {}
    details = failure.get("details") or {}
    reason = failure.get("reason") or details.get("reason") or data.get("reason")
    if reason == "cookies":
        text = f"{_short(failure['message'])}. Export them again; `ytarchive doctor` checks them."
        yield Note("cookies", True, "The cookies cannot be used", text, again=_DAY)
    elif failure.get("code") == ErrorCode.STORAGE_FULL or reason == "disk_full":
        text = _short(failure.get("message") or "Nothing is downloaded until there is room.")
        yield Note("disk", True, "The disk is full", text, again=_HOUR * 6)


def _looked(data: Mapping[str, Any]) -> Iterator[Change]:
    key, error = f"follow/{data['follow_id']}", data.get("error")
    if error is None:
        yield Withdrawn(key)
    else:
        yield Note(key, True, "A channel cannot be looked at since a day", _short(error["message"]), _DAY, _DAY * 7)


def _no_follow(data: Mapping[str, Any]) -> Iterator[Change]:
    if data.get("paused", True):  # of a change: whether it is paused now; of a removal nothing
        yield Withdrawn(f"follow/{data['follow_id']}")


def _found(data: Mapping[str, Any]) -> Iterator[Change]:
    count = data["found"]
    titles = [_short(entry.get("title") or entry["video_id"]) for entry in data["entries"]]
    more = f" and {count - _TITLES} more" if count > _TITLES else ""
    name = _short(data.get("title") or "A follow")
    noun = "video" if count == 1 else "videos"
    yield Note(f"found/{data['job_id']}", False, f"{name}: {count} new {noun}", "; ".join(titles[:_TITLES]) + more)


def _checked(data: Mapping[str, Any]) -> Iterator[Change]:
    """A list shows videos as private or deleted that are held."""
    for entry, held in zip(data["entries"], data["held"], strict=True):
        went = _WENT.get(entry.get("marked") or "")
        if went is not None and held.get("qualities"):
            text = f"{entry['video_id']} {went} on YouTube. You hold it."
            yield Note(f"in-time/{entry['video_id']}", False, "Saved in time", text)


def _completed(data: Mapping[str, Any]) -> Iterator[Change]:
    job = data["job"]
    counts = JobCounts.model_validate(job["counts"])
    if counts.unavailable + counts.failed:
        name = _short(job.get("title") or job["targets"][0])
        lost = f"{counts.unavailable} unavailable, {counts.failed} failed, {counts.archived} saved"
        text = f"{lost}. `ytarchive workplan show {job['job_id']}` has the reasons."
        yield Note(f"incomplete/{data['job_id']}/{data['revision']}", False, f"Not all of {name} could be saved", text)


def _short(text: str) -> str:
    """Cut a text of others, without line breaks and control characters."""
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"


_RULES = {
    "source.blocked": _blocked,
    "source.cleared": _cleared,
    "fixity.failed": _damaged,
    "dead.lettered": _dead_letter,
    "download.failed": _failed,
    "download.deferred": _failed,
    "storage.failed": _failed,
    "listing.failed": _failed,
    "follow.looked": _looked,
    "follow.found": _found,
    "follow.changed": _no_follow,
    "follow.removed": _no_follow,
    "archive.checked": _checked,
    "job.completed": _completed,
}
SUBJECTS = frozenset(_RULES)
