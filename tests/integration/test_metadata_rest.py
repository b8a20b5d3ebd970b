"""Lookups over REST of metadata, with a real broker and a real yt-dlp child; the test stands in for jobs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bus import BusSettings
from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import VideoMetadata
from services.common.events import SourceBlocked, SourceCleared
from services.common.models import HealthCheck
from services.common.settings.load import Config
from services.metadata.api import BatchAnswer, ChannelMetadata, PlaylistPage
from services.metadata.quota_status import QuotaStatus
from services.metadata.service import MetadataService
from tests.fixtures.fake_services import FakeJobs, LookupClient
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

KEY = "a-key-that-nobody-may-read-4711"
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
def config(config: Config, emulator: EmulatorClient) -> Config:
    youtube = {
        "proxy": emulator.proxy_url,
        "ca_file": Path(str(emulator.ca_file)),
        "api_endpoint": emulator.api_endpoint,
        "egress": "a-test",
    }
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})


def with_key(config: Config, **youtube: Any) -> Config:
    update = {"api_key": SecretStr(KEY), **youtube}
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=update)})


@pytest.fixture
async def jobs(broker: BusSettings) -> AsyncIterator[FakeJobs]:
    async with FakeJobs.running(broker) as jobs:
        yield jobs


def running_metadata(config: Config, broker: BusSettings) -> AbstractAsyncContextManager[LookupClient]:
    return LookupClient.connect(MetadataService(config, broker, quota_late=timedelta(0)), secret=KEY)


@pytest.fixture
async def keyless(config: Config, broker: BusSettings, jobs: FakeJobs) -> AsyncIterator[LookupClient]:
    assert jobs.claims == []
    async with running_metadata(config, broker) as client:
        yield client


@pytest.fixture
async def keyed(config: Config, broker: BusSettings, jobs: FakeJobs) -> AsyncIterator[LookupClient]:
    assert jobs.claims == []
    async with running_metadata(with_key(config), broker) as client:
        yield client


def api_calls(emulator: EmulatorClient) -> list[str]:
    return [entry["path"].rpartition("/")[2] for entry in emulator.log(kind="data_api")]


def site_calls(emulator: EmulatorClient) -> list[dict[str, Any]]:
    return [entry for entry in emulator.log() if entry["kind"] != "data_api"]


# --- without a key ----------------------------------------------------------------------------------------------------


async def test_a_video_is_extracted_once_and_nothing_is_downloaded(
    keyless: LookupClient, jobs: FakeJobs, emulator: EmulatorClient, config: Config
) -> None:
    found = VideoMetadata.model_validate(await keyless.get(f"metadata/video/{sample.VIDEO_OK}"))
    assert (found.video_id, found.title) == (sample.VIDEO_OK, "Loopback, part 1: Hello")
    assert found.duration_seconds
    asked = emulator.log()
    assert {entry["kind"] for entry in asked} <= {"watch", "player", "player_js", "iframe_api", "sw"}
    assert not config.storage.tmp_dir.exists()
    await keyless.get(f"metadata/video/{sample.VIDEO_OK}")
    assert emulator.log() == asked  # answered from the cache
    (claim,) = jobs.claims
    assert (claim.egress.split("/")[0], claim.job_id, claim.listing, claim.dispatch_id) == ("a-test", None, None, None)


async def test_unavailable_targets_are_404_with_their_reason(keyless: LookupClient) -> None:
    for video_id, reason in [(sample.VIDEO_PRIVATE, "private"), (sample.VIDEO_DELETED, "deleted")]:
        status, answer, _ = await keyless.request(f"metadata/video/{video_id}")
        assert (status, answer["error"]["code"]) == (404, "E002")
        assert answer["error"]["details"]["reason"] == reason
    for place, name in [("playlist", sample.PLAYLIST_MISSING), ("channel", "@nobody-of-that-name")]:
        status, answer, _ = await keyless.request(f"metadata/{place}/{name}")
        assert (status, answer["error"]["code"]) == (404, "E002")
        assert answer["error"]["details"]["reason"] == "missing"


async def test_a_long_playlist_is_listed_once_for_all_its_pages(
    keyless: LookupClient, emulator: EmulatorClient
) -> None:
    path = f"metadata/playlist/{sample.PLAYLIST_250}"
    first = PlaylistPage.model_validate(await keyless.get(path, limit=10))
    assert (first.playlist.title, first.total, first.complete) == ("A playlist of 250", 250, False)
    assert [entry.position for entry in first.entries] == list(range(10))
    assert len(emulator.log(kind="browse")) <= 1  # ten entries do not need the whole listing
    positions = []
    for offset in range(0, 300, 50):
        page = PlaylistPage.model_validate(await keyless.get(path, limit=50, offset=offset))
        positions += [entry.position for entry in page.entries]
    assert positions == list(range(250))
    assert (page.total, page.complete, page.entries) == (250, True, [])
    assert len(emulator.log(kind="playlist_page")) == 2  # the first page, and the whole listing


async def test_concurrent_lookups_share_one_listing(keyless: LookupClient, emulator: EmulatorClient) -> None:
    path = f"metadata/playlist/{sample.PLAYLIST_250}"
    pages = await asyncio.gather(*(keyless.get(path, limit=50, offset=offset) for offset in (200, 150, 100)))
    assert [len(page["entries"]) for page in pages] == [50, 50, 50]
    assert len(emulator.log(kind="playlist_page")) == 1


@pytest.mark.parametrize("name", [sample.CHANNEL, sample.CHANNEL_HANDLE, f"c%2F{sample.CHANNEL_OLD_NAME}"])
async def test_a_channel_is_found_by_id_handle_or_custom_name(keyless: LookupClient, name: str) -> None:
    found = ChannelMetadata.model_validate(await keyless.get(f"metadata/channel/{name}"))
    assert (found.channel_id, found.uploads_playlist_id) == (sample.CHANNEL, sample.UPLOADS_PLAYLIST)
    assert found.title == "Loopback Lectures"


async def test_a_batch_returns_the_found_videos_and_the_reasons_for_missing_ones(keyless: LookupClient) -> None:
    ids = [sample.VIDEO_OK, sample.VIDEO_PRIVATE, sample.VIDEO_480P, sample.VIDEO_OK]
    answer = BatchAnswer.model_validate(await keyless.get("metadata/batch", {"video_ids": ids}))
    assert [video.video_id for video in answer.videos] == [sample.VIDEO_OK, sample.VIDEO_480P]
    assert [(one.video_id, one.code, one.reason) for one in answer.missing] == [
        (sample.VIDEO_PRIVATE, "E002", "private")
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("metadata/video/short", None, 404),
        ("metadata/playlist/PLshort", None, 404),
        ("metadata/channel/nobody", None, 404),
        ("metadata/channel/@%00%00%00", None, 404),
        (f"metadata/playlist/{sample.PLAYLIST_3}?limit=0", None, 400),
        (f"metadata/playlist/{sample.PLAYLIST_3}?limit=501", None, 400),
        ("metadata/batch", {"video_ids": []}, 400),
        ("metadata/batch", {"video_ids": ["x"]}, 400),
        ("metadata/batch", {"video_ids": [f"video{n:06d}" for n in range(51)]}, 400),
    ],
)
async def test_invalid_input_is_refused_without_a_request_to_youtube(
    keyless: LookupClient, emulator: EmulatorClient, path: str, body: Any, status: int
) -> None:
    answered, answer, _ = await keyless.request(path, body)
    assert (answered, answer["error"]["code"]) == (status, "E007")
    assert emulator.log() == []


async def test_a_lookup_through_a_blocked_egress_is_503_and_sends_no_request(
    keyless: LookupClient, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.WAIT, until=until)
    for path, body in [
        (f"metadata/video/{sample.VIDEO_OK}", None),
        (f"metadata/playlist/{sample.PLAYLIST_3}", None),
        (f"metadata/channel/{sample.CHANNEL}", None),
        ("metadata/batch", {"video_ids": [sample.VIDEO_OK, sample.VIDEO_480P]}),
    ]:
        status, answer, retry_after = await keyless.request(path, body)
        assert (status, answer["error"]["code"]) == (503, "E006")
        assert 500 < int(retry_after) <= 600
        assert answer["error"]["details"]["until"] == until.isoformat()
    assert emulator.log() == []


async def test_a_bot_check_is_published_and_a_successful_probe_clears_it(
    keyless: LookupClient, jobs: FakeJobs, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.set_kind("*", "bot_check")
    status, answer, retry_after = await keyless.request("metadata/batch", {"video_ids": [sample.VIDEO_OK]})
    assert (status, answer["error"]["code"]) == (503, "E006")
    assert int(retry_after) > 0

    async def told() -> bool:
        return len(jobs.events) == 1

    await eventually(told)
    (blocked,) = jobs.events
    assert isinstance(blocked, SourceBlocked)
    assert blocked.egress == jobs.claims[0].egress
    emulator.set_kind("*", "ok")
    jobs.answer = ClaimAnswer(verdict=ClaimVerdict.PROBE)
    await keyless.get(f"metadata/video/{sample.VIDEO_OK}")

    async def cleared() -> bool:
        return [type(event) for event in jobs.events] == [SourceBlocked, SourceCleared]

    await eventually(cleared)


async def test_a_lookup_without_an_answer_of_jobs_is_503_and_sends_no_request(
    keyless: LookupClient, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    await jobs.bus.stop_serving(1)
    status, answer, _ = await keyless.request(f"metadata/video/{sample.VIDEO_OK}")
    assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (503, "E006", "no_answer")
    assert emulator.log() == []


async def test_the_quota_status_reports_a_missing_key(keyless: LookupClient) -> None:
    quota = QuotaStatus.model_validate(await keyless.get("metadata/quota"))
    assert (quota.configured, quota.keys) == (False, [])
    assert "No API key" in quota.message


# --- with a key -------------------------------------------------------------------------------------------------------


async def test_lookups_with_a_key_use_only_the_data_api(keyed: LookupClient, emulator: EmulatorClient) -> None:
    assert (await keyed.get(f"metadata/video/{sample.VIDEO_OK}"))["video_id"] == sample.VIDEO_OK
    channel = ChannelMetadata.model_validate(await keyed.get(f"metadata/channel/{sample.CHANNEL_HANDLE}"))
    assert (channel.channel_id, channel.video_count) == (sample.CHANNEL, sample.CHANNEL_UPLOADS)
    assert api_calls(emulator) == ["videos", "channels"]
    emulator.clear_log()
    path = f"metadata/playlist/{sample.PLAYLIST_250}"
    first = PlaylistPage.model_validate(await keyed.get(path, limit=50))
    assert first.entries[0].duration_seconds
    assert api_calls(emulator) == ["playlists", "playlistItems", "videos"]
    await keyed.get(path, limit=20, offset=10)  # cached
    assert len(api_calls(emulator)) == 3
    await keyed.get(path, limit=50, offset=50)  # continues from the page token
    assert api_calls(emulator)[3:] == ["playlists", "playlistItems", "videos"]
    assert site_calls(emulator) == []


async def test_a_batch_with_a_key_is_one_call_of_the_data_api(keyed: LookupClient, emulator: EmulatorClient) -> None:
    ids = [*emulator.state()["playlists"][sample.PLAYLIST_250]["entries"][9:58], "nobodyknows"]
    answer = BatchAnswer.model_validate(await keyed.get("metadata/batch", {"video_ids": ids}))
    assert [video.video_id for video in answer.videos] == ids[:-1]
    assert [(one.video_id, one.reason) for one in answer.missing] == [("nobodyknows", "not_described")]
    assert api_calls(emulator) == ["videos"]
    assert site_calls(emulator) == []


async def test_the_reason_for_a_video_that_the_data_api_lacks_comes_from_the_site(
    keyed: LookupClient, emulator: EmulatorClient
) -> None:
    status, answer, _ = await keyed.request(f"metadata/video/{sample.VIDEO_PRIVATE}")
    assert (status, answer["error"]["details"]["reason"]) == (404, "private")
    assert api_calls(emulator) == ["videos"]


async def test_a_lookup_may_use_the_quota_reserve_and_the_status_reports_the_rest(
    config: Config, broker: BusSettings, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    chosen = with_key(config, quota_limit=5, quota_reserve=4, keyless_fallback=False)
    ids = emulator.state()["playlists"][sample.PLAYLIST_20]["entries"]
    async with running_metadata(chosen, broker) as client:
        with capture_logs() as logs:
            for number, video_id in enumerate(ids[:5], start=1):
                await client.get(f"metadata/video/{video_id}")
                quota = QuotaStatus.model_validate(await client.get("metadata/quota"))
                (key,) = quota.keys
                assert (key.used, key.remaining_people, key.configured) == (number, 5 - number, True)
                assert key.remaining_background == 0
                assert (key.warning, key.exhausted) == (number >= 4, number == 5)
            status, answer, retry_after = await client.request(f"metadata/video/{ids[5]}")
    assert (quota.limit, quota.reserve, quota.configured) == (5, 4, True)
    assert (status, answer["error"]["code"]) == (429, "E001")
    assert 0 < int(retry_after) <= 25 * 3600
    left = (quota.resets_at - datetime.now(UTC)).total_seconds()
    assert abs(int(retry_after) - left) < 60 or left < 120
    (warned,) = [record for record in logs if record["event"] == "quota_warning"]
    assert (warned["log_level"], warned["used"], warned["limit"], warned["key"]) == ("warning", 4, 5, key.key)
    assert KEY not in str(logs)
    assert site_calls(emulator) == []
    assert jobs.events == []


async def test_a_used_up_quota_makes_lookups_use_the_keyless_source(
    keyed: LookupClient, emulator: EmulatorClient
) -> None:
    emulator.set_quota_left(1)
    page = PlaylistPage.model_validate(await keyed.get(f"metadata/playlist/{sample.PLAYLIST_3}"))
    assert (page.total, page.complete) == (3, True)
    assert [entry.position for entry in page.entries] == [0, 1, 2]
    assert site_calls(emulator)
    (key,) = QuotaStatus.model_validate(await keyed.get("metadata/quota")).keys
    assert (key.remaining_people, key.exhausted, key.warning) == (0, True, True)


async def test_an_invalid_key_is_reported_as_a_setting_and_not_logged(
    config: Config, broker: BusSettings, jobs: FakeJobs, emulator: EmulatorClient
) -> None:
    wrong = config.youtube.model_copy(update={"api_key": SecretStr(f"invalid-{KEY}")})
    async with running_metadata(config.model_copy(update={"youtube": wrong}), broker) as client:
        with capture_logs() as logs:
            status, answer, _ = await client.request(f"metadata/video/{sample.VIDEO_OK}")
    assert (status, answer["error"]["code"]) == (400, "E005")
    assert "the configuration" in answer["error"]["message"]
    assert KEY not in str(logs)
    assert site_calls(emulator) == []
    assert len(jobs.claims) == 1


async def test_a_data_api_timeout_counts_as_a_failure_and_the_site_is_used_instead(
    keyed: LookupClient, emulator: EmulatorClient
) -> None:
    emulator.add_fault("data_api", "delay", seconds=25)
    found = await keyed.get(f"metadata/video/{sample.VIDEO_OK}")
    assert found["title"]
    assert site_calls(emulator), "yt-dlp answered"
    health = HealthCheck.model_validate(await keyed.get("health"))
    assert health.metrics is not None
    assert [breaker["failures"] for breaker in health.metrics["breakers"].values()].count(1) == 1


async def test_a_failing_data_api_does_not_put_the_key_into_the_log(
    keyed: LookupClient, emulator: EmulatorClient, eventually: Eventually
) -> None:
    emulator.add_fault("data_api", "status", status=503)
    with capture_logs() as logs:
        found = await keyed.get(f"metadata/video/{sample.VIDEO_OK}")
    assert found["title"]
    assert "look_up_goes_on_without_data_api" in {record["event"] for record in logs}
    assert KEY not in str(logs)

    async def measured() -> object:
        health = HealthCheck.model_validate(await keyed.get("health"))
        assert health.metrics is not None
        return health.metrics["quota"]

    quota = await eventually(measured)
    assert isinstance(quota, dict)
    assert (quota["limit"], quota["configured"], quota["warning"]) == (10_000, True, False)
