"""Power cuts of the whole machine: `make power-cut` tries 200 of them, the suite a few.

Playlists are saved by five services and a broker that keep everything on a `recording_disk`. The recording contains
every change and every sync of the run; what users had been told by then is noted beside it. A cut is a position in the
recording: the disk of that moment is written without the changes that were not synced (all of them, some of them,
parts of them), the system is started on it, and it must hold all that was acknowledged, end every job, and leave no
damaged or half written file.

    python -m tests.chaos.power_cut --cuts 200

It needs /dev/fuse, libfuse (the package `fuse3`) and the right to mount.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from services.common.domain.jobs import ItemStatus
from services.common.messaging import connect_bus
from services.common.names import SERVICES
from tests.chaos.accidents import Check, Report, program_pool
from tests.chaos.recording_disk import Disk, changes, positions
from tests.fixtures.cluster import Cluster, JobRun, new_cluster, until
from tests.fixtures.fuse_disk import fuse_disk, why_not
from tests.fixtures.processes import ProcessPool
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.site import sample

_JOBS_END_WITHIN = 120.0  # seconds
_SETTINGS = {"YTARCHIVE_NATS__ACK_WAIT": "2"}  # a message that was in flight at the cut is delivered again after it


# --- a recorded run ---------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """A run, and from which position of its recording on users had been told that something is safe."""

    path: Path
    home: Path  # of the cluster
    cluster: Cluster
    jobs: list[JobRun]
    accepted: dict[str, int] = field(default_factory=dict)  # by job_id
    archived: dict[str, int] = field(default_factory=dict)  # by video_id

    def position(self) -> int:
        return self.path.stat().st_size

    def cuts(self, count: int, rng: random.Random) -> list[int]:
        """Return positions: half of them anywhere, half right before or after a change of names or a sync."""
        everywhere = positions(self.path)
        starts = [0, *everywhere]
        names = [
            edge
            for (start, end), (kind, *_) in zip(pairwise(starts), changes(self.path, everywhere[-1]), strict=True)
            if kind != "write"
            for edge in (start, end)
        ]
        return sorted(rng.choice(everywhere if number % 2 else names) for number in range(count))


@contextmanager
def recording_disk(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Mount a recording disk below `folder`, which must not exist. Return the mount point and the recording."""
    recording = folder / "recording"
    with fuse_disk(folder, str(recording), module="tests.chaos.recording_disk") as mount:
        yield mount, recording


async def record(
    folder: Path, emulator: EmulatorClient, process_pool: ProcessPool, rng: random.Random, videos: int
) -> Recording:
    """Save two playlists on a recording disk, and return when both jobs have ended and everything is stopped."""
    with recording_disk(folder) as (mount, path):
        home = mount / "cluster"
        cluster = new_cluster(home, emulator, process_pool, **_SETTINGS)
        run = Recording(path, home, cluster, [])
        try:
            await cluster.broker.start()
            await cluster.start(*SERVICES)
            async with connections(cluster) as connected:
                for number in range(2):
                    playlist = f"PLpower{rng.getrandbits(64):016x}{number:02d}"
                    made = emulator.put_playlist(playlist, count=videos // 2, channel=sample.CHANNEL, private=[1])
                    entries = list(made["entries"])
                    private = [entries.pop(1)]
                    run.jobs.append(JobRun(cluster, emulator, *connected, playlist, entries, private))
                for job_run in run.jobs:
                    await job_run.submit()
                    run.accepted[job_run.job_id] = run.position()
                await until(lambda: _note(run), "both jobs end", _JOBS_END_WITHIN)
        finally:
            cluster.end()
    return run


async def _note(run: Recording) -> bool:
    """Note what the REST interface reports as archived. Return whether all jobs have ended."""
    ended = 0
    for job_run in run.jobs:
        job = await job_run.job()
        if job is None:
            continue
        for item in (await job_run.items()).values():
            if item.status is ItemStatus.ARCHIVED:
                run.archived.setdefault(item.video_id, run.position())
        ended += job.status.ended
    return ended == len(run.jobs)


@asynccontextmanager
async def connections(cluster: Cluster) -> AsyncIterator[tuple[Any, aiohttp.ClientSession]]:
    """Connect to the broker and to the services."""
    bus = await connect_bus(cluster.broker.settings, source="cli/chaos")
    try:
        async with aiohttp.ClientSession() as http:
            yield bus, http
    finally:
        await bus.close()


# --- a cut ------------------------------------------------------------------------------------------------------------


async def cut(run: Recording, position: int, seed: int) -> Report:
    """Cut the power at a position, start everything again, and check."""
    rng, report, begun = random.Random(seed), Report(seed), time.monotonic()  # noqa: S311 - not for secrets
    await asyncio.to_thread(_write_disk, run, position, rng)
    try:
        await asyncio.to_thread(_check_disk, run, position, report)
        await _start(run, report)
        await _finish(run, position, report)
    except (AssertionError, TimeoutError) as error:
        report.problems.append(str(error))
    finally:
        run.cluster.end()
    report.seconds = time.monotonic() - begun
    return report


def _write_disk(run: Recording, position: int, rng: random.Random) -> None:
    """Write the disk after the cut to where it was mounted."""
    shutil.rmtree(run.home, ignore_errors=True)
    disk = Disk.replay(run.path, position)
    disk.cut_power(rng)
    disk.write_to(run.home.parent)
    run.home.mkdir(exist_ok=True)
    (run.home / "nats").mkdir(exist_ok=True)
    for record in run.home.rglob(".synced"):
        with suppress(ValueError):
            record.write_text(json.dumps(json.loads(record.read_text()) | {"boot": "the one before"}))


def _check_disk(run: Recording, position: int, report: Report) -> None:
    """Every visible manifest has its files, and so has every video that was reported as archived."""
    folder = run.cluster.config.storage.base_path / "videos"
    visible = {path.parent.name for path in folder.glob("*/*_metadata.json") if not path.name.startswith(".")}
    acknowledged = {video_id for video_id, since in run.archived.items() if since <= position}
    for video_id in sorted(acknowledged - visible):
        report.problems.append(f"{video_id} was reported as archived and is not there")
    for video_id in sorted(visible):
        try:
            run.jobs[0].assert_files_intact(video_id)
        except AssertionError as error:
            report.problems.append(f"{video_id} directly after the cut: {error}")


async def _start(run: Recording, report: Report) -> None:
    cluster = run.cluster
    cluster.processes.clear()
    try:
        await cluster.broker.start()
    except AssertionError:  # its administrator would delete the store; the embedded broker sets it aside
        report.happened["unreadable broker store"] += 1
        cluster.broker.kill()
        shutil.rmtree(cluster.broker.store)
        await cluster.broker.start()
    await cluster.start(*SERVICES)


async def _finish(run: Recording, position: int, report: Report) -> None:
    """Wait for the end of every job, after submitting again those that were not acknowledged, and check the result."""
    run.jobs[0].emulator.clear_log()
    async with connections(run.cluster) as (bus, http):
        jobs = [replace(job_run, bus=bus, http=http) for job_run in run.jobs]
        for job_run in jobs:
            if run.accepted[job_run.job_id] > position:
                await job_run.submit()
        for job_run in jobs:
            await job_run.wait_for_end(_JOBS_END_WITHIN)
        await Check(jobs, run.jobs[0].emulator, report).run()
        await asyncio.to_thread(_check_journal, run, report)


def _check_journal(run: Recording, report: Report) -> None:
    """Every line is whole, and every message was written once."""
    try:
        ids = Counter((line["message_id"]) for line in run.cluster.journal())
    except ValueError as error:
        report.problems.append(f"the journal of events has a line that is none: {error}")
        return
    doubled = [message_id for message_id, count in ids.items() if count > 1]
    if doubled:
        report.problems.append(f"written more than once: {doubled[:3]}")


# --- all of it --------------------------------------------------------------------------------------------------------


async def run(
    folder: Path, emulator: EmulatorClient, process_pool: ProcessPool, *, seed: int, cuts: int, videos: int
) -> AsyncIterator[Report]:
    """Record one run in `folder`, which must not exist, and cut the power at `cuts` positions of it."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    recorded = await record(folder, emulator, process_pool, rng, videos)
    for position in recorded.cuts(cuts, rng):
        report = await cut(recorded, position, rng.getrandbits(32))
        report.happened[f"cut at {position} of {recorded.position()}"] = 1
        yield report


async def _all(options: argparse.Namespace, folder: Path, emulator: EmulatorClient, pool: ProcessPool) -> int:
    failed = done = 0
    for seed, cuts in enumerate(_shares(options.cuts, options.recordings), start=options.first):
        emulator.reset()
        videos = options.videos
        async for report in run(folder / str(seed), emulator, pool, seed=seed, cuts=cuts, videos=videos):
            done += 1
            failed += bool(report.problems)
            sys.stdout.write(f"{done}/{options.cuts} recording {seed}, {report.line()}\n")
            for problem in report.problems:
                sys.stdout.write(f"    {problem}\n")
            sys.stdout.flush()
        shutil.rmtree(folder / str(seed), ignore_errors=True)
    sys.stdout.write(f"{done - failed} of {done} cuts without a problem\n")
    return int(failed > 0)


def _shares(total: int, count: int) -> Sequence[int]:
    return [total // count + (number < total % count) for number in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=200, help="number of power cuts")
    parser.add_argument("--recordings", type=int, default=4, help="runs that are recorded")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first recording")
    parser.add_argument("--videos", type=int, default=12, help="videos of each run")
    options = parser.parse_args()
    if missing := why_not():
        sys.stderr.write(f"Power cuts cannot be tried here: {missing}\n")
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with (
        tempfile.TemporaryDirectory(prefix="power-cut-") as folder,
        emulator_process() as emulator,
        program_pool() as pool,
    ):
        return asyncio.run(_all(options, Path(folder), emulator, pool))


if __name__ == "__main__":
    sys.exit(main())
