"""Which videos the schedule verifies today. Pure.

A check is due again after `interval_days`. So that not all are due on one day, each day's round takes the oldest of
those that are past half of that, and so many that in the other half every video has its turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import ceil

ROUND_INTERVAL = timedelta(days=1)  # between the beginnings of two rounds


@dataclass(frozen=True)
class DueVideo:
    """A video that could be verified. `checked_at`: when its files were read last, at the latest when they came."""

    root: str
    video_id: str
    bytes: int
    checked_at: datetime | None


def select_round(
    due: Sequence[DueVideo], interval_days: int, now: datetime, last_round: datetime | None
) -> list[DueVideo]:
    """The videos of a round that begins now, of all that there are, the one whose check is longest ago first.

    A machine that was off for days does more at once; one that has much to catch up with does it in turns.
    """
    interval = timedelta(days=interval_days)
    passed = min(max(now - last_round, ROUND_INTERVAL), interval) if last_round else ROUND_INTERVAL
    share = ceil(2 * len(due) * (passed / interval))
    ripe = (one for one in due if one.checked_at is None or now - one.checked_at >= interval / 2)
    return list(islice(ripe, share))


def is_round_due(last_round: datetime | None, now: datetime) -> bool:
    """Also after a clock that was ahead has been put right."""
    return last_round is None or now - last_round >= ROUND_INTERVAL or now < last_round
