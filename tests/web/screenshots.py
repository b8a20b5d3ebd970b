"""The pictures of the page in docs/images: `make screenshots`. They show the archive of the demo, at 1280 pixels."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright, expect

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
            await page.goto(url + path)
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            await expect(page.locator("[aria-busy=true]")).to_have_count(0)
            await page.evaluate("Promise.all([...document.images].map((one) => one.decode().catch(() => {})))")
            if await page.locator("video").count():
                await page.evaluate("document.querySelector('video').pause()")
            await page.screenshot(path=IMAGES / f"{name}.png")
        await browser.close()


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
