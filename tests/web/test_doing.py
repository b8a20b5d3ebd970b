"""What is done: add something, watch it being done, stop it, and find out why something is missing."""

import asyncio
import json
import re
from urllib.parse import quote

import aiohttp
import pytest
from playwright.async_api import expect

from tests.web.conftest import PLAYLIST, Served, Visit, expect_accessible
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import PLAYLIST_3, PLAYLIST_120, PLAYLIST_MISSING, VIDEO_OK, VIDEO_PRIVATE

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB_PATH = re.compile(r"/j/[\w-]+$")


async def demo_job(held: Served) -> dict[str, str]:
    """Return the job that saved the demo, which is the first of the archive."""
    async with aiohttp.ClientSession(held.url) as http, http.get("/api/v1/jobs") as response:
        jobs: list[dict[str, str]] = (await response.json())["data"]["jobs"]
    return jobs[-1]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
async def test_a_plan_a_job_and_a_story_are_accessible_and_fit(
    held: Served, visit: Visit, width: int, dark: bool
) -> None:
    job = await demo_job(held)
    for path in (f"/add?t={quote(PLAYLIST)}", f"/j/{job['job_id']}", f"/t/{job['trace_id']}"):
        page = await visit(held, path, width=width, dark=dark)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect_accessible(page)


async def test_from_the_paste_box_to_saved_videos_as_two_visitors_see_it(served: Served, visit: Visit) -> None:
    page = await visit(served)
    await page.get_by_label("Save a video, a playlist or a channel").fill(PLAYLIST_3)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Save 3 videos")).to_be_visible()
    await expect(page.get_by_role("img", name="3 are to be fetched, 0 are held, 0 are gone")).to_be_visible()
    await page.get_by_label("Quality").select_option("360p")
    await expect(page).to_have_url(re.compile("quality=360p"))
    await page.get_by_role("button", name="Save 3 videos").click()
    await expect(page).to_have_url(JOB_PATH)
    late = await visit(served, page.url.removeprefix(served.url))
    for one in (page, late):
        await expect(one.locator("header .about")).to_contain_text("done 3 videos: 3 saved")
        await expect(one.get_by_role("img", name="3 videos in the order of the list: 3 saved")).to_be_visible()
        await expect(one.get_by_role("row").filter(has_text="saved")).to_have_count(3)
    await late.get_by_role("link", name="Its story, step by step").click()
    await expect(late.get_by_role("listitem").filter(has_text="job completed")).to_be_visible()
    today = await visit(served)
    await expect(today.get_by_text("Nothing waits and nothing runs.")).to_be_visible()
    await expect(today.get_by_role("heading", name="Saved lately")).to_be_visible()


async def test_what_one_tab_does_with_a_job_another_tab_shows(served: Served, visit: Visit) -> None:
    async with (
        aiohttp.ClientSession(served.url) as http,
        http.post("/api/v1/jobs", json={"job_id": "long", "targets": [PLAYLIST_120]}) as response,
    ):
        assert response.status == 201
    first = await visit(served, "/j/long")
    second = await visit(served, "/activity")
    card = second.get_by_role("listitem").filter(has=second.get_by_role("button", name="Cancel", exact=True))
    await first.get_by_role("button", name="Pause").click()
    await expect(card.get_by_text("Paused by you. Resume it to go on.")).to_be_visible()
    await first.get_by_role("button", name="Resume").click()
    await expect(card.get_by_role("button", name="Pause")).to_be_visible()
    await card.get_by_text("What each video waits for").click()
    await card.get_by_role("button", name="Cancel", exact=True).click()
    await second.get_by_role("button", name="Cancel the job").click()
    await expect(first.locator("header .about")).to_contain_text(re.compile(r"\d+ videos: .*cancelled"))
    await expect(second.get_by_text("Nothing waits and nothing runs")).to_be_visible()
    history = await visit(served, "/activity?show=history&status=cancelled")
    await expect(history.get_by_role("link", name=re.compile("120"))).to_be_visible()


async def test_a_missing_video_is_tried_again(served: Served, visit: Visit) -> None:
    await asyncio.to_thread(served.cli, "download", VIDEO_PRIVATE)
    page = await visit(served, "/missing?reason=private")
    row = page.get_by_role("row").filter(has_text=VIDEO_PRIVATE)
    await row.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Try 1 video again now").click()
    await expect(row.get_by_role("cell").nth(3)).to_have_text("2")  # looks
    await page.get_by_role("link", name=re.compile("Saved since")).click()
    await expect(page.get_by_text("Nothing was missing and came later")).to_be_visible()


async def test_a_story_marks_what_failed_and_has_its_log_lines(held: Served, visit: Visit) -> None:
    page = await visit(held, f"/t/{(await demo_job(held))['trace_id']}")
    failed = page.get_by_role("listitem").filter(has_text="download failed").filter(has_text="Private")
    await failed.get_by_role("link").click()
    await expect(failed.get_by_role("link")).to_have_attribute("aria-current", "step")
    step = page.get_by_role("region", name=re.compile("download failed"))
    await expect(step.get_by_text("failure reason")).to_be_visible()
    await expect(step.get_by_role("listitem").filter(has_text="download failed")).to_be_visible()
    await page.get_by_text("The same as a table").click()
    steps = await page.locator(".story-steps > li").count()
    await expect(page.get_by_role("table", name="The steps of this story").locator("tbody tr")).to_have_count(steps)


async def test_logs_are_followed_and_lead_to_stories(held: Served, visit: Visit) -> None:
    page = await visit(held, "/logs?follow=1&service=jobs")
    await expect(page.get_by_text("New records appear here as they are written.")).to_be_visible()
    now = page.get_by_role("region", name="Now")
    async with aiohttp.ClientSession(held.url) as http, http.get("/api/v1/jobs/nowhere") as response:
        assert response.status == 404
    record = now.get_by_role("listitem").filter(has_text="There is no job nowhere").first
    await record.locator("summary").click()
    await record.get_by_role("link", name="What led to it, and what followed").click()
    await expect(page.get_by_role("heading", level=1, name="Story")).to_be_visible()
    await expect(page.get_by_role("listitem").filter(has_text="There is no job nowhere")).to_be_visible()


async def test_an_address_that_is_pasted_anywhere_or_shared_is_looked_at(held: Served, visit: Visit) -> None:
    page = await visit(held, "/library")
    await page.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.setData("text", text);
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        PLAYLIST,
    )
    await expect(page.get_by_label("Videos, playlists or channels, one per line")).to_have_value(PLAYLIST)
    await expect(page.get_by_text("Everything that can be had is held already.")).to_be_visible()
    shared = await visit(held, f"/add?title=Demo&text={quote('Look at this: ' + PLAYLIST)}")
    await expect(shared.get_by_text("Everything that can be had is held already.")).to_be_visible()


async def test_a_block_is_told_with_its_end_wherever_something_waits(
    served: Served, visit: Visit, youtube: EmulatorClient, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(youtube.reset)  # others fetch from it too
    youtube.set_kind("*", "bot_check")
    async with (
        aiohttp.ClientSession(served.url) as http,
        http.post("/api/v1/jobs", json={"job_id": "blocked", "targets": [VIDEO_OK]}) as response,
    ):
        assert response.status == 201
    job = await visit(served, "/j/blocked")
    await expect(job.get_by_text("waits for a retry").first).to_be_visible()
    reason = job.get_by_text(re.compile(r"The next attempt is at \d\d:\d\d UTC"))
    await expect(reason).to_be_visible()
    text = await reason.inner_text()
    activity = await visit(served, "/activity")
    await expect(activity.get_by_role("listitem").filter(has_text=text)).to_have_count(2)  # above the queue, and in it
    today = await visit(served)
    needs = today.get_by_role("region", name="Needs you")
    await expect(needs.get_by_text(text)).to_be_visible()
    await expect(needs.get_by_text(re.compile("until"))).to_be_visible()
    await expect_accessible(today)
    await needs.get_by_role("link", name="A job waits").click()
    await expect(today).to_have_url(f"{served.url}/j/blocked")


async def test_a_plan_is_streamed_as_far_as_it_is_known(held: Served) -> None:
    async with aiohttp.ClientSession(held.url) as http:

        async def plan(**query: str) -> tuple[int, list[tuple[str, str]]]:
            async with http.get("/api/v1/plan", params=query) as response:
                text = await response.text()
                blocks = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\r\n\r\n")]
                events = [(one["event"], one["data"]) for one in blocks if "event" in one]
                return response.status, events if response.status == 200 else [("refused", text)]

        status, events = await plan(targets=f"{PLAYLIST} {VIDEO_PRIVATE}", captions="none")
        assert (status, {name for name, _data in events[:-1]}, events[-1][0]) == (200, {"step"}, "plan")
        assert '"read":12,"total":12' in "".join(data for _name, data in events)
        answer = json.loads(events[-1][1])
        assert (len(answer["videos"]), answer["left_out"], answer["options"]["include_captions"]) == (12, 0, False)
        assert {video["state"] for video in answer["videos"]} == {"held", "gone"}
        assert answer["plan"]["estimate"]["held"] == 10
        assert (await plan(targets=PLAYLIST_MISSING))[1][-1][0] == "problem"
        for wrong in ({"targets": "nonsense!"}, {"targets": VIDEO_OK, "quality": "best["}, {"target": VIDEO_OK}):
            status, ((_name, text),) = await plan(**wrong)
            assert (status, "E007" in text) == (400, True), wrong
