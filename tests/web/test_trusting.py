"""Trusting: damage is found and repaired, and seen on the page; the system, the doctor, the settings."""

from collections.abc import Callable

import pytest
from playwright.async_api import expect

from tests.conftest import Cli
from tests.web.conftest import Served, Visit, serve
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_damaged_byte_is_found_and_repaired(make_cli: Callable[..., Cli], visit: Visit) -> None:
    cli = make_cli()
    served = serve(cli)
    assert cli("download", sample.VIDEO_OK).code == 0
    page = await visit(served, "/care")
    await expect(page.get_by_text("Nothing was verified yet")).to_be_visible()
    film = cli.mp4(sample.VIDEO_OK)
    whole = film.read_bytes()
    film.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])

    await page.get_by_role("button", name="Verify everything").click()
    await page.get_by_role("button", name="Verify now").click()
    found = page.get_by_role("table", name="What the last verification found")
    await expect(found).to_contain_text(f"{sample.VIDEO_OK}.mp4", timeout=60_000)
    await expect(found.get_by_text("repaired", exact=True)).to_be_visible(timeout=60_000)
    assert film.read_bytes() == whole
    await found.get_by_role("link", name=sample.VIDEO_OK).first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Loopback, part 1: Hello")


async def test_the_system_and_its_doctor(held: Served, visit: Visit) -> None:
    page = await visit(held, "/system")
    await expect(page.get_by_text("All 5 services are well.")).to_be_visible()
    await expect(page.get_by_text("None. Every message was handled.")).to_be_visible()
    await page.get_by_role("button", name="Examine", exact=True).click()
    checks = page.get_by_role("table", name="Checks of this installation")
    await expect(checks.get_by_role("row").filter(has_text="ffmpeg")).to_contain_text("good")


async def test_settings_are_found_and_say_where_they_come_from(held: Served, visit: Visit) -> None:
    page = await visit(held, "/settings")
    await page.get_by_role("searchbox", name="Find").fill("base_path")
    await expect(page.get_by_role("status").filter(has_text="key")).to_have_text("1 key")
    row = page.get_by_role("row").filter(has_text="base_path")
    await expect(row).to_contain_text("YTARCHIVE_STORAGE__BASE_PATH")
    await expect(row).to_contain_text(str(held.cli.archive))
    assert "cookies" not in await page.get_by_role("main").inner_text()
