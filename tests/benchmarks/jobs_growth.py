"""Measure how the jobs side grows with the size of a list.

    python -m tests.benchmarks.jobs_growth [SIZE ...] [--videos]

For each size (1,000, 5,000 and 20,000 by default) a new system lists a playlist of the emulator; with `--videos` the
job names its videos itself. No worker takes part, so that all videos end up in the queue. Seconds of wall-clock time,
CPU seconds of our own process and of its children (broker, yt-dlp, emulator), and milliseconds of single requests and
commands (the median of several).
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from services.common.infra import logs
from services.common.settings.load import Config, load_config
from services.jobs.adapters.unit_of_work import SqlRows
from services.jobs.service import JobsService
from tests.benchmarks.archiving import processor_time, run
from tests.fixtures.emulated import emulator_variables
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

SIZES = (1_000, 5_000, 20_000)
SERVICES = ("jobs", "metadata", "storage", "logging")  # nobody downloads
SAMPLES = 15
COMMANDS = 3
LARGEST = 20_000
_YTARCHIVE = str(Path(sys.executable).parent / "ytarchive")

Figures = dict[str, float]


class Growth:
    def __init__(self, folder: Path, emulator: EmulatorClient, size: int, *, videos: bool) -> None:
        ports = {
            f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING")
        }
        self.env = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            **ports,
            **emulator_variables(emulator, folder / "data", folder / "archive"),
        }
        self.config: Config = load_config(env=self.env, cwd=folder)
        self.size = size
        self.target = f"PLgrowth{size:024d}"
        self.targets = [f"v{number:010d}" for number in range(size)] if videos else [self.target]
        self.figures: Figures = {}
        if not videos:
            emulator.put_playlist(self.target, count=size, channel=sample.CHANNEL)

    async def measure(self) -> Figures:
        async with Stack(self.config, SERVICES, embedded=True) as stack, aiohttp.ClientSession() as http:
            jobs = stack.services["jobs"]
            assert isinstance(jobs, JobsService)
            base = f"{jobs.url}/api/v1/jobs"
            begun, cpu, whole = time.monotonic(), time.process_time(), processor_time(os.getpid())
            job_id = await self.create(http, base)
            await self.queued(jobs, job_id)
            self.figures["all queued, s"] = time.monotonic() - begun
            own = time.process_time() - cpu
            self.figures["all queued, CPU s"] = own
            self.figures["children, CPU s"] = processor_time(os.getpid()) - whole - own
            await self.pages(http, f"{base}/{job_id}/items")
            await self.timed("GET jobs/ID, ms", lambda: _get(http, f"{base}/{job_id}"))
            for words in ("", "--json", "--all"):
                await self.show(job_id, *words.split())
        return self.figures

    async def create(self, http: aiohttp.ClientSession, base: str) -> str:
        async with http.post(base, json={"targets": self.targets}) as response:
            answer = await response.json()
        assert response.status == 201, answer
        return str(answer["data"]["job_id"])

    async def queued(self, jobs: JobsService, job_id: str) -> None:
        """Wait until every video of the job is in the queue."""
        while True:
            job = await jobs.parts.reader.find(job_id)
            if job is not None and job.listed and await jobs.parts.store.read(_waiting) == self.size:
                return
            await asyncio.sleep(0.05)

    async def pages(self, http: aiohttp.ClientSession, url: str) -> None:
        last = self.size - 100
        await self.timed("last page by offset, ms", lambda: _get(http, f"{url}?limit=100&offset={last}"))
        before = await _get(http, f"{url}?limit=1&offset={last - 1}")
        await self.timed("last page by cursor, ms", lambda: _get(http, f"{url}?limit=100&after={before['next']}"))

    async def timed(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        taken = []
        for _ in range(SAMPLES):
            begun = time.perf_counter()
            await work()
            taken.append(time.perf_counter() - begun)
        self.figures[what] = statistics.median(taken) * 1000

    async def show(self, job_id: str, *words: str) -> None:
        command = [_YTARCHIVE, "jobs", "show", job_id, *words]
        costs = [await asyncio.to_thread(run, command, self.env) for _ in range(COMMANDS)]
        self.figures[f"{' '.join(('jobs show', *words))}, s"] = statistics.median(cost.seconds for cost in costs)


def _waiting(_rows: SqlRows, sql: object) -> int:
    (number,) = sql.execute("SELECT count(*) FROM items WHERE status = 'waiting'").fetchone()  # type: ignore[attr-defined]
    return int(number)


async def _get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        data: dict[str, Any] = json.loads(await response.read())["data"]
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--videos", action="store_true", help="the job names its videos itself")
    options = parser.parse_args()
    table: list[Figures] = []
    logs.setup(console="WARNING")
    with emulator_process() as emulator:
        for size in options.sizes:
            with tempfile.TemporaryDirectory(prefix="growth-") as folder:
                growth = Growth(Path(folder), emulator, size, videos=options.videos)
                table.append(asyncio.run(growth.measure()))
    sys.stdout.write(f"{'videos':26}" + "".join(f"{size:>10,}" for size in options.sizes) + "\n")
    for what in table[0]:
        sys.stdout.write(f"{what:26}" + "".join(f"{figures[what]:>10.2f}" for figures in table) + "\n")


if __name__ == "__main__":
    main()
