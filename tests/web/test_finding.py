"""Finding: filters and places in the library, channels, playlists, moments."""

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.web.conftest import Served, Visit, until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_library_is_filtered_sorted_and_shown_in_other_ways(held: Served, visit: Visit) -> None:
    page = await visit(held, "/library")
    cards = page.get_by_role("main").locator(".card")
    await expect(cards).to_have_count(10)
    filters = page.get_by_role("complementary", name="Filters")
    await filters.get_by_role("link", name="Second Source 2").click()
    await expect(cards).to_have_count(2)
    await expect(page).to_have_url(f"{held.url}/library?channel=Second+Source")
    await page.get_by_role("link", name="Remove the filter Second Source").click()
    await expect(cards).to_have_count(10)
    await filters.get_by_role("link", name="2024 9").click()
    await filters.get_by_role("link", name="none 1").click()
    await expect(cards).to_have_count(1)
    await page.get_by_role("link", name="Remove all").click()
    await expect(cards).to_have_count(10)

    await page.get_by_label("Order").select_option("Oldest")
    await expect(cards.first).to_contain_text("Part 4: an old film")
    await page.get_by_role("link", name="Table").click()
    await expect(page.get_by_role("table", name="Videos").get_by_role("row")).to_have_count(11)
    await page.reload()  # all of it is in the address
    await expect(page.get_by_role("table", name="Videos").get_by_role("row").nth(1)).to_contain_text("an old film")

    await page.get_by_label("Words of a title or a channel").fill("nothing like it")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing is held that fits all of these filters")).to_be_visible()


async def test_months_lead_to_their_place(held: Served, visit: Visit) -> None:
    page = await visit(held, "/library?sort=-upload_date")
    months = page.get_by_role("navigation", name="By month, when it was made")
    await expect(months.get_by_role("link")).to_have_count(2)
    await expect(months.get_by_role("link").first).to_have_attribute("aria-current", "true")
    old = months.get_by_role("link").nth(1)
    await expect(old).to_contain_text("May 2006")
    await old.click()  # less than a page of videos is before it
    await expect(page.get_by_role("main").locator(".card").first).to_contain_text("Part 4: an old film")
    await expect(old).to_have_attribute("aria-current", "true")
    await expect(months.locator("[aria-current]")).to_have_count(1)
    await page.get_by_role("link", name="← Before").click()
    await expect(page.get_by_role("main").locator(".card")).to_have_count(10)
    await expect(months.get_by_role("link").first).to_have_attribute("aria-current", "true")


async def test_a_channel_may_have_any_name(held: Served, visit: Visit) -> None:
    for address, name in (("100%25%20Wolf", "100% Wolf"), ("AC%2FDC", "AC/DC"), ("a%2520b", "a%20b")):
        page = await visit(held, f"/c/{address}")
        await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await expect(page.get_by_text("Nothing of this channel is held")).to_be_visible()
        await page.get_by_role("link", name="Search in it").click()
        await expect(page.get_by_role("link", name=f"Only {name}")).to_be_visible()


async def test_channels_are_sorted(held: Served, visit: Visit) -> None:
    page = await visit(held, "/library?show=channels")
    rows = page.get_by_role("table", name="Channels").get_by_role("row")
    for column in ("Videos", "Size", "Newest video", "Channel"):
        await page.get_by_role("columnheader", name=column).get_by_role("link").click()
        await expect(page.get_by_role("columnheader").locator("[aria-current]")).to_have_text(column)
        await expect(rows).to_have_count(3)


async def test_a_word_is_searched_in_one_of_its_years(held: Served, visit: Visit) -> None:
    page = await visit(held, "/search?q=goodbye&in=captions&language=en")
    await expect(page.locator(".hit")).to_have_count(9)
    await page.get_by_text("As a table").click()
    await page.get_by_role("table", name="The share of the videos").get_by_role("link", name="2006").click()
    await expect(page).to_have_url(f"{held.url}/search?q=goodbye&in=captions&language=en&year=2006")
    await expect(page.locator(".hit")).to_have_count(1)
    await page.locator(".column").last.click()  # the picture stays: another year is chosen
    await expect(page.locator(".hit")).to_have_count(8)
    await page.get_by_label("Words").fill("hello")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{held.url}/search?q=hello&in=captions&language=en&year=2024")
    await page.get_by_role("link", name="Only 2024").click()
    await expect(page).to_have_url(f"{held.url}/search?q=hello&in=captions&language=en")


async def test_counts_and_lists_follow_the_news(served: Served, visit: Visit, youtube: EmulatorClient) -> None:
    """Also: a playlist that has a video twice, and one that is no longer in it."""
    playlist = "PLemulator000000000000000comings"
    link = f"https://www.youtube.com/playlist?list={playlist}"
    twice = [sample.VIDEO_OK, sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_OK]
    youtube.put_playlist(playlist, title="Comings", channel=sample.CHANNEL, entries=twice)
    library = await visit(served, "/library?captions=none")
    await expect(library.get_by_text("Nothing is held that fits")).to_be_visible()
    assert served.cli("download", link, "--no-captions").code == 0
    filters = library.get_by_role("complementary", name="Filters")
    await expect(filters.get_by_role("link", name="none 2")).to_be_visible()

    page = await visit(served, f"/p/{playlist}")
    for figure in ("3 in the list", "3 held", "0 not held"):
        await expect(page.locator(".figure", has_text=re.compile(figure.replace(" ", r"\s*"))).first).to_be_visible()
    youtube.put_playlist(playlist, title="Comings", channel=sample.CHANNEL, entries=[sample.VIDEO_OK])
    assert served.cli("download", link, "--no-captions").code == 0
    over_time = page.get_by_role("img", name="1 are in the list, 0 are private or deleted, 1 are no longer in it")
    await expect(over_time).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    assert not (await Axe().run(page)).response["violations"]


async def test_a_playlist_says_what_is_held_and_what_went(held: Served, visit: Visit) -> None:
    page = await visit(held, "/library?show=playlists")
    await page.get_by_role("link", name="YTArchive demo").click()
    await expect(page.get_by_role("table", name="The videos of this list").get_by_role("row")).to_have_count(13)
    await page.get_by_role("link", name="2 gone from YouTube").click()
    rows = page.get_by_role("table", name="The videos of this list").get_by_role("row")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(1)).to_contain_text("not held deleted")


async def test_a_moment_that_is_found_plays_in_place(held: Served, visit: Visit) -> None:
    page = await visit(held, "/")
    await page.get_by_role("searchbox", name="Search titles").fill("goodbye")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Search: goodbye")
    hit = page.locator(".hit").filter(has_text="Loopback, part 1: Hello")
    await expect(hit.locator("mark")).to_have_text("goodbye")
    await hit.get_by_role("link", name="0:01").click()
    await expect(page).to_have_url(f"{held.url}/v/{sample.VIDEO_OK}?at=1")
    await until(page, "document.querySelector('video')?.currentTime >= 1")


async def test_a_hostile_title_is_only_a_text(held: Served, visit: Visit) -> None:
    for path in (f"/v/{sample.VIDEO_HOSTILE_TITLE}", "/library", "/search?q=passwd", "/c/@SecondSource"):
        page = await visit(held, path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await page.evaluate("document.querySelectorAll('main script, main b').length") == 0
    title = await page.context.new_page()
    await title.goto(f"{held.url}/v/{sample.VIDEO_HOSTILE_TITLE}")
    await expect(title.get_by_role("heading", level=1)).to_contain_text("</script><script>alert(1)</script>")
