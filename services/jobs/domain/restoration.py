"""A job whose rows are older than what happened since. Pure."""

from collections.abc import Sequence
from datetime import datetime

from services.common.domain.jobs import ItemStatus
from services.jobs.domain.accounting import Out, settle, touch
from services.jobs.domain.dispatches import cancel_item
from services.jobs.domain.rows import ItemRow, JobRow, Rows


def check_again(rows: Rows, job: JobRow, items: Sequence[ItemRow], now: datetime) -> list[Out]:
    """Let the archive be asked for items WAITING or RUNNING: they may have been archived since. Their dispatches are
    forgotten, and items whose cancellation was requested are cancelled."""
    out: list[Out] = []
    for item in items:
        if fetch := rows.fetch(item.video_id):
            rows.drop(fetch)
        if item.cancelling:
            out += cancel_item(job, item, now)
            continue
        item.status, item.since, item.dispatch_id = ItemStatus.LISTED, now, None
        item.asked_again = max(1, item.asked_again)  # the listing need not be repeated for it
        touch(job, now, item)
    return out + settle(job, now)
