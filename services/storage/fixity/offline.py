"""Verifying the archive while nothing runs: reads files and records, changes nothing, remembers nothing. Blocks."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.settings.load import Storage
from services.storage.archive import commit
from services.storage.fixity.checksum_reader import Pace, examine
from services.storage.fixity.rules import Finding, compare
from services.storage.formats.layout import Tree, tree_of
from services.storage.formats.manifest import Holding
from services.storage.index import scan


@dataclass
class Inspection:
    """How far it is, and what it found. `unfinished`: videos whose take-in was cut short and is finished at the next
    start; nothing can be said of them."""

    roots: list[str] = field(default_factory=list)
    videos: int = 0
    videos_total: int = 0
    files: int = 0
    bytes: int = 0
    bytes_total: int = 0
    findings: list[Finding] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


Tell = Callable[[Inspection], None]


def inspect(storage: Storage, root: str | None, video_ids: Sequence[str] | None, pace: Pace, tell: Tell) -> Inspection:
    """Verify a root and the archives below it, or all. `tell` is called with the state before each video.

    Raises InvalidRequest (a foreign root, a video of which nothing is held), ServiceUnavailable (a disk is not there),
    Stopped.
    """
    trees = list(_trees(storage, root))
    known = _known(storage.base_data_dir / "catalogue.db", [tree.key for tree in trees])
    for tree in trees:
        if known[tree.key] and not tree.videos.is_dir():
            raise ServiceUnavailable(f"{tree.videos} is not there. Is its disk mounted?", root=tree.key)
    queue = [(tree, one) for tree in trees for one in sorted({*known[tree.key], *scan.video_ids(tree)})]
    if video_ids is not None:
        lost = sorted(set(video_ids) - {one for _tree, one in queue})
        if lost:
            raise InvalidRequest(f"Nothing is held of {lost[0]}. `ytarchive storage list` shows what is.", lost=lost)
        queue = [(tree, one) for tree, one in queue if one in video_ids]
    holdings = [known[tree.key].get(one) for tree, one in queue]
    found = Inspection(
        roots=[tree.key for tree in trees],
        videos_total=len(queue),
        bytes_total=sum(holding.bytes for holding in holdings if holding),
    )
    for (tree, video_id), holding in zip(queue, holdings, strict=True):
        tell(found)
        _one(found, tree, video_id, holding, pace)
    tell(found)
    return found


def _one(found: Inspection, tree: Tree, video_id: str, holding: Holding | None, pace: Pace) -> None:
    seen = examine(tree, video_id, pace)
    findings = compare(tree.key, video_id, seen, holding)
    if findings and commit.unfinished(tree, [video_id]):
        found.unfinished.append(video_id)
    else:
        found.findings += findings
    found.videos += 1
    found.files += len(seen.files)
    found.bytes += seen.bytes


def _trees(storage: Storage, root: str | None) -> Iterator[Tree]:
    roots = storage.all_roots if root is None else (tree_of(root, storage).root,)
    below = [path for one in roots for path in (one, *scan.trees_below(one))]
    yield from (tree_of(path, storage) for path in dict.fromkeys(below))


def _known(path: Path, roots: Sequence[str]) -> dict[str, dict[str, Holding]]:
    """What the catalogue remembers of these roots; nothing where there is none."""
    known: dict[str, dict[str, Holding]] = {root: {} for root in roots}
    if not path.exists():
        return known
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        query = "SELECT root, video_id, holding FROM videos WHERE root IN (SELECT value FROM json_each(?))"
        for root, video_id, holding in db.execute(query, (json.dumps(list(roots)),)):
            known[root][video_id] = Holding.model_validate_json(holding)
    return known
