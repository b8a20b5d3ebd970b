"""News from the journal of events to somebody's phone: once, in time, and after days away."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from services.common.settings.sections import Notify
from services.logging.news.delivery import Delivery
from services.logging.news.news import News
from services.logging.news.store import NewsStore
from services.logging.news.times import QuietHours, next_time, parse_time

LOCAL = timezone(timedelta(hours=2))
NOON = datetime(2026, 12, 1, 12, tzinfo=LOCAL)


class Phone:
    """Somebody's address: a web server that Apprise posts to, and that may be away."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.away = False
        self.slow = 0.0  # seconds
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        if self.away:
            return web.Response(status=503)
        body = await request.json()
        self.messages.append((body["title"], body["message"]))
        await asyncio.sleep(self.slow)
        return web.Response()


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    phone = Phone()
    application = web.Application()
    application.router.add_post("/", phone.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    phone.url = f"json://127.0.0.1:{runner.addresses[0][1]}/"
    yield phone
    await runner.cleanup()


class World:
    def __init__(self, folder: Path, phone: Phone, **settings: Any) -> None:
        self.now, self.folder = NOON, folder
        self.settings = Notify(urls=(SecretStr(phone.url),), **settings)
        self.begin()

    def begin(self) -> None:
        """Start the reader, as the service does."""
        self.store = NewsStore(self.folder / "news.db")
        self.news = News(self.folder, self.store, self.settings, Delivery(self.settings.urls), lambda: self.now)

    def happen(self, subject: str, **data: Any) -> None:
        with (self.folder / f"events-{self.now.astimezone(UTC):%Y-%m-%d}.jsonl").open("a") as file:
            file.write(json.dumps({"subject": subject, "data": data}) + "\n")

    def find(self, number: int, count: int = 1) -> None:
        entries = [{"video_id": f"video{number:06d}", "title": f"Video {number}"}]
        self.happen("follow.found", job_id=f"f-{number}", title="Bern", found=count, entries=entries)

    def block(self) -> None:
        self.happen("source.blocked", egress="home", reason="bot_check", message="Bot check.")

    async def after(self, **passed: float) -> datetime | None:
        self.now += timedelta(**passed)
        await self.news.read()
        return await self.news.tell()


@pytest.fixture
async def world(tmp_path: Path, phone: Phone) -> AsyncIterator[World]:
    world = World(tmp_path, phone)
    await world.after()
    yield world
    world.store.close()


async def test_what_was_before_is_no_news(tmp_path: Path, phone: Phone) -> None:
    world = World(tmp_path, phone)
    world.find(1)
    await world.after()
    world.find(2)
    await world.after()
    await world.after(days=1)
    assert phone.messages == [("YTArchive: Bern: 1 new video", "Video 2")]
    world.store.close()


async def test_news_of_the_day_come_together_in_the_morning(world: World, phone: Phone) -> None:
    world.find(1)
    world.find(2)
    assert await world.after() == datetime(2026, 12, 2, 8, tzinfo=LOCAL)
    assert phone.messages == []
    assert await world.after(hours=20) is None
    assert phone.messages == [("YTArchive: news (2)", "Bern: 1 new video: Video 1\nBern: 1 new video: Video 2")]
    world.find(2)  # the same event again
    assert await world.after(days=2) is None
    assert len(phone.messages) == 1


async def test_a_block_is_told_after_an_hour_and_not_if_it_is_over(world: World, phone: Phone) -> None:
    world.block()
    assert await world.after() == NOON + timedelta(hours=1)
    world.happen("source.cleared", egress="home")
    assert await world.after(hours=2) is None
    assert phone.messages == []
    world.block()
    await world.after(minutes=1)
    world.block()  # it is renewed all the time
    await world.after(minutes=50)
    assert phone.messages == []
    await world.after(minutes=11)
    assert phone.messages == [("YTArchive: YouTube blocks this machine since an hour", "Bot check.")]
    world.block()
    await world.after(hours=5)
    assert len(phone.messages) == 1
    world.block()
    await world.after(hours=20)
    await world.after(hours=2)
    assert len(phone.messages) == 2


async def test_damage_is_told_at_once_but_not_at_night(tmp_path: Path, phone: Phone) -> None:
    world = World(tmp_path, phone, quiet_hours="22:00-07:00")
    await world.after()
    world.happen("fixity.failed", verification_id="1", video_id="video000001", files=["a.mp4"])
    await world.after()
    assert len(phone.messages) == 1
    await world.after(hours=13)
    world.happen("fixity.failed", verification_id="2", video_id="video000001", files=["a.mp4"])
    assert await world.after() == datetime(2026, 12, 2, 7, tzinfo=LOCAL)
    assert len(phone.messages) == 1
    await world.after(hours=6)
    assert len(phone.messages) == 2
    world.store.close()


async def test_an_address_that_is_away_gets_it_later_and_a_restart_loses_nothing(world: World, phone: Phone) -> None:
    phone.away = True
    world.happen("fixity.failed", verification_id="1", video_id="video000001", files=["a.mp4"])
    assert await world.after() == NOON + timedelta(minutes=1)
    assert await world.after(minutes=1) == NOON + timedelta(minutes=3)
    world.store.close()
    world.now += timedelta(days=3)
    world.find(1)
    world.begin()
    phone.away = False
    await world.after()
    assert [title for title, _text in phone.messages] == ["YTArchive: A file of the archive is damaged"]
    await world.after(days=1)
    assert [title for title, _text in phone.messages][1:] == ["YTArchive: Bern: 1 new video"]


async def test_events_of_yesterday_and_of_a_wrong_clock_hide_nothing(world: World, phone: Phone) -> None:
    for number, day in enumerate(("2031-01-01", "2026-12-02", "2026-12-01")):
        with (world.folder / f"events-{day}.jsonl").open("a") as file:
            data = {"verification_id": str(number), "video_id": "video000001", "files": ["a.mp4"]}
            file.write(json.dumps({"subject": "fixity.failed", "data": data}) + "\n")
        await world.after(hours=1)
        assert len(phone.messages) == number + 1


async def test_a_message_on_its_way_is_not_sent_again(world: World, phone: Phone) -> None:
    phone.slow = 0.5
    world.happen("fixity.failed", verification_id="1", video_id="video000001", files=["a.mp4"])
    running = asyncio.create_task(world.news.run())
    while not phone.messages:  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    world.begin()
    await world.after()
    assert len(phone.messages) == 1


async def test_quiet_hours_hold_also_for_what_was_due_before(tmp_path: Path, phone: Phone) -> None:
    world = World(tmp_path, phone, quiet_hours="22:00-07:00", digest_at="21:00")
    await world.after()
    world.find(1)
    await world.after()
    await world.after(hours=11)  # the machine slept until 23:00
    assert phone.messages == []
    await world.after(hours=8)
    assert len(phone.messages) == 1
    world.store.close()


async def test_a_follow_that_was_removed_or_paused_fails_no_more(world: World, phone: Phone) -> None:
    for number, subject in enumerate(("follow.removed", "follow.changed")):
        world.happen("follow.looked", follow_id=str(number), error={"code": "E006", "message": "no"})
        await world.after()
        world.happen(subject, follow_id=str(number), paused=True)
        await world.after(days=2)
    assert phone.messages == []


async def test_what_was_over_and_comes_again_is_told_again(world: World, phone: Phone) -> None:
    for number in (1, 2):
        world.block()
        await world.after()
        await world.after(hours=2)
        assert len(phone.messages) == number
        world.happen("source.cleared", egress="home")
        await world.after(hours=1)


async def test_a_long_line_hides_nothing(world: World, phone: Phone) -> None:
    world.happen("other", text="y" * 5_000_000)
    world.happen("fixity.failed", verification_id="1", video_id="video000001", files=["a.mp4"])
    await world.after()
    assert len(phone.messages) == 1


async def test_half_a_line_and_a_removed_journal_are_no_problem(world: World, phone: Phone) -> None:
    path = world.folder / "events-2026-12-01.jsonl"
    world.find(1)
    whole = path.read_text()
    path.write_text(whole[:-10])
    await world.after()
    path.write_text(whole)
    await world.after()
    path.unlink()
    world.now += timedelta(days=2)
    world.find(2)
    await world.after()
    await world.after(days=1)
    assert [text for _title, text in phone.messages] == ["Video 1", "Video 2"]


@pytest.mark.parametrize(
    ("hours", "at", "over"),
    [
        ("22:00-07:00", (23, 30), (7, 0)),
        ("22:00-07:00", (6, 59), (7, 0)),
        ("22:00-07:00", (7, 0), (7, 0)),
        ("22:00-07:00", (12, 0), (12, 0)),
        ("12:00-13:00", (12, 30), (13, 0)),
        ("12:00-13:00", (13, 0), (13, 0)),
        ("09:00-09:00", (9, 0), (9, 0)),
    ],
)
def test_quiet_hours(hours: str, at: tuple[int, int], over: tuple[int, int]) -> None:
    quiet = QuietHours.parse(hours)
    assert quiet is not None
    over_at = quiet.over_at(NOON.replace(hour=at[0], minute=at[1]))
    assert (over_at.hour, over_at.minute) == over
    assert QuietHours.parse("") is None


def test_the_next_time_of_a_clock() -> None:
    assert next_time(NOON, parse_time("12:00")) == NOON + timedelta(days=1)
    assert next_time(NOON, parse_time("12:01")) == NOON + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"digest_at": "8"}, "08:00"), ({"quiet_hours": "22:00"}, "22:00-07:00"), ({"quiet_hours": "a-b"}, "22:00-07:00")],
)
def test_wrong_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Notify.model_validate(settings)
