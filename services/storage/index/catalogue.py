"""catalogue.db: an index of the archive tree. It can be rebuilt from the tree, except for listings in progress.

One row of `videos` per (root, video_id), read from the `_metadata.json` that the column `stamp` identifies; a row whose
fingerprint is not the file's is stale. `known_gone`, `unexplained` and `plan_entries` repeat the work plans, `seen` the
metadata files.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.common.domain.archive import KnownGone
from services.common.domain.clock import AHEAD
from services.common.domain.failures import GoneReason
from services.common.infra.sqlite import Database, utc_text
from services.storage.archive.fingerprint import TextFingerprints
from services.storage.formats.manifest import Holding, Manifest
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import FailedEntry
from services.storage.index import fts, holdings
from services.storage.index.fts import VideoTexts

WORK_PLANS = "work_plans"  # stands beside the roots in the list of scanned folders
UNEXPLAINED_DAYS = 3  # of refusals without a known reason, after which a video is known to be gone
OPEN_PLAN_ENTRIES = "SELECT count(*) FROM (SELECT DISTINCT root, video_id FROM plan_entries WHERE resolved = 0)"
_IN_LIST = "video_id IN (SELECT value FROM json_each(?))"
_COPIED = (
    "root", "video_id", "stamp", "title", "channel", "channel_id", "duration_seconds", "upload_date", "archived_at",
    "bytes", "qualities",
)  # fmt: skip
_COLUMNS = (*_COPIED, "incomplete", "below_wanted")
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
_PUT = f"""
INSERT INTO videos ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (video_id, root) DO UPDATE SET {_CHANGED} RETURNING id
"""  # noqa: S608 - our names


@dataclass(frozen=True)
class IndexEntry:
    """A manifest to be stored in the catalogue. `fingerprint` identifies the state of the file; `texts` are the
    searchable texts (unset: those of the index stay)."""

    root: str
    fingerprint: str
    manifest: Manifest
    texts: VideoTexts | None = None


@dataclass(frozen=True)
class KnownVideo:
    """A video's row; valid if `fingerprint` is that of its `_metadata.json`."""

    fingerprint: str
    holding: Holding


@dataclass(frozen=True)
class Sighting:
    """When metadata of a video were received. `fingerprint`: that of the metadata file; empty where another is read."""

    video_id: str
    title: str
    at: datetime
    fingerprint: str = ""


@dataclass(frozen=True)
class CatalogueTotals:
    """Numbers for the metrics."""

    videos: int
    bytes: int
    known_gone: int
    open_plan_entries: int


class Catalogue:
    """Videos, sightings, work plan entries and scans in catalogue.db. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- videos -------------------------------------------------------------------------------------------------------

    async def put(self, entries: Sequence[IndexEntry]) -> None:
        """Add or replace videos. A held video is not gone, and was seen when it was archived."""

        latest = _latest_credible()

        def work(db: sqlite3.Connection) -> None:
            for entry in entries:
                manifest = entry.manifest
                number = _put_row(db, entry)
                arrived = max((file.archived_at for file in manifest.fixity.values()), default=manifest.archived_at)
                db.execute(
                    "DELETE FROM known_gone WHERE video_id = ? AND (at <= ? OR at > ?)",
                    (manifest.video_id, utc_text(arrived), latest),
                )
                db.execute(
                    "DELETE FROM unexplained WHERE video_id = ? AND (day <= ? OR day > ?)",
                    (manifest.video_id, arrived.astimezone(UTC).date().isoformat(), latest),
                )
                _record_sighting(db, manifest.video_id, manifest.metadata.title, arrived)
                if entry.texts is not None:
                    fts.replace(db, number, entry.texts)

        await self._database.run(work)

    async def get(self, root: str, video_ids: Sequence[str]) -> dict[str, KnownVideo]:
        """Return the rows of these videos (at most a page)."""

        def work(db: sqlite3.Connection) -> dict[str, KnownVideo]:
            query = f"SELECT video_id, stamp, packed FROM videos JOIN holdings USING (id) WHERE root = ? AND {_IN_LIST}"  # noqa: S608 - a constant
            return {
                row["video_id"]: KnownVideo(row["stamp"], holdings.unpack(row["packed"]))
                for row in db.execute(query, (root, json.dumps(video_ids)))
            }

        return await self._database.read(work)

    async def states(self, root: str, video_ids: Sequence[str]) -> dict[str, tuple[str, TextFingerprints]]:
        """Return the fingerprints of the manifests and of the texts of these videos, where a later reading of the same
        files would not change the catalogue: what was found by a clock that was ahead is examined again."""
        query = (
            "SELECT video_id, stamp, record, metadata, captions, format FROM videos JOIN searched_videos USING (id)"
            " WHERE root = ?1 AND video_id IN (SELECT value FROM json_each(?3)) AND video_id NOT IN"
            " (SELECT video_id FROM known_gone WHERE at > ?2 UNION ALL SELECT video_id FROM unexplained WHERE day > ?2)"
        )
        values = (root, _latest_credible(), json.dumps(video_ids))

        def work(db: sqlite3.Connection) -> dict[str, tuple[str, TextFingerprints]]:
            return {row[0]: (row[1], TextFingerprints(*row[2:])) for row in map(tuple, db.execute(query, values))}

        return await self._database.read(work)

    async def videos_except(self, root: str, keep: set[str]) -> set[str]:
        """Return the videos of `root` that are not in `keep`."""

        def work(db: sqlite3.Connection) -> set[str]:
            return {row[0] for row in db.execute("SELECT video_id FROM videos WHERE root = ?", (root,))} - keep

        return await self._database.read(work)

    async def remove_video(self, root: str, video_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            query = "SELECT id FROM videos WHERE root = ? AND video_id = ?"
            for (number,) in db.execute(query, (root, video_id)).fetchall():
                fts.remove(db, number)
                db.execute("DELETE FROM holdings WHERE id = ?", (number,))
                db.execute("DELETE FROM videos WHERE id = ?", (number,))

        await self._database.run(work)

    # --- take-ins in hand -----------------------------------------------------------------------------------------

    async def begin_take_in(self, root: str, video_id: str) -> None:
        await self._database.run(
            lambda db: db.execute("INSERT OR IGNORE INTO taking_in VALUES (?, ?)", (root, video_id))
        )

    async def end_take_in(self, root: str, video_id: str) -> None:
        await self._database.run(
            lambda db: db.execute("DELETE FROM taking_in WHERE root = ? AND video_id = ?", (root, video_id))
        )

    async def unfinished_take_ins(self) -> list[tuple[str, str]]:
        """Return (root, video_id) of the take-ins that began and did not end."""
        return await self._database.read(
            lambda db: [(row["root"], row["video_id"]) for row in db.execute("SELECT * FROM taking_in")]
        )

    # --- what is known of videos that are not held --------------------------------------------------------------------

    async def record_sightings(self, sightings: Iterable[Sighting]) -> None:
        """Store when metadata of the videos were received last."""

        def work(db: sqlite3.Connection) -> None:
            for one in sightings:
                _record_sighting(db, one.video_id, one.title, one.at)
                if one.fingerprint:
                    db.execute("UPDATE seen SET stamp = ? WHERE video_id = ?", (one.fingerprint, one.video_id))

        await self._database.run(work)

    async def read_metadata(self, video_ids: Sequence[str]) -> dict[str, str]:
        """Return the fingerprints of the metadata files whose sightings are stored, by video."""
        query = f"SELECT video_id, stamp FROM seen WHERE at <= ? AND {_IN_LIST}"  # noqa: S608 - a constant
        values = (_latest_credible(), json.dumps(video_ids))
        return await self._database.read(
            lambda db: {row["video_id"]: row["stamp"] for row in db.execute(query, values)}
        )

    async def last_seen(self, video_id: str) -> tuple[str, datetime] | None:
        """Return title and time of the last sighting."""

        def work(db: sqlite3.Connection) -> tuple[str, datetime] | None:
            row = db.execute("SELECT title, at FROM seen WHERE video_id = ?", (video_id,)).fetchone()
            return (row["title"], datetime.fromisoformat(row["at"])) if row else None

        return await self._database.read(work)

    async def known_gone(self, video_ids: Sequence[str]) -> dict[str, KnownGone]:
        def work(db: sqlite3.Connection) -> dict[str, KnownGone]:
            query = f"SELECT * FROM known_gone WHERE {_IN_LIST}"  # noqa: S608 - a constant
            return {
                row["video_id"]: KnownGone(reason=row["reason"], at=datetime.fromisoformat(row["at"]))
                for row in db.execute(query, (json.dumps(video_ids),))
            }

        return await self._database.read(work)

    # --- work plans ---------------------------------------------------------------------------------------------------

    async def index_plan(self, plan: WorkPlan) -> None:
        """Store which videos a plan waits for, and which are permanently gone."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM plan_entries WHERE plan_id = ?", (plan.plan_id,))
            db.executemany(
                "INSERT INTO plan_entries VALUES (?, ?, ?, ?)",
                [(plan.plan_id, entry.video_id, plan.root, entry.resolved_at is not None) for entry in plan.entries()],
            )
            for entry in plan.unavailable_videos:
                if entry.resolved_at is None and entry.reason in set(GoneReason):
                    _record_gone(db, entry.video_id, entry.reason, entry.detected_at)
            for failed in plan.failed_downloads:
                if failed.resolved_at is None and failed.unexplained_on:
                    _record_unexplained(db, failed)

        await self._database.run(work)

    async def forget_finding(self, video_id: str, at: datetime) -> None:
        """Forget that the video was found to be unavailable at that time."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM known_gone WHERE video_id = ? AND at = ?", (video_id, utc_text(at)))
            day = at.astimezone(UTC).date().isoformat()
            db.execute("DELETE FROM unexplained WHERE video_id = ? AND day = ?", (video_id, day))

        await self._database.run(work)

    async def forget_plan(self, plan_id: str) -> None:
        await self._database.run(lambda db: db.execute("DELETE FROM plan_entries WHERE plan_id = ?", (plan_id,)))

    async def plans_with_video(self, root: str, video_id: str) -> list[str]:
        """Return the plans of a root that list the video, resolved or not."""

        def work(db: sqlite3.Connection) -> list[str]:
            query = "SELECT plan_id FROM plan_entries WHERE root = ? AND video_id = ?"
            return [row[0] for row in db.execute(query, (root, video_id))]

        return await self._database.read(work)

    async def plans_waiting_for(self, root: str, video_id: str) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            query = "SELECT plan_id FROM plan_entries WHERE root = ? AND video_id = ? AND resolved = 0"
            return [row[0] for row in db.execute(query, (root, video_id))]

        return await self._database.read(work)

    async def plans_waiting_among(self, root: str, video_ids: Iterable[str]) -> list[tuple[str, str]]:
        """Return (plan_id, video_id) of those of the videos that a plan of the root waits for."""

        def work(db: sqlite3.Connection) -> list[tuple[str, str]]:
            query = f"SELECT plan_id, video_id FROM plan_entries WHERE root = ? AND resolved = 0 AND {_IN_LIST}"  # noqa: S608 - a constant
            return [tuple(row) for row in db.execute(query, (root, json.dumps(list(video_ids))))]

        return await self._database.read(work)

    # --- the whole ----------------------------------------------------------------------------------------------------

    async def is_scanned(self, root: str) -> bool:
        """Return whether `root` was scanned since this file was created."""
        return await self._database.read(
            lambda db: db.execute("SELECT 1 FROM scanned WHERE root = ?", (root,)).fetchone() is not None
        )

    @property
    def generation(self) -> int:
        """How often the file was replaced because it was damaged."""
        return self._database.generation

    async def mark_scanned(self, root: str, generation: int) -> None:
        """Store that `root` was scanned, unless the file is another one than when the scan began."""
        now = utc_text(datetime.now(UTC))

        def work(db: sqlite3.Connection) -> None:
            if self._database.generation == generation:
                db.execute("INSERT OR REPLACE INTO scanned VALUES (?, ?)", (root, now))

        await self._database.run(work)

    async def count_videos(self, root: str) -> int:
        """Return the number of videos of a root."""
        query = "SELECT coalesce(sum(videos), 0) FROM video_totals WHERE root = ?"
        return int(await self._database.read(lambda db: db.execute(query, (root,)).fetchone()[0]))

    async def totals(self) -> CatalogueTotals:
        def work(db: sqlite3.Connection) -> CatalogueTotals:
            videos, size = db.execute("SELECT total(videos), total(bytes) FROM video_totals").fetchone()
            (gone,) = db.execute("SELECT count(*) FROM known_gone").fetchone()
            (waiting,) = db.execute(OPEN_PLAN_ENTRIES).fetchone()
            return CatalogueTotals(int(videos), int(size), gone, waiting)

        return await self._database.read(work)

    async def dump(self) -> dict[str, list[tuple[object, ...]]]:
        """Return every table that can be rebuilt from tree and plans; equal before and after a rescan."""

        def work(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
            names = ", ".join(_COPIED)
            queries = {
                "videos": f"SELECT {names}, packed FROM videos JOIN holdings USING (id) ORDER BY 1, 2",  # noqa: S608 - ours
                "known_gone": "SELECT * FROM known_gone ORDER BY video_id",
                "seen": "SELECT video_id, title, at FROM seen ORDER BY video_id",
                "unexplained": "SELECT * FROM unexplained ORDER BY video_id, day",
                "plan_entries": "SELECT * FROM plan_entries ORDER BY plan_id, video_id",
            }
            tables = {table: [tuple(row) for row in db.execute(query)] for table, query in queries.items()}
            tables["videos"] = [(*columns, holdings.unpack_text(packed)) for *columns, packed in tables["videos"]]
            return tables | {"searched": fts.dump(db)}

        return await self._database.read(work)


def _put_row(db: sqlite3.Connection, entry: IndexEntry) -> int:
    """Add or replace a video's row and holding. Return its number, which a replaced row keeps."""
    manifest = entry.manifest
    qualities = dict.fromkeys(quality for file in manifest.fixity.values() for quality in file.asked)
    holding = Holding.model_validate(manifest.model_dump(include=set(Holding.model_fields)))
    values = (
        entry.root,
        manifest.video_id,
        entry.fingerprint,
        manifest.metadata.title,
        manifest.metadata.channel,
        manifest.metadata.channel_id,
        manifest.metadata.duration_seconds,
        manifest.metadata.upload_date,
        utc_text(manifest.archived_at),
        manifest.bytes,
        json.dumps(list(qualities)),
        holdings.lacks_something(holding),
        holdings.may_get_better(holding),
    )
    (number,) = db.execute(_PUT, values).fetchone()
    db.execute("INSERT OR REPLACE INTO holdings VALUES (?, ?)", (number, holdings.pack(holding)))
    return int(number)


def _latest_credible() -> str:
    """Return the latest time that can be true, as text: a later one is of a clock that was ahead (decision 0022)."""
    return utc_text(datetime.now(UTC) + AHEAD)


def _record_sighting(db: sqlite3.Connection, video_id: str, title: str, at: datetime) -> None:
    db.execute(
        "INSERT INTO seen (video_id, title, at) VALUES (:id, :title, :at)"
        " ON CONFLICT DO UPDATE SET title = excluded.title, at = excluded.at"
        " WHERE at > :latest OR (excluded.at > at AND excluded.at <= :latest)",
        {"id": video_id, "title": title, "at": utc_text(at), "latest": _latest_credible()},
    )


def _record_unexplained(db: sqlite3.Connection, entry: FailedEntry) -> None:
    """Store the days, over all plans, unless the video was seen later. On the third one it is known to be gone."""
    latest = _latest_credible()
    for day in entry.unexplained_on:
        db.execute(
            "INSERT OR IGNORE INTO unexplained SELECT :id, :day WHERE NOT EXISTS"
            " (SELECT 1 FROM seen WHERE video_id = :id AND at > :day || 'T24' AND at <= :latest)",
            {"id": entry.video_id, "day": day.isoformat(), "latest": latest},
        )
    query = "SELECT count(*) FROM unexplained WHERE video_id = ? AND day <= ?"
    (days,) = db.execute(query, (entry.video_id, latest)).fetchone()
    if days >= UNEXPLAINED_DAYS:
        _record_gone(db, entry.video_id, GoneReason.UNEXPLAINED, entry.last_attempt)


def _record_gone(db: sqlite3.Connection, video_id: str, reason: str, at: datetime) -> None:
    """Store the reason unless the video was seen later: indexing an old plan must not undo an arrival."""
    db.execute(
        "INSERT INTO known_gone SELECT :id, :reason, :at"
        " WHERE NOT EXISTS (SELECT 1 FROM seen WHERE video_id = :id AND at > :at AND at <= :latest)"
        " ON CONFLICT DO UPDATE SET reason = excluded.reason, at = excluded.at"
        " WHERE at > :latest OR (excluded.at >= at AND excluded.at <= :latest)",
        {"id": video_id, "reason": reason, "at": utc_text(at), "latest": _latest_credible()},
    )
