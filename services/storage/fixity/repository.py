"""Verifications in catalogue.db: the queue of videos, the findings, the time of each video's last check.

A video ends with one transaction that removes it from the queue and stores its findings and counts. So no video is read
twice after a crash. When the catalogue is lost, every video counts as never verified.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel

from services.common.infra.sqlite import Database, utc_text
from services.common.infra.sqlite_files import parse_row
from services.storage.fixity.repair_plan import Repair
from services.storage.fixity.rules import FixityFinding
from services.storage.fixity.schedule import DueVideo
from services.storage.formats.manifest import Holding
from services.storage.index.holdings import unpack

_KEEP = 10  # verifications

_TABLES = ("verifications", "verification_queue", "verification_findings", "verification_mends")


class VerificationStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class Verification(BaseModel):
    """One pass over some or all videos. `asked`: requested by a user, not by the schedule. `bytes` counts hashed bytes.

    `status` is `running`, `completed`, `stopped` (by a user) or `failed` (`error` says why).
    """

    verification_id: str
    trace_id: str
    asked: bool
    repair: bool
    roots: list[str]
    status: VerificationStatus
    error: str | None = None
    begun_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    videos: int = 0
    videos_total: int
    files: int = 0
    bytes: int = 0
    bytes_total: int
    damaged: int = 0
    extra: int = 0


@dataclass(frozen=True)
class QueuedVideo:
    """A video in the queue of a verification. `known`: its holding according to the catalogue."""

    position: int
    root: str
    video_id: str
    known: Holding | None = None


@dataclass(frozen=True)
class VideoResult:
    """The result of reading one video."""

    findings: tuple[FixityFinding, ...] = ()
    repairs: tuple[Repair, ...] = ()
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class PendingRepair:
    """Videos of one root that wait for one repair job."""

    verification_id: str
    trace_id: str
    repair: Repair
    root: str
    video_ids: tuple[str, ...]


@dataclass(frozen=True)
class ReadSpeed:
    """Progress of a running verification. `eta_seconds` is None while it cannot be computed."""

    bytes_read: int
    speed_bps: float
    eta_seconds: int | None
    video_id: str | None


def read_speed(recent: int, seconds: float, read: int, total: int, video_id: str | None) -> ReadSpeed:
    """Compute the speed from the `recent` bytes that were read in the last `seconds`. `read`: all bytes so far, of
    `total`."""
    speed = recent / max(seconds, 0.001)
    return ReadSpeed(read, speed, round(max(total - read, 0) / speed) if speed else None, video_id)


class VerificationRepository:
    """The only user of these tables. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what could be verified ---------------------------------------------------------------------------------------

    async def due(self, roots: Sequence[str]) -> list[DueVideo]:
        """Return all videos of these roots that the catalogue lists, least recently checked first."""
        query = (
            "SELECT videos.root, videos.video_id, bytes, max(coalesce(at, ''), archived_at) AS checked_at FROM videos"
            " LEFT JOIN verified USING (root, video_id)"
            " WHERE videos.root IN (SELECT value FROM json_each(?)) ORDER BY checked_at, videos.root, video_id"
        )

        def work(db: sqlite3.Connection) -> list[DueVideo]:
            return [
                DueVideo(row["root"], row["video_id"], row["bytes"], datetime.fromisoformat(row["checked_at"]))
                for row in db.execute(query, (json.dumps(roots),))
            ]

        return await self._database.read(work)

    async def roots(self) -> list[str]:
        """Return all roots of which the catalogue lists videos."""
        return await self._database.read(lambda db: [row[0] for row in db.execute("SELECT DISTINCT root FROM videos")])

    async def verified_at(self, root: str, video_id: str) -> datetime | None:
        def work(db: sqlite3.Connection) -> datetime | None:
            query = "SELECT at FROM verified WHERE root = ? AND video_id = ?"
            row = db.execute(query, (root, video_id)).fetchone()
            return datetime.fromisoformat(row["at"]) if row else None

        return await self._database.read(work)

    # --- one verification ---------------------------------------------------------------------------------------------

    async def begin(self, new: Verification, videos: Iterable[DueVideo]) -> None:
        def work(db: sqlite3.Connection) -> None:
            _remove_old(db)
            columns = _columns(new)
            names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
            db.execute(f"INSERT INTO verifications ({names}) VALUES ({marks})", columns)  # noqa: S608 - field names
            db.executemany(
                "INSERT INTO verification_queue VALUES (?, ?, ?, ?)",
                ((new.verification_id, number, one.root, one.video_id) for number, one in enumerate(videos)),
            )

        await self._database.run(work)

    async def last(self, *, open_only: bool = False, asked: bool | None = None) -> Verification | None:
        """Return the newest verification. `open_only`: that has not ended; `asked`: by who requested it."""
        where = ["1"] + ["ended_at IS NULL"] * open_only
        where += [f"asked = {asked:d}"] if asked is not None else []
        query = f"SELECT * FROM verifications WHERE {' AND '.join(where)} ORDER BY begun_at DESC LIMIT 1"  # noqa: S608 - ours

        def work(db: sqlite3.Connection) -> Verification | None:
            row = db.execute(query).fetchone()
            return Verification.model_validate({**dict(row), "roots": json.loads(row["roots"])}) if row else None

        return await self._database.read(work)

    async def next(self, verification_id: str) -> QueuedVideo | None:
        """Return the next video of the queue; None at its end."""
        query = (
            "SELECT position, root, video_id, packed FROM verification_queue LEFT JOIN videos USING (root, video_id)"
            " LEFT JOIN holdings USING (id) WHERE verification_id = ? ORDER BY position LIMIT 1"
        )

        def work(db: sqlite3.Connection) -> QueuedVideo | None:
            row = db.execute(query, (verification_id,)).fetchone()
            if row is None:
                return None
            known = unpack(row["packed"]) if row["packed"] else None
            return QueuedVideo(row["position"], row["root"], row["video_id"], known)

        return await self._database.read(work)

    async def save_findings(self, verification_id: str, findings: Iterable[FixityFinding]) -> None:
        """Save findings before files are moved. A finding that is saved already is not changed."""
        rows = [(verification_id, one.root, one.video_id, one.name, one.model_dump_json()) for one in findings]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO verification_findings VALUES (?, ?, ?, ?, ?)", rows)

        await self._database.run(work)

    async def saved_findings(self, verification_id: str, video: QueuedVideo) -> list[FixityFinding]:
        query = "SELECT finding FROM verification_findings WHERE verification_id = ? AND root = ? AND video_id = ?"

        def work(db: sqlite3.Connection) -> list[FixityFinding]:
            rows = db.execute(query, (verification_id, video.root, video.video_id))
            return [parse_row(FixityFinding.model_validate_json, row[0]) for row in rows]

        return await self._database.read(work)

    async def finish_video(self, verification_id: str, video: QueuedVideo, read: VideoResult, at: datetime) -> None:
        """Remove the video from the queue and save its result."""
        rows = [(verification_id, video.root, video.video_id, one.name, one.model_dump_json()) for one in read.findings]
        repairs = [(verification_id, video.root, video.video_id, repair.model_dump_json()) for repair in read.repairs]
        damaged = sum(one.kind.damage for one in read.findings)

        def work(db: sqlite3.Connection) -> None:
            gone = db.execute(
                "DELETE FROM verification_queue WHERE verification_id = ? AND position = ?",
                (verification_id, video.position),
            )
            if not gone.rowcount:
                return
            db.executemany("INSERT OR REPLACE INTO verification_findings VALUES (?, ?, ?, ?, ?)", rows)
            db.executemany("INSERT OR IGNORE INTO verification_mends VALUES (?, ?, ?, ?, NULL)", repairs)
            db.execute("INSERT OR REPLACE INTO verified VALUES (?, ?, ?)", (video.root, video.video_id, utc_text(at)))
            db.execute(
                "UPDATE verifications SET videos = videos + 1, files = files + ?, bytes = bytes + ?,"
                " damaged = damaged + ?, extra = extra + ? WHERE verification_id = ?",
                (read.files, read.bytes, damaged, len(read.findings) - damaged, verification_id),
            )

        await self._database.run(work)

    async def end(
        self, verification_id: str, status: VerificationStatus, at: datetime, error: str | None = None
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM verification_queue WHERE verification_id = ?", (verification_id,))
            db.execute(
                "UPDATE verifications SET status = ?, error = ?, ended_at = ? WHERE verification_id = ?",
                (status, error, utc_text(at), verification_id),
            )

        await self._database.run(work)

    async def findings(self, verification_id: str, limit: int, offset: int) -> tuple[list[FixityFinding], int]:
        """Return a page of findings, each with its repair job, and the total number."""

        def work(db: sqlite3.Connection) -> tuple[list[FixityFinding], int]:
            (total,) = db.execute(
                "SELECT count(*) FROM verification_findings WHERE verification_id = ?", (verification_id,)
            ).fetchone()
            rows = db.execute(
                "SELECT finding, (SELECT max(job_id) FROM verification_mends AS m WHERE m.verification_id ="
                " f.verification_id AND m.root = f.root AND m.video_id = f.video_id) AS job_id"
                " FROM verification_findings AS f WHERE verification_id = ?"
                " ORDER BY root, video_id, name LIMIT ? OFFSET ?",
                (verification_id, limit, offset),
            )
            return [
                _with_job(parse_row(FixityFinding.model_validate_json, row["finding"]), row["job_id"]) for row in rows
            ], total

        return await self._database.read(work)

    # --- what waits for a job -----------------------------------------------------------------------------------------

    async def pending(self, most: int) -> list[PendingRepair]:
        """Return repairs without a job, with at most `most` videos each. The grouping is the same until they are
        published."""
        query = (
            "SELECT verification_id, trace_id, mend, root, video_id FROM verification_mends"
            " JOIN verifications USING (verification_id) WHERE job_id IS NULL"
            " ORDER BY verification_id, root, mend, video_id"
        )

        def work(db: sqlite3.Connection) -> list[PendingRepair]:
            groups: dict[tuple[str, ...], list[str]] = {}
            for row in db.execute(query):
                groups.setdefault(tuple(row)[:4], []).append(row["video_id"])
            return [
                PendingRepair(
                    id, trace_id, parse_row(Repair.model_validate_json, repair), root, tuple(ids[start : start + most])
                )
                for (id, trace_id, repair, root), ids in groups.items()
                for start in range(0, len(ids), most)
            ]

        return await self._database.read(work)

    async def mark_published(self, pending: PendingRepair, job_id: str) -> None:
        repair = (pending.verification_id, pending.root, pending.repair.model_dump_json())

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE verification_mends SET job_id = ?"
                " WHERE verification_id = ? AND root = ? AND mend = ? AND video_id = ?",
                [(job_id, *repair, video_id) for video_id in pending.video_ids],
            )

        await self._database.run(work)

    async def jobs(self, verification_id: str) -> list[str]:
        query = "SELECT DISTINCT job_id FROM verification_mends WHERE verification_id = ? AND job_id IS NOT NULL"
        return await self._database.read(lambda db: [row[0] for row in db.execute(query, (verification_id,))])


def _columns(new: Verification) -> dict[str, object]:
    return {**new.model_dump(mode="json"), "roots": json.dumps(new.roots), "begun_at": utc_text(new.begun_at)}


def _with_job(finding: FixityFinding, job_id: str | None) -> FixityFinding:
    return finding.model_copy(update={"job_id": job_id}) if finding.kind.damage else finding


def _remove_old(db: sqlite3.Connection) -> None:
    old = "SELECT verification_id FROM verifications ORDER BY begun_at DESC LIMIT -1 OFFSET ?"
    gone = [row[0] for row in db.execute(old, (_KEEP - 1,))]
    for table in _TABLES:
        db.executemany(f"DELETE FROM {table} WHERE verification_id = ?", [(one,) for one in gone])  # noqa: S608 - ours
