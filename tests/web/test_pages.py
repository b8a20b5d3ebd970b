"""Each page: complete, accessible, usable by keyboard, at both widths, light and dark."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.web.conftest import Served, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = ["/", "/library", "/activity", "/activity?show=history", "/add", "/missing", "/logs", "/system"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
async def test_a_page_is_accessible_and_fits(held: Served, visit: Visit, path: str, width: int, dark: bool) -> None:
    page = await visit(held, path, width=width, dark=dark)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"
    found = await Axe().run(page)
    assert not found.response["violations"], found.generate_report()
