"""Which archived videos are looked at again in a round, and by which jobs. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from services.common.archive_coverage import highest
from services.common.domain.archive import FileRole
from services.common.events import JobCreated
from services.common.models import JobOptions, JobType
from services.common.rechecks import revisit_id
from services.storage.formats.manifest import MEDIA, Holding
from services.storage.formats.revisit import next_look

ROUND_INTERVAL = timedelta(minutes=30)  # maximum time between two rounds
LARGEST_ROUND = 50  # videos
PRIORITY = -100  # after all jobs of users
_MAX_LANGUAGES = 100  # per job


@dataclass(frozen=True)
class DueLook:
    """An archived video whose look is due since `due_at`."""

    root: str
    holding: Holding
    due_at: datetime

    @property
    def state(self) -> str:
        """What changes with each look: a look is requested once."""
        revisit = self.holding.revisit
        return "" if revisit is None else f"{revisit.since.isoformat()}|{revisit.looked_at}"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.root, self.holding.video_id, self.state


def round_interval(after: Sequence[timedelta]) -> timedelta:
    """Return the time between two rounds; `after` is not empty and not zero."""
    return max(min(ROUND_INTERVAL, after[0]), timedelta(seconds=1))


def due_looks(videos: Iterable[tuple[str, Holding]], after: Sequence[timedelta], now: datetime) -> list[DueLook]:
    """Return the looks that are due, the oldest first. `videos`: (root, holding)."""
    dated = ((root, holding, next_look(holding.revisit, after, now)) for root, holding in videos)
    due = [DueLook(root, holding, at) for root, holding, at in dated if at is not None and at <= now]
    return sorted(due, key=lambda look: (look.due_at, look.root, look.holding.video_id))


def jobs_for(looks: Sequence[DueLook]) -> list[JobCreated]:
    """Return one job per root and options, with the options of the original requests. The same looks result in the same
    ids: jobs ignores a known one."""
    groups: dict[str, list[DueLook]] = {}
    for look in looks:
        options = _options(look)
        groups.setdefault(json.dumps([look.root, options.model_dump(mode="json")], sort_keys=True), []).append(look)
    return [_job(group, members) for group, members in groups.items()]


def _job(group: str, members: Sequence[DueLook]) -> JobCreated:
    state = json.dumps([group, [look.key for look in members]])
    return JobCreated(
        job_id=revisit_id(uuid5(NAMESPACE_URL, state).hex),
        type=JobType.VIDEO_DOWNLOAD,
        targets=tuple(look.holding.video_id for look in members),
        options=_options(members[0]),
        priority=PRIORITY,
    )


def _options(look: DueLook) -> JobOptions:
    holding = look.holding
    media = sorted(
        (one for one in holding.fixity.values() if one.role in MEDIA), key=lambda one: one.role is not FileRole.VIDEO
    )
    asked = (media[0].asked if media else ()) or holding.asked.qualities or (JobOptions().quality,)
    captions = list(holding.asked.captions[:_MAX_LANGUAGES])
    return JobOptions(
        output_dir=look.root,
        quality=highest(asked, asked[0]),
        include_metadata=holding.asked.metadata,
        include_captions=bool(captions),
        **({"caption_languages": captions} if captions else {}),
    )
