"""The unit of work of jobs.db: the rows of one transaction, loaded on demand and saved where changed."""

import json
import sqlite3
from collections.abc import Collection, Sequence
from copy import copy
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter

from services.common.domain.follows import FollowVideoState
from services.common.domain.jobs import ItemStatus
from services.common.infra.sqlite_files import parse_row
from services.jobs.domain.rows import FetchRow, FollowRow, FollowVideoRow, ItemRow, JobRow, ListingRow, Streak
from services.jobs.domain.scheduler import Block

R = TypeVar("R", JobRow, ListingRow, ItemRow, FetchRow, FollowRow)

JOB = TypeAdapter(JobRow)
LISTING = TypeAdapter(ListingRow)
ITEM = TypeAdapter(ItemRow)
FETCH = TypeAdapter(FetchRow)
FOLLOW = TypeAdapter(FollowRow)
FOLLOW_VIDEO = TypeAdapter(FollowVideoRow)
BLOCK = TypeAdapter(Block)
STREAK = TypeAdapter(Streak)


class SqlRows:
    """Implements Rows: one object per row. A read-only connection will do as long as nothing is changed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection
        self._jobs: dict[str, JobRow | None] = {}
        self._listings: dict[tuple[str, int], ListingRow | None] = {}
        self._items: dict[tuple[str, str], ItemRow | None] = {}
        self._fetches: dict[str, FetchRow | None] = {}
        self._follows: dict[str, FollowRow | None] = {}
        self._job_ids: dict[str, set[str]] = {}  # video -> jobs whose item is loaded or new
        self._loaded: dict[int, Any] = {}  # id of a row object -> the row as it was
        self.touched: set[str] = set()  # jobs with changes, after save()

    def job(self, job_id: str) -> JobRow | None:
        if job_id not in self._jobs:
            self._jobs[job_id] = self._load(JOB, "SELECT body FROM jobs WHERE job_id=?", job_id)
        return self._jobs[job_id]

    def listing(self, job_id: str, target_index: int) -> ListingRow | None:
        key = (job_id, target_index)
        if key not in self._listings:
            query = "SELECT body FROM listings WHERE job_id=? AND target_index=?"
            self._listings[key] = self._load(LISTING, query, *key)
        return self._listings[key]

    def item(self, job_id: str, video_id: str) -> ItemRow | None:
        key = (job_id, video_id)
        if key not in self._items:
            self._job_ids.setdefault(video_id, set()).add(job_id)
            self._items[key] = self._load(ITEM, "SELECT body FROM items WHERE job_id=? AND video_id=?", *key)
        return self._items[key]

    def fetch(self, video_id: str) -> FetchRow | None:
        if video_id not in self._fetches:
            self._fetches[video_id] = self._load(FETCH, "SELECT body FROM fetches WHERE video_id=?", video_id)
        return self._fetches[video_id]

    def waiters(self, video_id: str) -> Sequence[ItemRow]:
        query = "SELECT job_id FROM items WHERE video_id=? AND status IN ('waiting', 'running')"
        jobs = {row["job_id"] for row in self.sql.execute(query, (video_id,))} | self._job_ids.get(video_id, set())
        items = (self.item(job_id, video_id) for job_id in jobs)
        found = [item for item in items if item and item.status in {ItemStatus.WAITING, ItemStatus.RUNNING}]
        return sorted(found, key=lambda item: (self._age(item.job_id), item.job_id))

    def open_items(self, job_id: str, limit: int) -> Sequence[ItemRow]:
        """Query one status after the other: for several at once SQLite would sort all items."""
        found: list[ItemRow] = []
        for status in (ItemStatus.RUNNING, ItemStatus.LISTED, ItemStatus.WAITING):
            found += [item for item in self._by_status(job_id, (status,), limit) if not item.cancelling]
        return found

    def failures(self, job_id: str) -> Sequence[ItemRow]:
        return self._by_status(job_id, (ItemStatus.UNAVAILABLE, ItemStatus.FAILED, ItemStatus.CANCELLED), -1)

    def served_since(self, moment: datetime) -> bool:
        self.save()  # the query reads the table
        query = "SELECT video_id, job_id FROM items WHERE status='archived' AND since > ?"
        for row in self.sql.execute(query, (as_time(moment),)).fetchall():
            item = self.item(row["job_id"], row["video_id"])
            if item is not None and item.begun is not None and item.begun > moment:
                return True
        return False

    def _by_status(self, job_id: str, statuses: Sequence[ItemStatus], limit: int) -> list[ItemRow]:
        self.save()  # the query reads the table
        marks = ",".join("?" * len(statuses))
        query = f"SELECT video_id FROM items WHERE job_id=? AND status IN ({marks}) ORDER BY position LIMIT ?"  # noqa: S608 - only marks
        found = [self.item(job_id, row["video_id"]) for row in self.sql.execute(query, (job_id, *statuses, limit))]
        return [item for item in found if item is not None]

    def _age(self, job_id: str) -> datetime:
        job = self.job(job_id)
        return job.created_at if job else datetime.max.replace(tzinfo=UTC)

    def add(self, row: JobRow | ListingRow | ItemRow | FetchRow | FollowRow) -> None:
        match row:
            case JobRow():
                self._jobs[row.job_id] = row
            case ListingRow():
                self._listings[row.job_id, row.target_index] = row
            case ItemRow():
                self._items[row.job_id, row.video_id] = row
                self._job_ids.setdefault(row.video_id, set()).add(row.job_id)
            case FetchRow():
                self._fetches[row.video_id] = row
            case FollowRow():
                self._follows[row.follow_id] = row

    def drop(self, fetch: FetchRow) -> None:
        self.sql.execute("DELETE FROM fetches WHERE video_id=?", (fetch.video_id,))
        self._fetches[fetch.video_id] = None

    def discard_removed(self, job_id: str) -> None:
        if self.sql.execute("DELETE FROM removals WHERE job_id=?", (job_id,)).rowcount:
            self.sql.execute("DELETE FROM items WHERE job_id=?", (job_id,))
            self.sql.execute("DELETE FROM listings WHERE job_id=?", (job_id,))

    def block(self, egress: str) -> Block | None:
        found = self.sql.execute("SELECT body FROM blocks WHERE egress=?", (egress,)).fetchone()
        return parse_row(BLOCK.validate_json, found["body"]) if found else None

    def set_block(self, egress: str, block: Block | None) -> None:
        if block is None:
            self.sql.execute("DELETE FROM blocks WHERE egress=?", (egress,))
        else:
            self.sql.execute("INSERT OR REPLACE INTO blocks VALUES (?,?)", (egress, as_json(BLOCK, block)))

    def streak(self, egress: str) -> Streak | None:
        found = self.sql.execute("SELECT body FROM streaks WHERE egress=?", (egress,)).fetchone()
        return parse_row(STREAK.validate_json, found["body"]) if found else None

    def set_streak(self, egress: str, streak: Streak | None) -> None:
        if streak is None:
            self.sql.execute("DELETE FROM streaks WHERE egress=?", (egress,))
        else:
            self.sql.execute("INSERT OR REPLACE INTO streaks VALUES (?,?)", (egress, as_json(STREAK, streak)))

    # --- follows

    def follow(self, follow_id: str) -> FollowRow | None:
        if follow_id not in self._follows:
            self._follows[follow_id] = self._load(FOLLOW, "SELECT body FROM follows WHERE follow_id=?", follow_id)
        return self._follows[follow_id]

    def drop_follow(self, follow_id: str) -> None:
        self.sql.execute("DELETE FROM follows WHERE follow_id=?", (follow_id,))
        self.sql.execute("DELETE FROM follow_videos WHERE follow_id=?", (follow_id,))
        self._follows[follow_id] = None

    def follow_load(self) -> float:
        (load,) = self.sql.execute("SELECT total(load) FROM follows").fetchone()
        return float(load)

    def known_videos(self, follow_id: str, video_ids: Collection[str]) -> dict[str, FollowVideoRow]:
        query = "SELECT body FROM follow_videos WHERE follow_id=? AND video_id IN (SELECT value FROM json_each(?))"
        found = self.sql.execute(query, (follow_id, json.dumps(list(video_ids))))
        videos = [parse_row(FOLLOW_VIDEO.validate_json, row["body"]) for row in found]
        return {video.video_id: video for video in videos}

    def newest_known(self, follow_id: str, highest: int, limit: int) -> list[str]:
        query = "SELECT video_id FROM follow_videos WHERE follow_id=? AND rank<=? ORDER BY rank DESC LIMIT ?"
        return [row["video_id"] for row in self.sql.execute(query, (follow_id, highest, limit))]

    def found_videos(self, follow_id: str) -> list[FollowVideoRow]:
        query = "SELECT body FROM follow_videos WHERE follow_id=? AND state='found' ORDER BY rank DESC"
        return [parse_row(FOLLOW_VIDEO.validate_json, row["body"]) for row in self.sql.execute(query, (follow_id,))]

    def forget_videos(self, follow_id: str, state: FollowVideoState) -> None:
        self.sql.execute("DELETE FROM follow_videos WHERE follow_id=? AND state=?", (follow_id, state))

    def set_follow_video(self, video: FollowVideoRow) -> None:
        values = (video.follow_id, video.video_id, video.rank, video.state, as_json(FOLLOW_VIDEO, video))
        self.sql.execute("INSERT OR REPLACE INTO follow_videos VALUES (?,?,?,?,?)", values)

    def follow_video(self, follow_id: str, video_id: str) -> FollowVideoRow | None:
        query = "SELECT body FROM follow_videos WHERE follow_id=? AND video_id=?"
        found = self.sql.execute(query, (follow_id, video_id)).fetchone()
        return parse_row(FOLLOW_VIDEO.validate_json, found["body"]) if found else None

    def canary(self, exclude: Collection[str]) -> str | None:
        self.save()  # the query reads the table
        marks = ",".join("?" * len(exclude))
        query = f"SELECT video_id FROM items WHERE status='archived' AND video_id NOT IN ({marks})"  # noqa: S608 - only marks
        found = self.sql.execute(f"{query} ORDER BY since DESC LIMIT 1", tuple(exclude)).fetchone()
        return str(found["video_id"]) if found else None

    def save(self) -> None:
        self.sql.executemany(
            "INSERT OR REPLACE INTO jobs VALUES (?,?,?,?,?,?)",
            [
                (j.job_id, j.status, j.type, j.created_at.isoformat(), as_json(JOB, j), next_change(self.sql))
                for j in self._changed(self._jobs)
            ],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO listings VALUES (?,?,?,?)",
            [(r.job_id, r.target_index, r.state, as_json(LISTING, r)) for r in self._changed(self._listings)],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO items VALUES (?,?,?,?,?,?,?,?)",
            [
                (
                    i.job_id,
                    i.video_id,
                    i.status,
                    i.position,
                    as_time(i.retry_at),
                    as_time(i.since),
                    i.revision,
                    as_json(ITEM, i),
                )
                for i in self._changed(self._items)
            ],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO fetches VALUES (?,?,?)",
            [(f.video_id, f.state, as_json(FETCH, f)) for f in self._changed(self._fetches)],
        )
        self.sql.executemany(
            "INSERT OR REPLACE INTO follows VALUES (?,?,?,?,?,?)",
            [
                (f.follow_id, as_time(f.next_look), as_time(f.looking), f.wanted, f.load, as_json(FOLLOW, f))
                for f in self._changed(self._follows)
            ],
        )

    def _changed(self, rows: dict[Any, R | None]) -> list[R]:
        changed = [row for row in rows.values() if row is not None and self._loaded.get(id(row)) != row]
        self.touched |= {row.job_id for row in changed if isinstance(row, JobRow)}
        for row in changed:
            self._loaded[id(row)] = copy(row)
        return changed

    def _load(self, kind: "TypeAdapter[R]", query: str, *key: object) -> R | None:
        found = self.sql.execute(query, key).fetchone()
        if found is None:
            return None
        row = parse_row(kind.validate_json, found["body"])
        self._loaded[id(row)] = copy(row)
        return row


def next_change(sql: sqlite3.Connection) -> int:
    """Return the number of a new change. The numbers increase over all jobs, and are unique."""
    (number,) = sql.execute("UPDATE changes SET latest = latest + 1 RETURNING latest").fetchone()
    return int(number)


def as_json(kind: "TypeAdapter[Any]", row: object) -> str:
    return kind.dump_json(row).decode()


def as_time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="microseconds") if at else None
