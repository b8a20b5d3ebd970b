"""Many tabs: they share one stream, and each shows the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import expect

from bus.tasks import cancel_and_wait
from services.common.events import DownloadProgress
from services.common.messaging import connect_bus
from services.common.models import Progress
from services.common.settings.load import load_config
from tests.web.conftest import Served, Visit
from ytarchive.emulator.site import sample
from ytarchive.running_stack import find_running

pytestmark = pytest.mark.asyncio(loop_scope="session")
TABS = 9  # more than the connections that a browser opens to one host


def progress(title: str) -> DownloadProgress:
    return DownloadProgress(
        dispatch_id="tabs.1", fetch_id="tabs", job_id="tabs", video_id="tabs-video1", root="/", title=title,
        progress=Progress(current=5, total=10, percentage=50, message="", speed_bps=1000, eta_seconds=3),
    )  # fmt: skip


async def test_tabs_share_one_stream_and_take_it_over(served: Served, visit: Visit) -> None:
    first = await visit(served, "/activity")
    tabs = [first, *[await visit(served, "/activity", context=first.context) for _ in range(TABS - 1)]]
    for page in tabs:
        await expect(page.get_by_role("link", name="Live")).to_be_visible()
    config = load_config(env=served.cli.env)
    running = await asyncio.to_thread(find_running, config)
    assert running is not None
    bus = await connect_bus(running.bus_settings(config), source="download/test")
    try:
        await bus.publish(progress("Begins now"), trace_id="tabs")
        for page in tabs:
            await expect(page.get_by_text("Begins now", exact=True)).to_be_visible()
        late = await visit(served, "/activity", context=first.context)
        await expect(late.get_by_text("Begins now", exact=True)).to_be_visible()

        await first.close()  # it had the stream
        await bus.publish(progress("Goes on"), trace_id="tabs")
        for page in [*tabs[1:], late]:
            await expect(page.get_by_text("Goes on", exact=True)).to_be_visible()
    finally:
        await bus.close()


@asynccontextmanager
async def cuttable(served: Served) -> AsyncIterator[tuple[Served, asyncio.Event]]:
    """A way to the page that ends all connections, and takes no more, while the event is set."""
    cut = asyncio.Event()
    port = int(served.url.rpartition(":")[2])
    tasks: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if cut.is_set():
            writer.close()
            return
        upstream, there = await asyncio.open_connection("127.0.0.1", port)
        both = {asyncio.create_task(copy(reader, there)), asyncio.create_task(copy(upstream, writer))}
        tasks.update(both)
        gone = asyncio.create_task(cut.wait())
        await asyncio.wait({*both, gone}, return_when=asyncio.FIRST_COMPLETED)
        for side in (writer, there):
            side.close()
        await cancel_and_wait([gone, *both])

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield Served(served.cli, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), cut
    finally:
        cut.set()
        server.close()
        await cancel_and_wait(tasks)


async def test_who_was_offline_sees_what_the_others_see(served: Served, visit: Visit) -> None:
    async with cuttable(served) as (by_wire, cut):
        away = await visit(by_wire, "/activity?show=history", offline=True)
        there = await visit(served, "/activity?show=history")
        for page in (away, there):
            await expect(page.get_by_role("link", name="Live")).to_be_visible()
        cut.set()
        await expect(away.get_by_role("link", name="Not connected: what you see may be old")).to_be_visible()
        ran = await asyncio.to_thread(served.cli, "download", sample.VIDEO_OK, sample.VIDEO_DELETED)
        assert ran.code == 3
        await expect(there.get_by_text("1 saved, 1 unavailable").first).to_be_visible()
        assert await away.get_by_text("1 saved, 1 unavailable").count() == 0
        cut.clear()
        await expect(away.get_by_text("1 saved, 1 unavailable").first).to_be_visible(timeout=30_000)
        await expect(away.get_by_role("link", name="Live")).to_be_visible()
        for page in (away, there):
            await page.get_by_role("navigation", name="Places").get_by_role("link", name="Library").click()
            await expect(page.get_by_role("main").get_by_text("Loopback, part 1: Hello")).to_be_visible()
        await away.context.close()
