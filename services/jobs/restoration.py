"""What follows the restoration of jobs.db from a copy: requests since then are found again, in the stream and in the
journals of the logging service, and open videos are checked against the archive."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from pydantic import ValidationError

from bus import Bus, Envelope, NotNow, UnreadableMessage
from services.common import events as e
from services.jobs.adapters import backups, queries
from services.jobs.adapters.job_reader import JobReader
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.domain.accounting import Out
from services.jobs.domain.restoration import check_again
from services.jobs.job_queue import JobQueue

_REQUESTS = (
    e.JobCreated, e.JobCancelRequested, e.JobPauseRequested, e.JobResumeRequested, e.JobRetryRequested,
    e.JobPriorityRequested, e.FollowCreated, e.FollowChanged, e.FollowRemoved,
)  # fmt: skip
_ENDS = (e.JobCompleted, e.JobFailed, e.JobCancelled)
_SUBJECTS = {kind.subject for kind in (*_REQUESTS, *_ENDS)}
_ENDED = {kind.subject for kind in _ENDS}
_REOPENING = {e.JobCreated.subject, e.JobRetryRequested.subject}
_MARGIN = timedelta(days=1)  # clocks differ; what was applied before is recognized by its id
_NAMED = 20  # jobs that one log record names

_log = structlog.get_logger("services.jobs", service="jobs")


class Restoration:
    def __init__(self, store: Store, reader: JobReader, queue: JobQueue, bus: Bus, logs_dir: Path) -> None:
        self._store = store
        self._reader = reader
        self._queue = queue
        self._bus = bus
        self._logs_dir = logs_dir

    async def complete(self) -> bool:
        """Bring a restored jobs.db up to date. Return False for one that was not restored. Idempotent: to be called
        before anything is served, and followed by `Store.note_broker_store`."""
        at = await self._store.read(lambda _rows, sql: backups.restored_at(sql))
        if at is None:
            return False
        await self._store.change(_check_all_again)
        since = at - _MARGIN if at > datetime.fromtimestamp(0, UTC) else at
        found = await asyncio.to_thread(lambda: {one.id: one for one in journalled(self._logs_dir, since)})
        async for envelope in self._bus.stored(*_REQUESTS, *_ENDS):
            if envelope.timestamp >= since:
                found[envelope.id] = envelope
        history = sorted(found.values(), key=lambda one: one.timestamp)
        ended = _ended_jobs(history)
        again = [job_id for one in history if (job_id := await self._request_again(one, ended)) is not None]
        _log.warning(
            "jobs_restored",
            copied_at=at.isoformat(),
            found_again=again[:_NAMED],
            found_again_total=len(again),
            ended_since=sorted(ended)[:_NAMED],
            ended_since_total=len(ended),
        )
        return True

    async def _request_again(self, envelope: Envelope, ended: set[str]) -> str | None:
        """Apply a request. Return the job that it created, if it did."""
        job_id = str(envelope.data.get("job_id"))
        known = await self._reader.find(job_id) is not None
        if envelope.type in _ENDED or (not known and job_id in ended):
            return None
        try:
            await self._queue.take([envelope])
        except (NotNow, UnreadableMessage) as error:
            _log.error("request_not_repeated", subject=envelope.type, job_id=job_id, error_message=str(error))
            return None
        return None if known or await self._reader.find(job_id) is None else job_id


def journalled(logs_dir: Path, since: datetime) -> Iterator[Envelope]:
    """Yield the requests and ends of jobs since then from the journals of events (services.logging). Blocks."""
    for path in sorted(logs_dir.glob("events-*.jsonl")):
        if path.name < f"events-{since:%Y-%m-%d}":
            continue
        with path.open("rb") as file:
            for line in file:
                if (
                    (b'"job.' in line or b'"follow.' in line)
                    and (envelope := _envelope(line))
                    and envelope.timestamp >= since
                ):
                    yield envelope


def _envelope(line: bytes) -> Envelope | None:
    try:
        record = json.loads(line)
        if record["subject"] not in _SUBJECTS:
            return None
        envelope = Envelope.model_validate({**record, "id": record["message_id"], "type": record["subject"]})
    except (ValueError, KeyError, TypeError, ValidationError):
        return None  # cut off by a crash
    options = envelope.data.get("options")
    if isinstance(options, dict):
        options.pop("api_key", None)  # masked in the journal
    return envelope


def _ended_jobs(history: list[Envelope]) -> set[str]:
    """Return the jobs that have ended and were not requested again. `history`: oldest first."""
    ended: set[str] = set()
    for envelope in history:
        job_id = str(envelope.data.get("job_id"))
        if envelope.type in _ENDED:
            ended.add(job_id)
        elif envelope.type in _REOPENING:
            ended.discard(job_id)
    return ended


def _check_all_again(rows: SqlRows, sql: sqlite3.Connection, now: datetime) -> list[Out]:
    out: list[Out] = []
    query = "SELECT video_id FROM items WHERE job_id = ? AND status IN ('waiting', 'running')"
    for job_id in queries.open_jobs(sql):
        items = [rows.item(job_id, row["video_id"]) for row in sql.execute(query, (job_id,)).fetchall()]
        if job := rows.job(job_id):
            out += check_again(rows, job, [item for item in items if item], now)
    return out
