"""The pictures of the page in docs/images: `make screenshots`. They show the archive of the demo, at 1280 pixels."""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect

from ytarchive.emulator.site import sample

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PAGES = {
    "today": "/",
    "add": f"/add?t=https://www.youtube.com/playlist?list={sample.DEMO_PLAYLIST}",
    "activity": "/activity?show=history",
    "library": "/library",
    "watch": f"/v/{sample.VIDEO_TWO_CAPTIONS}?at=1",
    "search": "/search?q=hello",
    "missing": "/missing",
    "care": "/care",
    "system": "/system",
    "logs": "/logs",
    "settings": "/settings",
}


async def take(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context(
            viewport={"width": 1280, "height": 800}, locale="en-GB", reduced_motion="reduce"
        )
        page = await context.new_page()
        await page.goto(url)
        job = await page.evaluate("fetch('/api/v1/jobs?limit=1').then((it) => it.json()).then((it) => it.data.jobs[0])")
        pages = PAGES | {"job": f"/j/{job['job_id']}", "story": f"/t/{job['trace_id']}"}
        for name, path in pages.items():
            await _picture(page, name, url + path)
        await _follow(page, url)
        await browser.close()


async def _follow(page: Page, url: str) -> None:
    """Last, because what is followed fetches more."""
    rules = {"title_exclude": "lecture 3[24]"}
    channel = f"https://www.youtube.com/{sample.CHANNEL_HANDLE}"
    await _request(page, "/api/v1/follows", {"target": channel, "last": 6, "options": {"rules": rules}})
    await _request(page, "/api/v1/follows", {"target": sample.PLAYLIST_3, "every_seconds": 43_200})
    await page.goto(f"{url}/follow")
    await expect(page.get_by_text(re.compile("Found last: "))).to_have_count(2)
    await _picture(page, "follow", f"{url}/follow")
    await page.get_by_role("link", name="Loopback Lectures").click()
    await expect(page.get_by_role("row").filter(has_text="wanted held")).to_have_count(6)
    await _picture(page, "follow-one", page.url)


async def _request(page: Page, path: str, body: object) -> None:
    send = """([path, body]) => fetch(path, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
    }).then((answer) => answer.ok)"""
    assert await page.evaluate(send, [path, body])


async def _picture(page: Page, name: str, address: str) -> None:
    await page.goto(address)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await page.evaluate("Promise.all([...document.images].map((one) => one.decode().catch(() => {})))")
    if await page.locator("video").count():
        await page.evaluate("document.querySelector('video').pause()")
    await page.screenshot(path=IMAGES / f"{name}.png")


def main() -> None:
    folder = Path(tempfile.gettempdir(), "ytarchive-demo")  # some pictures show it
    demo = [sys.executable, "-m", "ytarchive", "demo", "--fresh", "--serve", "--dir", str(folder)]
    with subprocess.Popen(demo, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            line = next(line for line in running.stdout if line.startswith("The page of the demo:"))
            asyncio.run(take(line.split()[-1]))
        finally:
            running.terminate()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
