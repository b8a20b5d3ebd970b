"""Each page: complete, accessible, usable by keyboard, at both widths, light and dark."""

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Route, expect

from services.common.targets import follow_id_of
from tests.web.conftest import PLAYLIST, Served, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = [
    "/",
    "/library",
    "/library?view=table&sort=-upload_date",
    "/library?view=list",
    "/library?show=channels",
    "/library?show=playlists",
    "/search?q=hello",
    "/search?q=hello&year=2024",
    "/p/PLemulator0000000000000000000demo",
    "/p/PLemulator0000000000000000000demo?state=missing",
    "/c/UCemulator0000000000demo",
    "/activity",
    "/care",
    "/settings",
    "/system",
    "/v/demo-000002",
    "/v/demo-000001?tab=provenance",
    "/activity?show=history",
    "/add",
    "/follow",
    f"/follow/{follow_id_of(PLAYLIST)}",
    "/logs",
    "/missing",
    "/login",
]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_accessible_and_fits(held: Served, visit: Visit, path: str) -> None:
    """At both widths, light and dark."""
    page = await visit(held, path)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    for width in (1280, 360):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width} px"
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            found = await Axe().run(page)
            assert not found.response["violations"], f"{width} px, {scheme}: {found.generate_report()}"


async def test_a_page_that_was_open_during_an_update_is_loaded_again(held: Served, visit: Visit) -> None:
    page = await visit(held, "/", allowed={404})
    gone = False

    async def not_there(route: Route) -> None:
        nonlocal gone
        gone = True
        await route.fulfill(status=404, body="")

    await page.route("**/assets/activity-*.js", not_there, times=1)
    await page.get_by_role("navigation", name="Places").get_by_role("link", name="Activity").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Activity")
    assert gone


async def test_places_are_reached_by_keys_alone(held: Served, visit: Visit) -> None:
    page = await visit(held, "/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="To the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("go to Library")
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("g l hello")  # text, not a place
    await expect(page.get_by_role("searchbox")).to_have_value("g l hello")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{held.url}/search?q=g%20l%20hello")
    await page.locator("main").focus()
    await page.keyboard.press("g")
    await page.keyboard.press("a")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Activity")
