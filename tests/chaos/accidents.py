"""Seeded accidents: `make chaos` runs many seeds, the suite one.

A run saves playlists with five services, a second download worker and a broker, each a process, while they are
killed, suspended and stopped, the broker's store is deleted and the site fails. A supervisor restarts what has ended,
as systemd or Docker does. Afterwards the archive is checked without the product's code: every file against its digest,
every medium decoded, every video in its place once, nothing half written, every failure on the work plan.

    python -m tests.chaos.accidents --seeds 20 --videos 60
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from services.common.domain.jobs import ItemStatus, Job
from services.common.messaging import connect_bus
from services.common.names import SERVICES
from tests.fixtures.cluster import Cluster, JobRun, new_cluster
from tests.fixtures.processes import Process, ProcessPool
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.site import sample

WORKER = "another download"
_RESTART_AFTER = 0.3  # seconds
_ENDS_WITHIN = 240.0  # seconds after the last accident
_SETTINGS = {
    "YTARCHIVE_NATS__ACK_WAIT": "5",
    "YTARCHIVE_YOUTUBE__SLEEP_INTERVAL": "0.5",  # so that work is left for later accidents
}


@dataclass(frozen=True)
class Plan:
    """How much of what happens in one run."""

    videos: int = 60
    playlists: int = 3
    kills: int = 15
    suspensions: int = 5
    stops: int = 3
    site_faults: int = 6
    store_deletions: int = 1
    pause: float = 1.0  # the mean number of seconds between two accidents

    def accidents(self, rng: random.Random) -> list[str]:
        kinds = ["kill"] * self.kills + ["suspend"] * self.suspensions + ["stop"] * self.stops
        kinds += ["site"] * self.site_faults + ["store"] * self.store_deletions
        rng.shuffle(kinds)
        return kinds


@dataclass
class Report:
    """What happened in one run, and what the checks found."""

    seed: int
    happened: Counter[str] = field(default_factory=Counter)
    archived: int = 0
    failed: int = 0
    fetched: float = 0.0  # media requests from the first byte, per file of a video
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        events = ", ".join(f"{count} {kind}" for kind, count in sorted(self.happened.items()))
        result = "ok" if not self.problems else f"{len(self.problems)} PROBLEMS"
        return (
            f"seed {self.seed}: {result}; {events}; {self.archived} archived, {self.failed} failed and on the plan, "
            f"media fetched {self.fetched:.2f} times, {self.seconds:.0f} s"
        )


class Supervisor:
    """Restarts each service that has ended, for as long as it is entered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Supervisor":
        for name in SERVICES:
            self._cluster.launch(name)
        self._launch_worker()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            for name, process in list(self._cluster.processes.items()):
                if process.code is not None:
                    await asyncio.sleep(_RESTART_AFTER)
                    if name == WORKER:
                        self._launch_worker()
                    else:
                        self._cluster.launch(name)
            await asyncio.sleep(0.1)

    def _launch_worker(self) -> None:
        self._cluster.launch("download", replaces=False, YTARCHIVE_SERVICES__DOWNLOAD__PORT="0")


class Accidents:
    """Causes the accidents of one seed."""

    def __init__(self, cluster: Cluster, emulator: EmulatorClient, rng: random.Random, report: Report) -> None:
        self._cluster = cluster
        self._emulator = emulator
        self._rng = rng
        self._report = report
        self._later: set[asyncio.Task[None]] = set()

    async def run(self, plan: Plan) -> None:
        """Cause all accidents, and return when their direct effects are over."""
        for kind in plan.accidents(self._rng):
            await asyncio.sleep(self._rng.uniform(0.2, 2 * plan.pause - 0.2))
            self._report.happened[kind] += 1
            match kind:
                case "kill":
                    await self._kill()
                case "suspend":
                    self._spawn(self._suspend(self._victim(), self._rng.uniform(0.5, 4.0)))
                case "stop":
                    self._victim().terminate()
                case "site":
                    self._spawn(self._break_site())
                case "store":
                    await self._lose_store()
        await asyncio.gather(*self._later)

    def _victim(self) -> Process:
        running = [name for name, process in self._cluster.processes.items() if process.is_running]
        return self._cluster.processes[self._rng.choice(sorted(running))]

    async def _kill(self) -> None:
        if self._rng.random() < 0.15:
            self._cluster.broker.kill()
            await asyncio.sleep(self._rng.uniform(0.0, 3.0))
            await self._cluster.broker.start()
        else:
            self._victim().signal(signal.SIGKILL)

    async def _lose_store(self) -> None:
        self._cluster.broker.kill()
        shutil.rmtree(self._cluster.broker.store)
        await self._cluster.broker.start()

    async def _suspend(self, process: Process, seconds: float) -> None:
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.signal(signal.SIGCONT)

    async def _break_site(self) -> None:
        """Faults of single requests, which a retry passes."""
        faults: list[tuple[str, str, dict[str, Any]]] = [
            ("media", "reset", {"times": 1}),
            ("media", "truncate", {"times": 1}),
            ("media", "throttle", {"rate": 20_000}),
            ("media", "delay", {"seconds": 2.0}),
            ("player", "status", {"status": 503, "times": 1}),
            ("watch", "reset", {"times": 1}),
        ]
        kind, effect, details = self._rng.choice(faults)
        fault = self._emulator.add_fault(kind, effect, **details)
        await asyncio.sleep(self._rng.uniform(1.0, 4.0))
        self._emulator.remove_fault(fault)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


# --- checks -----------------------------------------------------------------------------------------------------------


class Check:
    """Checks of the result; each adds a sentence to `report.problems` for what is wrong."""

    def __init__(self, jobs: Sequence[JobRun], emulator: EmulatorClient, report: Report) -> None:
        self._jobs = jobs
        self._cluster = jobs[0].cluster
        self._emulator = emulator
        self._report = report

    async def run(self) -> None:
        saved: set[str] = set()
        for job_run in self._jobs:
            saved |= await self._check_job(job_run)
        await asyncio.to_thread(self._check_tree, saved)
        self._count_requests(saved)

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self._report.problems.append(problem)

    async def _check_job(self, job_run: JobRun) -> set[str]:
        """Every video is archived, or on the work plan with its reason. Return the archived ones."""
        job: Job = await job_run.wait_for_end(_ENDS_WITHIN)
        items = await job_run.items()
        by_status = {status: {i.video_id for i in items.values() if i.status is status} for status in ItemStatus}
        archived, failed = by_status[ItemStatus.ARCHIVED], by_status[ItemStatus.FAILED]
        gone = by_status[ItemStatus.UNAVAILABLE]
        everything = {*job_run.videos, *job_run.unavailable}
        self._expect(set(items) == everything, f"{job.job_id}: listed wrongly: {set(items) ^ everything}")
        self._expect(archived | failed | gone == everything, f"{job.job_id}: not ended: {by_status}")
        self._expect(gone == set(job_run.unavailable), f"{job.job_id}: unavailable: {gone}")
        plan = json.loads((self._cluster.config.storage.work_plans_dir / f"{job.job_id}.json").read_text())
        planned = {entry["video_id"] for entry in plan["failed_downloads"]}
        self._expect(planned == failed, f"{job.job_id}: failed {failed}, on the plan {planned}")
        listed = [entry["video_id"] for entry in plan["unavailable_videos"]]
        self._expect(listed == job_run.unavailable, f"{job.job_id}: unavailable on the plan: {listed}")
        for video_id in sorted(archived):
            try:
                await asyncio.to_thread(job_run.assert_files_intact, video_id)
            except AssertionError as error:
                self._report.problems.append(f"{video_id}: {error}")
        self._report.archived += len(archived)
        self._report.failed += len(failed)
        return archived

    def _check_tree(self, saved: set[str]) -> None:
        """The tree contains the archived videos and nothing else, no hidden file and no partial download."""
        storage = self._cluster.config.storage
        there = {path.name for path in (storage.base_path / "videos").iterdir()}
        self._expect(there == saved, f"folders {there ^ saved} are too many or missing")
        hidden = [
            str(path) for path in storage.base_path.rglob(".*") if path.name.endswith((".new", ".intent", ".tmp"))
        ]
        self._expect(not hidden, f"half written: {hidden}")

    def _count_requests(self, saved: set[str]) -> None:
        """Count the media requests that begin with the first byte: two streams per video where nothing was repeated."""
        media = [entry for entry in self._emulator.log(kind="media") if entry["video_id"] in saved]
        first = [entry for entry in media if not entry["range"] or entry["range"].startswith("bytes=0-")]
        self._report.fetched = len(first) / max(1, 2 * len(saved))
        self._expect(self._report.fetched <= 2.0, f"media were fetched {self._report.fetched:.2f} times")


# --- a run ------------------------------------------------------------------------------------------------------------


async def run(seed: int, plan: Plan, folder: Path, emulator: EmulatorClient, process_pool: ProcessPool) -> Report:
    """Run the accidents of a seed in `folder`, which must not exist, and check the result."""
    rng, report, begun = random.Random(seed), Report(seed), time.monotonic()  # noqa: S311 - not for secrets
    cluster = new_cluster(folder, emulator, process_pool, **_SETTINGS)
    try:
        await cluster.broker.start()
        async with Supervisor(cluster), _jobs(cluster, emulator, plan, rng) as jobs:
            await Accidents(cluster, emulator, rng, report).run(plan)
            emulator.clear_faults()
            try:
                await Check(jobs, emulator, report).run()
            except AssertionError as error:
                report.problems.append(str(error))
    finally:
        cluster.end()
    report.seconds = time.monotonic() - begun
    return report


@asynccontextmanager
async def _jobs(
    cluster: Cluster, emulator: EmulatorClient, plan: Plan, rng: random.Random
) -> AsyncIterator[list[JobRun]]:
    """Submit a job for each playlist, each with one private video."""
    bus = await connect_bus(cluster.broker.settings, source="cli/chaos")
    try:
        async with aiohttp.ClientSession() as http:
            jobs = []
            for number in range(plan.playlists):
                playlist = f"PLchaos{rng.getrandbits(64):016x}{number:02d}"
                count = plan.videos // plan.playlists
                made = emulator.put_playlist(playlist, count=count, channel=sample.CHANNEL, private=[1])
                videos = list(made["entries"])
                jobs.append(JobRun(cluster, emulator, bus, http, playlist, videos, [videos.pop(1)]))
            for job_run in jobs:
                await job_run.submit()
            yield jobs
    finally:
        await bus.close()


@contextmanager
def program_pool() -> Iterator[ProcessPool]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        process_pool = ProcessPool(Path(folder))
        try:
            yield process_pool
        finally:
            process_pool.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="number of runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--videos", type=int, default=60, help="videos of each run")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, emulator_process() as emulator, program_pool() as pool:
        for seed in range(options.first, options.first + options.seeds):
            emulator.reset()
            report = asyncio.run(run(seed, Plan(videos=options.videos), Path(folder) / str(seed), emulator, pool))
            sys.stdout.write(report.line() + "\n")
            for problem in report.problems:
                sys.stdout.write(f"    {problem}\n")
            sys.stdout.flush()
            failed += bool(report.problems)
            shutil.rmtree(Path(folder) / str(seed), ignore_errors=True)
    sys.stdout.write(f"{options.seeds - failed} of {options.seeds} seeds without a problem\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
