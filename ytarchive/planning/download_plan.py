"""The prediction of a download: which videos a job would download, by the rules that jobs use. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel

from services.common.archive_coverage import decide
from services.common.domain.archive import Held, KnownGone
from services.common.domain.videos import Entry, Look, TargetKind, Wanted
from services.common.models import ErrorDetail
from ytarchive.planning.estimate import Estimate


class PlannedTarget(BaseModel):
    """A playlist, a channel, or all videos that were given singly (`id` is empty). `error`: why it cannot be listed."""

    kind: TargetKind
    id: str = ""
    title: str | None = None
    videos: int = 0
    error: ErrorDetail | None = None


class DownloadPlan(BaseModel):
    """`quota_left`: units that jobs may still use today, None without an API key. `gone`: reasons by video id."""

    root: str
    quality: str
    targets: list[PlannedTarget]
    estimate: Estimate
    quota_left: int | None = None
    min_free: int = 0
    gone: dict[str, str] = {}
    notes: list[str] = []


@dataclass(frozen=True)
class Prediction:
    """`entries` as `estimate` takes them: gone ones are marked, those that need no media have no length. `held`: ids
    that need no download. `gone`: reasons by video id."""

    entries: list[Entry]
    held: frozenset[str]
    gone: Mapping[str, str]

    def with_lookups(self, found: Mapping[str, float | str | None]) -> "Prediction":
        """Add lengths in seconds, or reasons why videos are gone, by video id."""
        entries: list[Entry] = []
        gone = dict(self.gone)
        for entry in self.entries:
            match found.get(entry.video_id):
                case str(reason):
                    entry = entry.model_copy(update={"marked": reason})
                    gone[entry.video_id] = reason
                case float(seconds):
                    entry = entry.model_copy(update={"duration_seconds": seconds})
                case _:
                    pass
            entries.append(entry)
        return Prediction(entries, self.held, gone)


def predict(
    entries: Iterable[Entry],
    known: Mapping[str, Held],
    wanted: Wanted,
    now: datetime,
    recheck_after: timedelta,
    *,
    skip_existing: bool,
    listed: set[str],
) -> Prediction:
    """Predict a job's decision for each entry; one that is only looked at again is held. `known`: what the archive
    holds, by id. `listed`: ids from playlists and channels; the others were given singly."""
    left: list[Entry] = []
    held: set[str] = set()
    gone: dict[str, str] = {}
    for entry in entries:
        decision = decide(
            entry,
            known.get(entry.video_id, Held(video_id=entry.video_id)),
            wanted,
            now,
            recheck_after,
            skip_existing=skip_existing,
            retry_gone=not skip_existing,
            in_list=entry.video_id in listed,
        )
        match decision:
            case None | Wanted(only_looks=True):
                held.add(entry.video_id)
            case KnownGone(reason=reason):
                entry = entry.model_copy(update={"marked": reason})
            case Wanted(media=False) | Wanted(look=Look()) if entry.marked is None:
                entry = entry.model_copy(update={"duration_seconds": 0.0})
        if decision is not None and entry.marked is not None:
            gone[entry.video_id] = entry.marked
        left.append(entry)
    return Prediction(left, frozenset(held), gone)
