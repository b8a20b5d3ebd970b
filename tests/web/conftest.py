"""The page in the system's Chromium, on a real stack whose YouTube is the emulator.

A test fails on whatever a person would find in the console of the browser: an error, a violation of the policy, a
request to another origin, an answer of 500 or more. Where there is no Chromium these tests are skipped, and say so.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    async_playwright,
    expect,
)

from tests.conftest import Cli
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import DEMO_PLAYLIST
from ytarchive.web.assets import FOLDER

expect.set_options(timeout=30_000)  # ms: other tests may have the processors meanwhile
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PLAYLIST = f"https://www.youtube.com/playlist?list={DEMO_PLAYLIST}"
# --no-sandbox: tests may run as root. The others keep the browser from asking hosts of its own.
_ARGUMENTS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot be run here, with the remedy."""
    missing = None
    if CHROMIUM is None:
        missing = "no Chromium on PATH: apt install chromium"
    elif not (FOLDER / "index.html").is_file():
        missing = "the page is not built: make page"
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if missing is not None and os.environ.get("CI") != "true":  # CI has both, or fails
            item.add_marker(pytest.mark.skip(reason=missing))


@dataclass
class Served:
    """A running system with its page at `url`."""

    cli: Cli
    url: str


Serve = Callable[..., Served]


def serve(cli: Cli) -> Served:
    up = cli.start("up")
    up.wait_for("Ready.")
    line = next(line for line in up.out.read_text().splitlines() if line.startswith("page"))
    return Served(cli, line.split()[1])


@pytest.fixture(scope="session")
def held(cli_at: Callable[..., Cli], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A system whose archive has the videos of the demo: ten saved, two unavailable. It follows the list, and wants
    nothing of it. Tests only look at it."""
    with ExitStack() as resources:
        cli = replace(cli_at(tmp_path_factory.mktemp("page") / "home"), resources=resources)
        served = serve(cli)
        assert cli("download", PLAYLIST, "--captions", "en,de").code == 3
        assert cli("follow", "add", PLAYLIST, "--title-exclude", ".").code == 0
        assert cli("follow", "run", PLAYLIST).code == 0
        yield served


@pytest.fixture
def served(make_cli: Callable[..., Cli]) -> Served:
    """A system with an empty archive, for one test."""
    return serve(make_cli())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        await browser.close()


_OFFLINE = "net::ERR_"  # what the browser reports of each request meanwhile


@dataclass
class Watched:
    """What must not happen on a page. `allowed`: statuses of answers that a test causes on purpose; `offline`: the test
    takes the network away."""

    origin: str
    allowed: set[int] = field(default_factory=set)
    offline: bool = False
    faults: list[str] = field(default_factory=list)

    def attach(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        expected = [f"status of {status}" for status in self.allowed] + [_OFFLINE] * self.offline
        if message.type == "error" and not any(text in message.text for text in expected):
            self.faults.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in {"http", "https"} and f"{url.scheme}://{url.netloc}" != self.origin:
            self.faults.append(f"request to another origin: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500 and response.status not in self.allowed:
            self.faults.append(f"{response.status} for {response.url}")


Visit = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """`page = await visit(served, "/library", width=360, dark=True)`: a page of a person of its own."""
    contexts: list[BrowserContext] = []
    watches: list[Watched] = []

    async def open_page(
        served: Served,
        path: str = "/",
        *,
        width: int = 1280,
        dark: bool = False,
        context: BrowserContext | None = None,
        allowed: Collection[int] = (),
        offline: bool = False,
    ) -> Page:
        """`allowed`: statuses of answers, from 400 on, that the test causes on purpose."""
        if context is None:
            context = await browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light",
                reduced_motion="reduce", locale="en-GB",
            )  # fmt: skip
            watched = Watched(served.url, set(allowed), offline)
            watched.attach(context)
            contexts.append(context)
            watches.append(watched)
        page = await context.new_page()
        page.set_default_timeout(30_000)
        await page.goto(served.url + path)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert not [fault for watched in watches for fault in watched.faults]


async def until(page: Page, expression: str, within: float = 30.0) -> None:
    """Wait until a JavaScript expression is true. (Playwright's own wait evaluates text, which the policy forbids.)"""
    deadline = time.monotonic() + within
    while not await page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < deadline, f"not true within {within} s: {expression}"
        await asyncio.sleep(0.05)


async def expect_accessible(page: Page) -> None:
    """That it fits and that axe finds nothing, as it is shown now."""
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"
    found = await Axe().run(page)
    assert not found.response["violations"], found.generate_report()


@pytest.fixture
def youtube(emulator: EmulatorClient) -> EmulatorClient:
    """The emulator that the stacks of these tests fetch from, without faults."""
    return emulator
