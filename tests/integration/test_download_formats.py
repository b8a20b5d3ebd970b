"""Format lookups over REST of download, with a real broker and a real yt-dlp child; the test stands in for jobs."""

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
from tests.fixtures.fake_services import FakeJobs, LookupClient
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class FormatsClient:
    """A REST client for format lookups."""

    def __init__(self, client: LookupClient, service: DownloadService) -> None:
        self._client = client
        self.service = service

    async def ask(self, video_id: str) -> tuple[int, dict[str, Any], str]:
        return await self._client.request(f"download/formats/{video_id}")

    async def formats(self, video_id: str) -> Formats:
        return Formats.model_validate(await self._client.get(f"download/formats/{video_id}"))


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[FakeJobs]:
    async with FakeJobs.running(broker) as jobs:
        yield jobs


@pytest.fixture
async def client(
    config: Config, broker: BusSettings, jobs: FakeJobs, emulator: EmulatorClient
) -> AsyncIterator[FormatsClient]:
    assert jobs.claims == []
    youtube = {"proxy": emulator.proxy_url, "ca_file": Path(str(emulator.ca_file)), "egress": "a-test"}
    chosen = config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})
    service = DownloadService(chosen, broker)
    async with LookupClient.connect(service) as client:
        yield FormatsClient(client, service)


async def test_the_formats_and_the_choice_for_each_quality_are_listed(
    client: FormatsClient, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    found = await client.formats(sample.VIDEO_2160P)
    assert (found.video_id, bool(found.title), bool(found.duration_seconds)) == (sample.VIDEO_2160P, True, True)
    pictures = {one.format_id: one for one in found.formats if one.vcodec}
    heights = [one.height for one in pictures.values() if one.height]
    assert (max(heights), heights[0]) == (2160, 2160)  # sorted, best first
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
    assert not any(client.service.config.storage.tmp_dir.iterdir())
    assert await client.formats(sample.VIDEO_2160P) == found
    assert emulator.log() == asked  # the second lookup is answered from the cache
    (claim,) = jobs.claims
    assert (claim.egress.split("/")[0], claim.job_id, claim.listing, claim.dispatch_id) == ("a-test", None, None, None)


async def test_a_quality_above_the_best_format_is_limited_to_that_format(client: FormatsClient) -> None:
    found = await client.formats(sample.VIDEO_480P)
    chosen = {choice.quality: choice for choice in found.choices}
    assert (chosen["1080p"].height, chosen["best"].height, chosen["360p"].height) == (480, 480, 360)


async def test_concurrent_lookups_of_a_video_send_one_request(client: FormatsClient, emulator: EmulatorClient) -> None:
    found = await asyncio.gather(*(client.formats(sample.VIDEO_OK) for _ in range(5)))
    assert len({one.asked_at for one in found}) == 1
    assert len(emulator.log(kind="watch")) == 1
    assert client.service.metrics()["formats_asked"] == 1


async def test_unavailable_videos_and_invalid_ids_are_404(client: FormatsClient, jobs: FakeJobs) -> None:
    for video_id, reason in [
        (sample.VIDEO_PRIVATE, "private"),
        (sample.VIDEO_DELETED, "deleted"),
        (sample.KINDS["geo"], "region_blocked"),
        (sample.VIDEO_LIVE, "live_now"),
    ]:
        status, answer, _ = await client.ask(video_id)
        assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (404, "E002", reason)
    asked = len(jobs.claims)
    for none in ("short", "a" * 12, "%00" * 11, "demo-00001%0A"):
        status, answer, _ = await client.ask(none)
        assert (status, answer["error"]["code"]) == (404, "E007")
    assert len(jobs.claims) == asked


async def test_a_site_that_does_not_answer_is_503(client: FormatsClient, emulator: EmulatorClient) -> None:
    emulator.add_fault("*", "reset", after=0)
    status, answer, _ = await client.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E003")
    emulator.clear_faults()
    await client.formats(sample.VIDEO_OK)  # a failure is not cached


async def test_a_lookup_through_a_blocked_egress_is_503_and_sends_no_request(
    client: FormatsClient, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.WAIT, until=until)
    status, answer, retry_after = await client.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E006")
    assert 500 < int(retry_after) <= 600
    assert answer["error"]["details"]["until"] == until.isoformat()
    assert emulator.log() == []


async def test_a_lookup_without_an_answer_of_jobs_is_503_and_sends_no_request(
    client: FormatsClient, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    await jobs.bus.stop_serving(1)
    status, answer, _ = await client.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (503, "E006", "no_answer")
    assert emulator.log() == []


async def test_a_bot_check_in_a_lookup_blocks_the_slots_until_a_probe_succeeds(
    client: FormatsClient, jobs: FakeJobs, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.set_kind("*", "bot_check")
    status, answer, retry_after = await client.ask(sample.VIDEO_OK)
    assert (status, answer["error"]["code"]) == (503, "E006")
    assert 290 <= int(retry_after) <= 300
    assert client.service.parts.worker.free_slots == 0

    async def told() -> object:
        return jobs.events

    await eventually(told)
    (blocked,) = jobs.events
    assert isinstance(blocked, SourceBlocked)
    assert (blocked.egress, blocked.reason) == (client.service.parts.context.egress, "bot_check")

    emulator.set_kind("*", "ok")
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.PROBE)
    await client.formats(sample.VIDEO_OK)
    assert client.service.parts.worker.free_slots == 2

    async def cleared() -> bool:
        return [type(event) for event in jobs.events] == [SourceBlocked, SourceCleared]

    await eventually(cleared)


async def test_the_lookup_child_is_started_on_demand_and_ended_when_idle(
    client: FormatsClient, eventually: Eventually
) -> None:
    offers = client.service.parts.offers

    def pid() -> int | None:
        return offers.child.pid

    assert pid() is None
    await client.formats(sample.VIDEO_OK)
    first = pid()
    assert first is not None
    offers.child.idle = 0.1
    await client.formats(sample.VIDEO_480P)
    assert pid() in {first, None}  # the same child, unless it has ended already

    async def ended() -> bool:
        return pid() is None

    await eventually(ended)
    with pytest.raises(ProcessLookupError):
        os.killpg(first, 0)
    await client.formats(sample.VIDEO_NO_CAPTIONS)  # the child is started again
