"""Channels and playlists that are looked at by themselves: rules are tried, and why the rest is left out is listed."""

import json
import re
from collections.abc import Callable

import aiohttp
import pytest
from playwright.async_api import expect

from services.common.domain.follows import Follow
from services.common.targets import follow_id_of
from tests.web.conftest import PLAYLIST, Served, Visit, expect_accessible, until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import HOSTILE_TITLE, OTHER_CHANNEL, OTHER_CHANNEL_HANDLE, VIDEO_OK

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHANNEL = f"https://www.youtube.com/{OTHER_CHANNEL_HANDLE}"
TARGET = "Follow a channel or playlist"
Publish = Callable[..., None]


@pytest.fixture
def publish(youtube: EmulatorClient) -> Publish:
    """`publish("other-00001", title="A talk")`: upload a video to the other channel."""
    uploads: list[str] = []

    def put(video_id: str, channel: str = "Second Source", **video: object) -> None:
        told = {"title": f"About {video_id}", "channel": OTHER_CHANNEL, "duration": 3} | video
        youtube.put_video(video_id, **told)
        uploads.insert(0, video_id)
        youtube.put_channel(OTHER_CHANNEL, handle=OTHER_CHANNEL_HANDLE, title=channel, uploads=uploads)

    return put


async def follow(served: Served, target: str, **body: object) -> Follow:
    async with (
        aiohttp.ClientSession(served.url) as http,
        http.post("/api/v1/follows", json={"target": target} | body) as response,
    ):
        assert response.status == 201, await response.text()
        return Follow.model_validate(json.loads(await response.text())["data"])


async def test_rules_are_tried_then_a_channel_is_followed_and_a_left_out_video_taken(
    served: Served, visit: Visit, publish: Publish
) -> None:
    publish("other-00001")
    publish("other-00002", title="Trailer of the next one")
    publish("other-00003", duration=1)
    publish("other-00004", title="The newest talk")
    page, other = await visit(served, "/follow"), await visit(served, "/follow")
    await expect(page.get_by_text("Nothing is followed yet")).to_be_visible()

    await page.get_by_label(TARGET).fill(CHANNEL)
    await page.get_by_text("Which of its videos", exact=True).click()
    await page.get_by_label("No titles that match").fill("trailer")
    await page.get_by_label("At least this long").fill("soon")
    await page.get_by_role("button", name="Try the rules").click()
    await expect(page.get_by_role("alert")).to_have_text("soon is no length: write 90s, 2m or 1h30m.")
    await page.get_by_label("At least this long").fill("2s")
    await page.get_by_role("button", name="Try the rules").click()
    trial = page.get_by_role("region", name="What the rules would do", exact=True)
    await expect(trial.get_by_text("Of the newest 4 videos, 2 wanted, 2 left out.").first).to_be_visible()
    await expect(trial.get_by_role("row").filter(has_text="Trailer")).to_contain_text("its title matches 'trailer'")
    await expect(trial.get_by_role("row").filter(has_text="newest talk")).to_contain_text("wanted")
    await expect_accessible(page)
    await page.get_by_label("No titles that match").fill("trailers?")
    await expect(trial.get_by_text("Something was changed since.")).to_be_visible()
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile(r"/follow/[0-9a-f]{12}$"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Second Source")
    await expect(page.get_by_text("the title does not match “trailers?”")).to_be_visible()
    found = page.get_by_role("table", name="What was found")
    await expect(found.get_by_role("row").filter(has_text="wanted")).to_have_count(2)
    await expect(found.get_by_role("row").filter(has_text="other-00003")).to_contain_text(
        "it is shorter than 2 s (1 s)"
    )
    card = other.get_by_role("listitem").filter(has=other.get_by_role("link", name="Second Source"))
    await expect(card).to_contain_text("2 wanted, 2 left out")
    await expect(card).to_contain_text("Found last: The newest talk")

    await page.get_by_role("button", name="Pause").click()
    await expect(card.get_by_text("paused", exact=True)).to_be_visible()
    await expect(page.get_by_text("Paused by you. Nothing new is found until you resume it.")).to_be_visible()
    publish("other-00005", title="Made while it was paused")
    await page.get_by_role("button", name="Look now").click()
    await expect(found.get_by_role("link", name="Made while it was paused")).to_be_visible()
    await expect(card).to_contain_text("Found last: Made while it was paused")

    await page.get_by_role("navigation", name="Which videos").get_by_role("link", name="Left out").click()
    await expect(found.get_by_role("row").filter(has_text="left out")).to_have_count(2)
    await expect(found.get_by_role("link", name="its job")).to_have_count(0)
    trailer = found.get_by_role("row").filter(has_text="Trailer")
    await trailer.get_by_role("button", name="Take it").click()
    await trailer.get_by_role("link", name="its job").click()
    await expect(page.locator("header .about")).to_contain_text("done 1 video: 1 saved")
    await page.go_back()
    await expect(trailer).to_contain_text("left out held")
    await expect(trailer.get_by_role("button")).to_have_count(0)
    await page.get_by_role("link", name="what was fetched last").click()
    await page.get_by_role("link", name="a follow").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Second Source")


async def test_a_follow_is_changed_and_ended_and_what_it_saved_stays(
    served: Served, visit: Visit, publish: Publish
) -> None:
    publish("other-00001")
    publish("other-00002", title="Trailer")
    one = await follow(
        served, CHANNEL, options={"rules": {"title_exclude": "trailer", "languages": ["en"]}, "quality": "360p"}
    )
    page = await visit(served, f"/follow/{one.follow_id}", allowed={400, 404})
    await expect(page.get_by_role("heading", level=1)).to_have_text("Second Source")
    await page.get_by_text("Change the rules, quality or interval").click()
    await expect(page.get_by_label("Only these languages")).to_have_value("en")
    await expect(page.get_by_label("Quality")).to_have_value("360p")
    await expect_accessible(page)
    await page.get_by_label("No titles that match").fill("")
    await page.get_by_label("Only these languages").fill("")
    await page.get_by_label("Look every").fill("30s")
    await page.get_by_role("button", name="Save the changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("every_seconds must be 0, or 60 or more")
    await page.get_by_label("Look every").fill("12h")
    await page.get_by_role("button", name="Save the changes").click()
    await expect(page.get_by_text("No rules: all videos are wanted.")).to_be_visible()
    await expect(page.get_by_text("every 12 h, as you chose")).to_be_visible()
    found = page.get_by_role("table", name="What was found")
    await expect(found.get_by_role("link", name="Trailer")).to_be_visible()

    channel = await visit(served, f"/c/{OTHER_CHANNEL}")
    await expect(channel.get_by_role("heading", name="Videos")).to_be_visible()
    await channel.get_by_role("link", name="Followed").click()
    await channel.get_by_role("link", name="its channel").click()
    await expect(channel).to_have_url(f"{served.url}/c/{OTHER_CHANNEL}")

    again = await visit(served, f"/follow?t={CHANNEL}", allowed={400})
    await again.get_by_label(TARGET).press("Enter")
    await again.get_by_role("link", name="Show that follow").click()
    await again.get_by_role("button", name="Stop following").click()
    await again.get_by_role("button", name="Stop following it").click()
    await expect(again.get_by_text("Nothing is followed yet")).to_be_visible()
    await expect(channel.get_by_role("link", name="Follow", exact=True).last).to_have_attribute(
        "href", re.compile(r"^/follow\?t=")
    )
    await expect(page.get_by_text("This is not followed, or not any more")).to_be_visible()
    await page.goto(f"{served.url}/library?q=about")
    await expect(page.get_by_role("link", name="About other-00001").first).to_be_visible()


async def test_what_cannot_be_followed_is_said_and_what_fails_needs_somebody(
    served: Served, visit: Visit, youtube: EmulatorClient
) -> None:
    page = await visit(served, f"/follow?t={VIDEO_OK}", allowed={400})
    await page.get_by_role("button", name="Follow", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("is a video: follow a channel or a playlist")
    one = await follow(served, "@NobodyAtAll")
    await page.goto(f"{served.url}/follow/{one.follow_id}")
    for looks in range(1, 4):
        await expect(page.locator("header .about")).to_contain_text(f"failed {looks} time")
        await expect(page.get_by_text("It is tried again by itself, next at")).to_be_visible()
        await page.get_by_role("button", name="Look now").click()
    today = await visit(served)
    await today.get_by_role("link", name="@NobodyAtAll cannot be looked at").click()
    await expect(today.get_by_role("heading", level=1)).to_have_text("@NobodyAtAll")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
async def test_hostile_names_are_text(served: Served, visit: Visit, publish: Publish, width: int, dark: bool) -> None:
    publish("other-00001", HOSTILE_TITLE, title=HOSTILE_TITLE)
    one = await follow(served, CHANNEL, options={"rules": {"title_include": "<img src=x onerror=alert(1)>"}})
    page = await visit(served, f"/follow/{one.follow_id}", width=width, dark=dark)
    found = page.get_by_role("table", name="What was found")
    await expect(found.get_by_text("<script>alert(1)</script>")).to_be_visible()
    await expect(found.get_by_text("does not match '<img src=x onerror=alert(1)>'")).to_be_visible()
    await expect_accessible(page)
    await page.goto(f"{served.url}/follow")
    await expect(page.get_by_role("link", name="<script>alert(1)</script>")).to_be_visible()
    await expect_accessible(page)
    await until(page, "!document.querySelector('main script, main img')")


async def test_keys_alone_lead_to_a_follow(held: Served, visit: Visit) -> None:
    page = await visit(held)
    await expect(page.get_by_role("heading", name="Saved lately")).to_be_visible()
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Follow")
    await page.get_by_label(TARGET).focus()
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Which of its videos", exact=True)).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("checkbox", name="Videos")).to_be_focused()
    await page.get_by_role("link", name="YTArchive demo").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{held.url}/follow/{follow_id_of(PLAYLIST)}")
    await expect(page.get_by_role("table", name="What was found").get_by_role("row")).not_to_have_count(1)
