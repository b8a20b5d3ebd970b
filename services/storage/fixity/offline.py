"""Verification while no service runs: reads files and manifests, writes nothing."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from services.common.errors import InvalidRequest, ServiceUnavailable, StateDamaged
from services.common.infra.sqlite_files import damage_in, read_only
from services.common.settings.load import Storage
from services.storage.archive import commit
from services.storage.archive.tree_walk import trees_below
from services.storage.archive.tree_walk import video_ids as ids_in
from services.storage.fixity.checksum_reader import RateLimiter, read_video
from services.storage.fixity.report import VerificationPage, VerificationState, progress_of
from services.storage.fixity.repository import Verification, VerificationStatus, read_speed
from services.storage.fixity.rules import FixityFinding, compare
from services.storage.formats.layout import ArchiveTree, tree_of
from services.storage.formats.manifest import Holding
from services.storage.index.holdings import unpack
from services.storage.index.schema import REBUILT_AT_START, expect_current


@dataclass
class OfflineResult:
    """Progress and findings. `unfinished`: videos with an interrupted take-in, which the next start finishes; they are
    not judged."""

    roots: list[str] = field(default_factory=list)
    videos: int = 0
    videos_total: int = 0
    files: int = 0
    bytes: int = 0
    bytes_total: int = 0
    findings: list[FixityFinding] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


class OfflineVerification:
    """One pass. `run` blocks (use a thread); `state` and `stop` may be called from another thread meanwhile."""

    def __init__(self, settings: Storage, rate_limit: int, root: str | None, video_ids: Sequence[str] | None) -> None:
        """`root` unset: all roots; `video_ids` unset: every video. `rate_limit` in bytes per second."""
        self._settings = settings
        self._root = root
        self._video_ids = video_ids
        self._stopped = threading.Event()
        self._pace = RateLimiter(rate_limit, self._stopped.is_set)
        self._begun_at, self._begun = datetime.now(UTC), time.monotonic()
        self._ended_at: datetime | None = None
        self.found = OfflineResult()

    def run(self) -> None:
        """Verify the requested root and the archives below it, or all.

        Raises InvalidRequest (a foreign root, an unknown video), ServiceUnavailable (a disk is not mounted), Stopped.
        """
        trees = list(self._trees())
        known = _read_holdings(self._settings.base_data_dir / "catalogue.db", [tree.key for tree in trees])
        for tree in trees:
            if known[tree.key] and not tree.videos.is_dir():
                raise ServiceUnavailable(f"{tree.videos} is not there. Is its disk mounted?", root=tree.key)
        queue = [(tree, one) for tree in trees for one in sorted({*known[tree.key], *ids_in(tree)})]
        if self._video_ids is not None:
            lost = sorted(set(self._video_ids) - {one for _tree, one in queue})
            if lost:
                message = f"Nothing is held of {lost[0]}. `ytarchive storage list` shows what is."
                raise InvalidRequest(message, lost=lost)
            queue = [(tree, one) for tree, one in queue if one in self._video_ids]
        holdings = [known[tree.key].get(one) for tree, one in queue]
        self.found.roots = [tree.key for tree in trees]
        self.found.videos_total = len(queue)
        self.found.bytes_total = sum(holding.bytes for holding in holdings if holding)
        for (tree, video_id), holding in zip(queue, holdings, strict=True):
            self._verify(tree, video_id, holding)
        self._ended_at = datetime.now(UTC)

    def stop(self) -> None:
        """Make `run` raise Stopped."""
        self._stopped.set()

    def state(self) -> VerificationState:
        found = self.found
        damaged = sum(one.kind.damage for one in found.findings)
        known = Verification(
            verification_id="",
            trace_id="",
            asked=True,
            repair=False,
            roots=found.roots,
            status=VerificationStatus.COMPLETED if self._ended_at else VerificationStatus.RUNNING,
            error=_unfinished_text(found),
            begun_at=self._begun_at,
            ended_at=self._ended_at,
            videos=found.videos,
            videos_total=found.videos_total,
            files=found.files,
            bytes=found.bytes,
            bytes_total=found.bytes_total,
            damaged=damaged,
            extra=len(found.findings) - damaged,
        )
        read = self._pace.read
        speed = read_speed(read, time.monotonic() - self._begun, read, found.bytes_total, None)
        return VerificationState(**known.model_dump(), progress=progress_of(known, speed))

    def page(self) -> VerificationPage:
        """Return the state and all findings."""
        total = len(self.found.findings)
        return VerificationPage(
            verification=self.state(), findings=self.found.findings, total=total, limit=max(total, 1), offset=0
        )

    def _trees(self) -> Iterator[ArchiveTree]:
        settings, root = self._settings, self._root
        roots = settings.all_roots if root is None else (tree_of(root, settings).root,)
        below = [path for one in roots for path in (one, *trees_below(one))]
        yield from (tree_of(path, settings) for path in dict.fromkeys(below))

    def _verify(self, tree: ArchiveTree, video_id: str, holding: Holding | None) -> None:
        found = self.found
        seen = read_video(tree, video_id, self._pace)
        findings = compare(tree.key, video_id, seen, holding)
        if findings and commit.unfinished_videos(tree, [video_id]):
            found.unfinished.append(video_id)
        else:
            found.findings += findings
        found.videos += 1
        found.files += len(seen.files)
        found.bytes += seen.bytes


def _unfinished_text(found: OfflineResult) -> str | None:
    if not found.unfinished:
        return None
    return f"Left out, for their take-in is finished at the next start: {', '.join(found.unfinished[:10])}"


def _read_holdings(path: Path, roots: Sequence[str]) -> dict[str, dict[str, Holding]]:
    """Return the catalogue's holdings of these roots, by root and video; empty where there is no catalogue. Raises
    StateDamaged."""
    known: dict[str, dict[str, Holding]] = {root: {} for root in roots}
    if not path.exists():
        return known
    query = (
        "SELECT root, video_id, packed FROM videos JOIN holdings USING (id)"
        " WHERE root IN (SELECT value FROM json_each(?))"
    )
    try:
        with closing(read_only(path)) as db:
            expect_current(db, path)
            for root, video_id, packed in db.execute(query, (json.dumps(list(roots)),)):
                known[root][video_id] = unpack(packed)
    except sqlite3.DatabaseError as error:
        if (reason := damage_in(error)) is None and path.stat().st_size:
            raise
        message = f"{path} is damaged ({reason or 'it is empty'}). {REBUILT_AT_START}"
        raise StateDamaged(message, path=str(path)) from error
    return known
