"""Look-ups of formats: REST of download on a real broker, with a real yt-dlp child; the test plays jobs."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus import BusSettings
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.events import SourceBlocked, SourceCleared
from services.common.settings.load import Config
from services.download.offers import Formats
from services.download.service import DownloadService
from tests.fixtures.asking import Jobs, Person
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class Asking:
    """A person who asks for formats."""

    def __init__(self, person: Person, service: DownloadService) -> None:
        self._person = person
        self.service = service

    async def ask(self, video_id: str) -> tuple[int, dict[str, Any], str]:
        return await self._person.ask(f"download/formats/{video_id}")

    async def formats(self, video_id: str) -> Formats:
        return Formats.model_validate(await self._person.get(f"download/formats/{video_id}"))


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[Jobs]:
    async with Jobs.at_work(broker) as jobs:
        yield jobs


@pytest.fixture
async def person(config: Config, broker: BusSettings, jobs: Jobs, emulator: EmulatorClient) -> AsyncIterator[Asking]:
    assert jobs.claims == []
    way_out = {"proxy": emulator.proxy_url, "ca_file": Path(str(emulator.ca_file)), "egress": "a-test"}
    chosen = config.model_copy(update={"youtube": config.youtube.model_copy(update=way_out)})
    service = DownloadService(chosen, broker)
    async with Person.of(service) as person:
        yield Asking(person, service)


async def test_the_streams_and_what_each_quality_takes(person: Asking, jobs: Jobs, emulator: EmulatorClient) -> None:
    found = await person.formats(sample.VIDEO_2160P)
    assert (found.video_id, bool(found.title), bool(found.duration_seconds)) == (sample.VIDEO_2160P, True, True)
    pictures = {one.format_id: one for one in found.formats if one.vcodec}
    heights = [one.height for one in pictures.values() if one.height]
    assert (max(heights), heights[0]) == (2160, 2160)  # the best first
    assert {one.acodec is None for one in found.formats if one.vcodec is None} == {False}
    assert all(one.size and one.bitrate for one in found.formats)

    chosen = {choice.quality: choice for choice in found.choices}
    assert list(chosen) == ["best", "2160p", "1440p", "1080p", "720p", "480p", "360p", "240p", "144p", "audio"]
    for quality in ("2160p", "1440p", "1080p", "720p", "480p", "360p", "240p", "144p"):
        assert chosen[quality].height == int(quality[:-1])
    picture, sound = chosen["1080p"].format_ids
    sizes = {one.format_id: one.size or 0 for one in found.formats}
    assert str(pictures[picture].vcodec).startswith("avc1")
    assert chosen["1080p"].size == sizes[picture] + sizes[sound]
    assert chosen["best"].format_ids == chosen["2160p"].format_ids
    assert [one.vcodec for one in found.formats if (one.format_id,) == chosen["audio"].format_ids] == [None]

    asked = emulator.log()
    assert {entry["kind"] for entry in asked} <= {"watch", "player", "player_js", "iframe_api", "sw"}
    assert not any(person.service.config.storage.tmp_dir.iterdir())
    assert await person.formats(sample.VIDEO_2160P) == found
    assert emulator.log() == asked  # asked a moment ago
    (claim,) = jobs.claims
    assert (claim.egress.split("/")[0], claim.job_id, claim.listing, claim.dispatch_id) == ("a-test", None, None, None)


async def test_a_video_comes_in_the_most_that_there_is(person: Asking) -> None:
    found = await person.formats(sample.VIDEO_480P)
    chosen = {choice.quality: choice for choice in found.choices}
    assert (chosen["1080p"].height, chosen["best"].height, chosen["360p"].height) == (480, 480, 360)


async def test_who_asks_at_once_costs_one_question(person: Asking, emulator: EmulatorClient) -> None:
    found = await asyncio.gather(*(person.formats(sample.VIDEO_OK) for _ in range(5)))
    assert len({one.asked_at for one in found}) == 1
    assert len(emulator.log(kind="watch")) == 1
    assert person.service.metrics()["formats_asked"] == 1


async def test_what_is_not_to_be_had_is_404_with_its_reason(person: Asking, jobs: Jobs) -> None:
    for video_id, reason in [
        (sample.VIDEO_PRIVATE, "private"),
        (sample.VIDEO_DELETED, "deleted"),
        (sample.KINDS["geo"], "region_blocked"),
        (sample.VIDEO_LIVE, "live_now"),
    ]:
        status, answer, _ = await person.ask(video_id)
        assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (404, "E002", reason)
    asked = len(jobs.claims)
    for none in ("short", "a" * 12, "%00" * 11, "demo-00001%0A"):
        status, answer, _ = await person.ask(none)
        assert (status, answer["error"]["code"]) == (404, "E007")
    assert len(jobs.claims) == asked


async def test_a_site_that_does_not_answer_is_503(person: Asking, emulator: EmulatorClient) -> None:
    emulator.add_fault("*", "reset", after=0)
    status, answer, _ = await person.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E003")
    emulator.clear_faults()
    await person.formats(sample.VIDEO_OK)  # what failed is not remembered


async def test_a_blocked_way_out_is_not_asked(person: Asking, jobs: Jobs, emulator: EmulatorClient) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.WAIT, until=until)
    status, answer, retry_after = await person.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E006")
    assert 500 < int(retry_after) <= 600
    assert answer["error"]["details"]["until"] == until.isoformat()
    assert emulator.log() == []


async def test_without_jobs_nobody_knows_whether_to_ask(person: Asking, jobs: Jobs, emulator: EmulatorClient) -> None:
    await jobs.bus.stop_serving(1)
    status, answer, _ = await person.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (503, "E006", "no_answer")
    assert emulator.log() == []


async def test_a_refusal_stops_the_slots_too_and_a_probe_clears_it(
    person: Asking, jobs: Jobs, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.set_kind("*", "bot_check")
    status, answer, retry_after = await person.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E006")
    assert 290 <= int(retry_after) <= 300
    assert person.service.parts.worker.free_slots == 0

    async def told() -> object:
        return jobs.heard

    await eventually(told)
    (blocked,) = jobs.heard
    assert isinstance(blocked, SourceBlocked)
    assert (blocked.egress, blocked.reason) == (person.service.parts.context.egress, "bot_check")

    emulator.set_kind("*", "ok")
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.PROBE)
    await person.formats(sample.VIDEO_OK)
    assert person.service.parts.worker.free_slots == 2

    async def cleared() -> bool:
        return [type(event) for event in jobs.heard] == [SourceBlocked, SourceCleared]

    await eventually(cleared)


async def test_the_child_is_started_when_needed_and_ended_when_idle(person: Asking, eventually: Eventually) -> None:
    offers = person.service.parts.offers

    def pid() -> int | None:
        return offers.child.pid

    assert pid() is None
    await person.formats(sample.VIDEO_OK)
    first = pid()
    assert first is not None
    offers.idle = 0.1
    await person.formats(sample.VIDEO_480P)
    assert pid() in {first, None}  # the same child, if it has not ended by now

    async def ended() -> bool:
        return pid() is None

    await eventually(ended)
    with pytest.raises(ProcessLookupError):
        os.killpg(first, 0)
    await person.formats(sample.VIDEO_NO_CAPTIONS)  # and started again
