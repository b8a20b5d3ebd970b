"""The archive store: archive tree, catalogue, locks and disk space, on real files."""

import asyncio
import errno
import hashlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.common.domain.archive import FileFact, FileRole, KnownGone, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.errors import ServiceUnavailable, StorageFull
from services.common.events import DownloadCompleted
from services.common.infra.files import try_flock
from services.common.models import JobOptions, JobType
from services.common.settings.load import Config
from services.storage.archive.disk_space import DiskSpace
from services.storage.archive.locks import NamedLocks
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import UnavailableEntry
from services.storage.index.catalogue import Catalogue, Sighting
from services.storage.index.indexer import RescanResult
from services.storage.index.schema import open_catalogue
from tests.fixtures.archive_parts import ArchiveParts, archive_parts

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


@pytest.fixture
async def parts(config: Config) -> AsyncIterator[ArchiveParts]:
    with archive_parts(config.storage) as parts:
        yield parts


def delivery(config: Config, video_id: str, data: bytes = b"film", dispatch: str = "d1") -> DownloadCompleted:
    directory = config.storage.tmp_dir / f"{video_id}.part"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "x.mp4").write_bytes(data)
    fact = FileFact(name="x.mp4", role=FileRole.VIDEO, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return DownloadCompleted(
        dispatch_id=dispatch,
        fetch_id="f1",
        job_id="j1",
        video_id=video_id,
        root=str(config.storage.base_path),
        wanted=Wanted(),
        directory=str(directory),
        files=(fact,),
        metadata=VideoMetadata(video_id=video_id, title="T"),
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
    )


async def test_a_query_of_held_files_updates_an_outdated_catalogue(parts: ArchiveParts, config: Config) -> None:
    root = str(config.storage.base_path)
    await parts.store.take_in(delivery(config, A), "t")
    manifest = parts.roots.tree(root).manifest(A)
    text = manifest.read_text()
    manifest.unlink()  # without its manifest a video is not held
    (held,) = await parts.store.held(root, [A])
    assert held.qualities == ()
    manifest.write_text(text.replace('"1080p"', '"best"'))
    (held,) = await parts.store.held(root, [A])
    assert held.qualities == ("best",)
    assert (await parts.catalogue.get(root, [A]))[A].holding.asked.qualities == ("best",)


async def test_a_rescan_forgets_missing_videos_and_removes_leftovers(parts: ArchiveParts, config: Config) -> None:
    root = config.storage.base_path
    for video_id in (A, B, C):
        await parts.store.take_in(delivery(config, video_id), "t")
    tree = parts.roots.tree(root)
    tree.manifest(A).unlink()
    tree.manifest(B).write_text("damaged")
    (tree.video_dir(C) / f".{C}.mp4.9.new").write_bytes(b"left behind")
    (tree.videos / "lost+found").mkdir()
    half = tree.metadata / "videos" / f".{A}.json.0123abcd.new"
    half.parent.mkdir(parents=True)
    half.write_text("{")
    growing = half.with_name(f".{B}.json.0123abcd.new")
    with growing.open("w") as writer:
        assert try_flock(writer.fileno())  # as a writer does
        assert await parts.indexer.rescan(root) == RescanResult(str(root), videos=1, forgotten=2, unreadable=2)
    assert sorted(os.listdir(tree.video_dir(C))) == [f"{C}.mp4", f"{C}_metadata.json"]  # noqa: PTH208 - names only
    assert not half.exists()
    assert growing.exists()
    assert (await parts.catalogue.totals()).videos == 1
    assert await parts.catalogue.is_scanned(str(root))


async def test_unfinished_commits_of_a_dead_process_are_recovered(parts: ArchiveParts, config: Config) -> None:
    root = str(config.storage.base_path)
    left = parts.roots.tree(root).video_dir(A) / f".{A}.mp4.9.new"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a film")
    await parts.catalogue.begin_take_in(root, A)
    await parts.catalogue.begin_take_in("/unplugged", A)
    assert await parts.store.recover_unfinished() == 2
    assert not left.parent.exists()
    assert await parts.catalogue.unfinished_take_ins() == [("/unplugged", A)]  # until that root is mounted again


async def test_a_failed_commit_leaves_no_unfinished_entry(parts: ArchiveParts, config: Config) -> None:
    event = delivery(config, A)
    (Path(event.directory) / "x.mp4").write_bytes(b"f1lm")
    with pytest.raises(Exception, match="sha256"):
        await parts.store.take_in(event, "t")
    assert await parts.catalogue.unfinished_take_ins() == []


async def test_concurrent_commits_of_one_video_are_serialized(parts: ArchiveParts, config: Config) -> None:
    first, second = delivery(config, A), delivery(config, A, dispatch="d2")
    manifests = await asyncio.gather(parts.store.take_in(first, "t"), parts.store.take_in(second, "t"))
    assert sorted(len(manifest.take_ins) for manifest in manifests) == [1, 2]


HOLDER = """
import sys
from pathlib import Path
from services.common.infra.files import try_flock, locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


async def test_a_lock_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    locks = NamedLocks(tmp_path)
    async with locks.hold("root", A):
        (name,) = os.listdir(tmp_path)  # noqa: PTH208 - names only
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", HOLDER, str(tmp_path / name)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"

    async def enter() -> None:
        async with locks.hold("root", A):
            pass

    entering = asyncio.create_task(enter())
    _, waiting = await asyncio.wait({entering}, timeout=0.5)
    assert waiting == {entering}
    await holder.communicate(b"go\n")
    await asyncio.wait_for(entering, 60)


async def test_indexing_a_plan_again_does_not_restore_a_known_gone_video_archived_since(
    parts: ArchiveParts, config: Config
) -> None:
    gone = UnavailableEntry(video_id=A, reason="private", detected_at=AT)
    plan = WorkPlan(
        plan_id="j1",
        job_id="j1",
        trace_id="t",
        root="/another/root",
        type=JobType.VIDEO_DOWNLOAD,
        options=JobOptions(),
        targets=[A],
        created_at=AT,
        updated_at=AT,
        unavailable_videos=[gone, gone.model_copy(update={"video_id": B, "reason": "an unknown reason"})],
    )
    await parts.catalogue.index_plan(plan)
    assert await parts.catalogue.known_gone([A, B]) == {A: KnownGone(reason="private", at=AT)}
    await parts.store.take_in(delivery(config, A), "t")
    assert await parts.catalogue.known_gone([A]) == {}
    await parts.catalogue.index_plan(plan)
    assert await parts.catalogue.known_gone([A]) == {}
    assert await parts.catalogue.plans_waiting_for("/another/root", A) == ["j1"]


# --- a full disk --------------------------------------------------------------------------------------------------


async def test_waiting_for_disk_space_ends_when_there_is_enough_or_after_the_patience(tmp_path: Path) -> None:
    await DiskSpace(min_free=0).wait_for(tmp_path / "not there yet", 1)
    with pytest.raises(StorageFull, match="min_free"):
        await DiskSpace(min_free=1 << 62, patience=0.1, recheck=0.02).wait_for(tmp_path, 0)


async def test_a_small_write_is_repeated_until_there_is_space(tmp_path: Path) -> None:
    tries: list[Path] = []

    def write() -> None:
        tries.append(Path("/dev/full") if len(tries) < 3 else tmp_path / "file")
        tries[-1].write_text("x")

    await DiskSpace(recheck=0.01).write(write, tmp_path)
    assert len(tries) == 4
    with pytest.raises(OSError, match="directory") as caught:
        await DiskSpace(recheck=0.01).write(lambda: tmp_path.write_text("x"), tmp_path)
    assert caught.value.errno == errno.EISDIR


async def test_waiting_for_disk_space_is_cancelled_when_the_service_closes(tmp_path: Path) -> None:
    space = DiskSpace(min_free=1 << 62)
    waiting = asyncio.create_task(space.wait_for(tmp_path, 0))
    await asyncio.sleep(0)
    space.closing.set()
    await asyncio.wait({waiting}, timeout=60)
    assert waiting.cancelled()


@pytest.mark.claim("9.4")
async def test_a_catalogue_write_waits_for_disk_space(tmp_path: Path) -> None:
    database = open_catalogue(tmp_path, DiskSpace(recheck=0.02).pause)
    catalogue = Catalogue(database)
    pages = {"free": False}

    def limit(db: sqlite3.Connection) -> None:
        (used,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={used + (1000 if pages['free'] else 0)}")

    try:
        await database.run(limit)
        big = [Sighting(f"{number:011}", "title " * 100, AT) for number in range(100)]
        seeing = asyncio.create_task(catalogue.record_sightings(big))
        _, waiting = await asyncio.wait({seeing}, timeout=0.3)
        assert waiting == {seeing}
        pages["free"] = True
        await database.run(limit)
        await asyncio.wait_for(seeing, 60)
        assert await catalogue.last_seen(f"{99:011}") is not None
    finally:
        database.close()


async def test_a_root_that_cannot_be_read_is_unavailable(parts: ArchiveParts, config: Config) -> None:
    """As with EIO or ESTALE; here the name is too long for the file system."""
    root = config.storage.base_path
    root.mkdir(parents=True)
    broken = ArchiveTree(root, root / "metadata", root / ("x" * 300))
    with pytest.raises(ServiceUnavailable, match="cannot be read"):
        await parts.roots.expect_mounted(broken)
    assert list(parts.roots.unavailable) == [broken.key]
    await parts.roots.recheck_unavailable()
    assert parts.roots.unavailable == {}
