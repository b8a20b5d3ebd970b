"""Which videos the schedule verifies today. Pure.

A check is due again after `interval_days`. To spread the load, each daily round takes the least recently checked of the
videos that are past half of the interval: as many as it takes to check all of them in the other half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import ceil

from services.common.domain.clock import is_ahead

ROUND_INTERVAL = timedelta(days=1)  # from start to start


@dataclass(frozen=True)
class DueVideo:
    """A video that could be verified. `checked_at`: the last check, or when the files arrived."""

    root: str
    video_id: str
    bytes: int
    checked_at: datetime | None


def select_round(
    due: Sequence[DueVideo], interval_days: int, now: datetime, last_round: datetime | None
) -> list[DueVideo]:
    """Return the videos of a round that begins now. `due`: all videos, least recently checked first.

    After days without a round, the next one is larger. A backlog is spread over several rounds.
    """
    interval = timedelta(days=interval_days)
    passed = min(max(now - last_round, ROUND_INTERVAL), interval) if last_round else ROUND_INTERVAL
    share = ceil(2 * len(due) * (passed / interval))
    eligible = (one for one in due if _is_due(one.checked_at, now, interval / 2))
    return list(islice(eligible, share))


def _is_due(checked_at: datetime | None, now: datetime, after: timedelta) -> bool:
    return checked_at is None or now - checked_at >= after or is_ahead(checked_at, now)


def is_round_due(last_round: datetime | None, now: datetime) -> bool:
    """Return whether a day has passed since the last round. A clock that was ahead and has been corrected does not
    block rounds."""
    return last_round is None or now - last_round >= ROUND_INTERVAL or now < last_round
