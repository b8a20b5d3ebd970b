"""Watching: a video plays with sound and captions, at the moment that was searched for; what is said is beside it."""

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import Served, Visit, until
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIDEO = "document.querySelector('video')"
PLAYS = f"{VIDEO}?.videoWidth > 0 && {VIDEO}.webkitAudioDecodedByteCount > 0 && {VIDEO}.currentTime >= 1"


async def current_time(page: Page) -> float:
    found: float = await page.evaluate("document.querySelector('video').currentTime")
    return found


async def test_a_moment_plays_with_sound_and_captions(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_TWO_CAPTIONS}?at=1")
    await until(page, PLAYS)

    await page.keyboard.press("c")
    shown = "[...document.querySelector('video').textTracks].find((track) => track.mode === 'showing')"
    await until(page, f"{shown}?.cues?.length === 2")
    assert "hello" in await page.evaluate(f"{shown}.cues[0].text")


async def test_what_is_said_follows_is_searched_and_jumps(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_TWO_CAPTIONS}")
    transcript = page.get_by_role("region", name="Transcript")
    await expect(transcript.get_by_role("button")).to_have_count(2)
    await transcript.get_by_label("Language").select_option("de")
    await expect(transcript.get_by_role("button").first).to_contain_text("(de)")
    await transcript.get_by_role("searchbox").fill("GOODBYE")
    await expect(transcript.get_by_role("status")).to_have_text("1 line")
    await expect(transcript.locator("mark")).to_have_text("goodbye")
    await transcript.get_by_role("button", name="goodbye").click()
    await until(page, PLAYS)
    await transcript.get_by_role("searchbox").fill("")
    await expect(transcript.get_by_role("button", name="goodbye")).to_have_attribute("aria-current", "true")


async def test_the_video_goes_on_in_a_corner(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_OK}?at=0")
    await until(page, "document.querySelector('video')?.readyState >= 2")
    await page.evaluate("video = document.querySelector('video'); video.loop = true; video.dataset.same = 'yes'")
    await page.get_by_role("link", name="Library").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Library")
    corner = page.get_by_role("region", name="Player")
    await expect(corner).to_be_visible()
    assert await page.evaluate("document.querySelector('video').dataset.same") == "yes"  # it was not loaded again
    await until(page, "!document.querySelector('video').paused")
    await corner.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Loopback, part 1: Hello")
    await page.get_by_role("link", name="Library").click()
    await page.get_by_role("button", name="Stop and close the player").click()
    await expect(corner).to_have_count(0)


async def test_keys_are_those_of_youtube(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_NO_CAPTIONS}")
    await until(page, "document.querySelector('video')?.readyState >= 1")
    await page.evaluate("video = document.querySelector('video'); video.loop = true; video.pause()")
    await page.keyboard.press("5")
    assert await current_time(page) == pytest.approx(1.0, abs=0.2)
    await page.keyboard.press("j")
    assert await current_time(page) == 0
    await page.keyboard.press(">")
    assert await page.evaluate("document.querySelector('video').playbackRate") == 1.25
    await page.keyboard.press("m")
    assert await page.evaluate("document.querySelector('video').muted") is True
    await page.keyboard.press("k")
    await until(page, "!document.querySelector('video').paused")
    await page.keyboard.press(" ")
    await until(page, "document.querySelector('video').paused")
    await page.keyboard.press("g")
    await page.keyboard.press("l")  # a place, not ten seconds
    await expect(page.get_by_role("heading", level=1)).to_have_text("Library")


async def test_a_video_is_continued_where_somebody_was(held: Served, visit: Visit) -> None:
    page = await visit(held, "/")
    note = """(id) => fetch(`/api/v1/storage/watching/${id}`, {method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({position_seconds: 63.5, duration_seconds: 600})}).then((answer) => answer.status)"""
    assert await page.evaluate(note, sample.VIDEO_480P) == 200
    await page.goto(f"{held.url}/v/{sample.VIDEO_480P}")
    await expect(page.get_by_text("Continued at 1:03.")).to_be_visible()
    await page.get_by_role("button", name="From the beginning").click()
    await expect(page.get_by_text("Continued at 1:03.")).to_have_count(0)


async def test_everything_that_is_known_has_a_tab(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_OK}")
    tabs = page.get_by_role("navigation", name="What to show")
    await page.get_by_role("button", name="0:01").first.click()  # a time in the description
    await until(page, "document.querySelector('video')?.currentTime >= 1")
    await tabs.get_by_role("link", name="Chapters").click()
    await expect(page.get_by_role("button", name="End")).to_be_visible()
    await tabs.get_by_role("link", name="History").click()
    await expect(page.get_by_role("table", name="What happened to this video")).to_contain_text("was saved")
    await tabs.get_by_role("link", name="Provenance").click()
    await expect(page.get_by_role("table", name="Files with their SHA-256")).to_contain_text(f"{sample.VIDEO_OK}.mp4")
    await tabs.get_by_role("link", name="Files").click()
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="List for sha256sum -c").click()
    assert (await downloading.value).suggested_filename == f"{sample.VIDEO_OK}.sha256"


async def test_what_is_not_held_says_so(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/v/{sample.VIDEO_DELETED}", allowed={404})
    await expect(page.get_by_text("This video is no longer on YouTube, and was not saved")).to_be_visible()
    never = await visit(held, "/v/never-saved", allowed={404})
    await expect(never.get_by_text("This video is not in the archive")).to_be_visible()
    await expect(never.get_by_role("link", name="Save it")).to_have_attribute("href", "/add?t=never-saved")
