"""The page without its services, with services that come and go, and on a port that is taken."""

import signal
import socket
from collections.abc import Callable

import pytest
from playwright.async_api import expect

from tests.conftest import Cli
from tests.web.conftest import Served, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_page_waits_for_services_and_finds_them_again(make_cli: Callable[..., Cli], visit: Visit) -> None:
    cli = make_cli(YTARCHIVE_WEB__ENABLED="false")
    alone = cli.start("web")
    alone.wait_for("Ready.")
    url = next(line.split()[1] for line in alone.out.read_text().splitlines() if line.startswith("page"))
    page = await visit(Served(cli, url), "/library", allowed={503})
    await expect(page.get_by_role("alert").first).to_contain_text("Start them with `ytarchive up`.")

    for _ in range(2):  # the second system has other ports
        up = cli.start("up")
        up.wait_for("Ready.")
        assert "page" not in up.out.read_text()
        await expect(page.get_by_text("Nothing is saved yet")).to_be_visible()
        await expect(page.get_by_role("link", name="Live")).to_be_visible()
        up.signal(signal.SIGTERM)
        assert up.end().code == 0
        await expect(page.get_by_role("link", name="Not connected: what you see may be old")).to_be_visible()
    alone.signal(signal.SIGTERM)
    assert alone.end().code == 0


async def test_a_taken_port_keeps_nobody_from_starting(make_cli: Callable[..., Cli]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cli = make_cli(YTARCHIVE_WEB__PORT=str(port))
        up = cli.start("up")
        up.wait_for("Ready.")
        assert f"The page is not served. The web service cannot start: port localhost:{port} is taken" in (
            " ".join((up.out.read_text() + up.err.read_text()).split())
        )
        assert "YTARCHIVE_WEB__PORT" in up.err.read_text()
        assert cli("web").code == 2
