"""Measure the speed of verification: bytes per second for large files, videos per second for tiny ones.

    python tests/benchmarks/verification.py [VIDEOS [MEGABYTES]]

Measured without a rate limit, for the verifier of the service and for offline verification.
"""

import asyncio
import hashlib
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from bus import Bus
from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.common.settings.load import Config, load_config
from services.storage.fixity.offline import OfflineVerification
from services.storage.fixity.repairs import Repairer
from services.storage.fixity.repository import VerificationRepository
from services.storage.fixity.verifier import Verifier
from services.storage.formats.layout import tree_of
from services.storage.formats.manifest import merge
from tests.fixtures.archive_parts import ArchiveParts, archive_parts

AT = datetime(2026, 1, 1, tzinfo=UTC)
UNLIMITED = 10**15


def make_archive(config: Config, count: int, size: int) -> None:
    """Create an archive: for each video a media file of `size` bytes and a manifest."""
    tree = tree_of(config.storage.base_path, config.storage)
    data = bytes(range(256)) * (size // 256 + 1)
    for number in range(count):
        video_id = f"v{number:010d}"
        media = number.to_bytes(8, "big") + data[: size - 8]
        folder = tree.video_dir(video_id)
        folder.mkdir(parents=True)
        (folder / f"{video_id}.mp4").write_bytes(media)
        digest = hashlib.sha256(media).hexdigest()
        fact = FileFact(name=f"{video_id}.mp4", role=FileRole.VIDEO, size=len(media), sha256=digest)
        event = DownloadCompleted(
            dispatch_id="d",
            fetch_id="f",
            job_id="j",
            video_id=video_id,
            root=tree.key,
            wanted=Wanted(metadata=False),
            directory="/nowhere",
            files=(fact,),
            metadata=VideoMetadata(video_id=video_id, title="T"),
            provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
        )
        tree.manifest(video_id).write_text(merge(None, event, now=AT, trace_id="t").model_dump_json())


async def verify(config: Config) -> tuple[float, float]:
    """Return the seconds (elapsed, processor) to verify everything. Nothing is damaged, so the bus is not used."""
    with archive_parts(config.storage) as parts:
        await parts.indexer.rescan(config.storage.base_path)
        return await _run(config, parts)


async def _run(config: Config, parts: ArchiveParts) -> tuple[float, float]:
    closing = asyncio.Event()
    repository = VerificationRepository(parts.database)
    repairs = Repairer(repository, cast(Bus, None))
    verifier = Verifier(config.fixity, parts.roots, parts.store, repository, repairs, parts.locks, closing, 1e9)
    await verifier.begin(None, None, repair=True, trace_id="t")
    begun, busy = time.perf_counter(), time.process_time()
    running = asyncio.create_task(verifier.run())
    while True:
        if await repository.last(open_only=True) is None:
            break
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - begun, time.process_time() - busy
    closing.set()
    await running
    verifier.close()
    return seconds


def measure(count: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        env = {
            "YTARCHIVE_STORAGE__BASE_DATA_DIR": f"{home}/data",
            "YTARCHIVE_STORAGE__BASE_PATH": f"{home}/archive",
            "YTARCHIVE_FIXITY__RATE_LIMIT": str(UNLIMITED),
        }
        config = load_config(env=env, cwd=Path(home))
        make_archive(config, count, size)
        _print_speeds("service", count, size, *asyncio.run(verify(config)))
        _print_speeds("offline", count, size, *_verify_offline(config))


def _print_speeds(mode: str, count: int, size: int, seconds: float, busy: float) -> None:
    """Print the speeds. `busy`: processor time in seconds, which is meaningful on a loaded machine, too."""
    speeds = [f"{count / each:.0f} videos/s, {count * size / each / 1e6:.0f} MB/s" for each in (seconds, busy)]
    sys.stdout.write(
        f"{mode}: {count} videos of {size} bytes: {seconds:.2f} s ({speeds[0]}), {busy:.2f} s busy ({speeds[1]})\n"
    )


def _verify_offline(config: Config) -> tuple[float, float]:
    begun, busy = time.perf_counter(), time.process_time()
    verification = OfflineVerification(config.storage, UNLIMITED, None, None)
    verification.run()
    assert verification.found.findings == []
    return time.perf_counter() - begun, time.process_time() - busy


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, 64)
    measure(4, (int(sys.argv[2]) if len(sys.argv) > 2 else 256) * 1024**2)
