"""Measure the page: `python -m tests.benchmarks.page [--size 50000]`.

Weight and first paint of the library of an archive of that many videos, the time from an event to its row, the memory
after an hour's worth of messages, and twenty tabs. Chromium of the system, a real `ytarchive up`; medians of five. The
bars are those of docs/performance.md.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from services.common.events import DownloadProgress
from services.common.messaging import connect_bus
from services.common.models import Progress
from services.common.names import SERVICES
from services.common.settings.load import Config, load_config
from services.storage.index.catalogue import Catalogue
from services.storage.index.schema import open_catalogue
from tests.benchmarks.archive_world import World
from ytarchive.running_stack import StackInfo, find_running

RUNS = 5
TABS = 20
HOUR = 7_200  # progress messages of one hour: two a second
_WEIGHT = """performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
  .filter((one) => !one.name.includes('/api/')).reduce((sum, one) => sum + one.transferSize, 0)"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def figure(name: str, value: float, unit: str, bar: float | None = None) -> bool:
    """Print a figure. Return whether it misses its bar."""
    missed = bar is not None and value > bar
    wanted = "" if bar is None else f"  (bar {bar:g} {unit}{', MISSED' if missed else ''})"
    print(f"{name:<58} {value:>10.1f} {unit}{wanted}", flush=True)  # noqa: T201 - the result
    return missed


def settings(folder: Path) -> dict[str, str]:
    ports = {f"YTARCHIVE_SERVICES__{name.upper()}__PORT": "0" for name in SERVICES}
    return ports | {
        "YTARCHIVE_WEB__PORT": "0",
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(folder / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(folder / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_UPDATES__CHECK": "false",
        "YTARCHIVE_FIXITY__INTERVAL_DAYS": "0",
        "YTARCHIVE_RECHECK__INTERVAL_DAYS": "0",
        "YTARCHIVE_REVISIT__AFTER": "[]",
        "YTARCHIVE_YOUTUBE__PROXY": "http://127.0.0.1:9",  # nothing leaves this machine
    }


@asynccontextmanager
async def running(env: Mapping[str, str]) -> AsyncIterator[tuple[StackInfo, Config]]:
    """Run `ytarchive up` until its page is served."""
    config = load_config(env=env)
    command = [sys.executable, "-m", "ytarchive", "up"]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **env}, stdout=nowhere, stderr=nowhere)
    try:
        while (info := find_running(config)) is None or info.web is None:
            assert process.returncode is None, "ytarchive up has ended"
            await asyncio.sleep(0.05)
        yield info, config
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def visitor(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A person with an empty cache."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        yield context
    finally:
        await context.close()


async def ready(page: Page, selector: str) -> float:
    """Return the milliseconds from the navigation until the selector is there, on the clock of the page."""
    await page.wait_for_selector(selector)
    found: float = await page.evaluate("performance.now()")
    return found


async def loading(browser: Browser, url: str, path: str, selector: str, bar: float | None) -> list[bool]:
    weights, paints, complete = [], [], []
    for _ in range(RUNS):
        async with visitor(browser) as context:
            page = await context.new_page()
            await page.goto(url + path)
            complete.append(await ready(page, selector))
            paints.append(float(await page.evaluate(_PAINT)))
            weights.append(float(await page.evaluate(_WEIGHT)) / 1000)
    return [
        figure(f"{path}: weight, compressed, without pictures and data", statistics.median(weights), "KB", 120),
        figure(f"{path}: first paint", statistics.median(paints), "ms", bar),
        figure(f"{path}: its content is there", statistics.median(complete), "ms"),
    ]


async def latency(browser: Browser, info: StackInfo, config: Config) -> bool:
    """From the publication of a message to the text on the page."""
    taken = []
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(f"{info.web}/activity")
        await page.wait_for_selector(".link.live")
        bus = await connect_bus(info.bus_settings(config), source="download/bench")
        for number in range(RUNS + 1):
            await asyncio.sleep(1.0)  # values of one moment are told together
            title = f"Bench {number}"
            begun = time.perf_counter()
            await bus.publish(progress(f"bench-{number:05}", title, 10 * number), trace_id="bench")
            await page.get_by_text(title).first.wait_for()
            taken.append(1000 * (time.perf_counter() - begun))
        await bus.close()
    return figure("live: from a message to its row", statistics.median(taken[1:]), "ms")


def progress(video_id: str, title: str, percent: float) -> DownloadProgress:
    return DownloadProgress(
        dispatch_id="bench.1", fetch_id="bench", job_id="bench", video_id=video_id, root="/", title=title,
        progress=Progress(current=int(percent), total=100, percentage=percent, message="", speed_bps=1e6),
    )  # fmt: skip


async def heap(page: Page) -> float:
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.enable")
    await session.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = await session.send("Runtime.getHeapUsage")
    await session.detach()
    return float(used["usedSize"]) / 1e6


async def an_hour(browser: Browser, info: StackInfo, config: Config) -> bool:
    """As many messages as two downloads cause in an hour, in a minute."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(f"{info.web}/activity")
        await page.wait_for_selector(".link.live")
        bus = await connect_bus(info.bus_settings(config), source="download/bench")
        for number in range(200):
            await bus.publish(progress("bench-hour1", "Warm", number / 2), trace_id="bench")
        before = await heap(page)
        for number in range(HOUR):
            await bus.publish(progress(f"bench-hour{number % 2}", f"Hour {number}", number % 100), trace_id="bench")
            if number % 100 == 0:
                await asyncio.sleep(0.6)  # so that the page draws them, as it would in an hour
        await page.get_by_text(f"Hour {HOUR - 1}").first.wait_for()
        await bus.close()
        grown = await heap(page) - before
        figure("an hour of messages: memory of the page before", before, "MB")
        return figure("an hour of messages: growth of it", grown, "MB", 2)


async def tabs(browser: Browser, info: StackInfo) -> bool:
    async with visitor(browser) as context:
        begun = time.perf_counter()
        for _ in range(TABS):
            page = await context.new_page()
            await page.goto(f"{info.web}/activity")
            await page.get_by_role("heading", level=1).wait_for()
        taken = time.perf_counter() - begun
        await page.wait_for_selector(".link.live")
        return figure(f"{TABS} tabs, one after the other: each", 1000 * taken / TABS, "ms")


async def measure(folder: Path, size: int) -> bool:
    env = settings(folder)
    config = load_config(env=env)
    if not (folder / "complete").exists():
        database = open_catalogue(config.storage.base_data_dir)
        await World(config.storage).fill(Catalogue(database), size)
        database.close()
        (folder / "complete").touch()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    missed = []
    async with running(env) as (info, config), async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        assert info.web is not None
        missed += await loading(browser, info.web, "/library", ".card", 1000)
        missed += await loading(browser, info.web, "/", ".card", None)
        missed.append(await latency(browser, info, config))
        missed.append(await an_hour(browser, info, config))
        missed.append(await tabs(browser, info))
        await browser.close()
    return any(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=50_000, help="videos of the archive")
    parser.add_argument("--keep", type=Path, help="keep the archive in this folder, and use it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return int(asyncio.run(measure(folder, options.size)))


if __name__ == "__main__":
    sys.exit(main())
