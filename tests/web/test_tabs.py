"""Many tabs: they share one stream, and each shows the same."""

import asyncio

import pytest
from playwright.async_api import expect

from services.common.events import DownloadProgress
from services.common.messaging import connect_bus
from services.common.models import Progress
from services.common.settings.load import load_config
from tests.web.conftest import Served, Visit
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
