"""A look at a channel or playlist in the yt-dlp child: what it finds, with how many requests, by feed and by list."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.rules import VideoKind
from services.common.settings.load import Config
from services.common.youtube.process import ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from tests.fixtures.youtube_child import emulated
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHANNEL = Target(kind=TargetKind.CHANNEL, id=sample.CHANNEL)
NEWEST = f"upload-{sample.CHANNEL_UPLOADS:04d}"


@pytest.fixture(scope="module")
def config(emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return emulated(emulator_child, tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(config: Config) -> AsyncIterator[YtDlpChild]:
    child = YtDlpChild(ChildSettings.of(config))
    yield child
    await child.kill()


class Looked:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.head = PlaylistMetadata.model_validate(messages[0]["head"])
        self.entries = [Entry.model_validate(entry) for message in messages[1:] for entry in message["entries"]]
        self.requests = messages[-1]["requests"]


@pytest.fixture
def look(child: YtDlpChild, emulator_child: EmulatorClient) -> Any:
    async def run(target: Target, how: str, **more: Any) -> tuple[Looked, Counter[str]]:
        messages: list[dict[str, Any]] = []

        async def receive(message: dict[str, Any]) -> None:
            messages.append(message)

        emulator_child.clear_log()
        request = {"target": target.model_dump(mode="json"), "how": how, "prefixes": ["UU"], "known": [], "since": None}
        await child.run("look", request | more, on_message=receive)
        return Looked(messages), Counter(entry["kind"] for entry in emulator_child.log())

    return run


async def test_a_feed_is_one_request_and_knows_the_times(look: Any) -> None:
    looked, requests = await look(CHANNEL, "feed")
    assert requests == {"feed": 1}
    assert looked.requests == 1
    assert (looked.head.playlist_id, looked.head.title) == (sample.UPLOADS_PLAYLIST, "Loopback Lectures")
    assert len(looked.entries) == 15
    first = looked.entries[0]
    assert (first.video_id, first.title) == (NEWEST, f"Lecture {sample.CHANNEL_UPLOADS}")
    assert first.published_from == first.published_until != None  # noqa: E711 - of both
    assert first.views == 1000


async def test_a_list_is_read_until_a_page_has_a_known_video(look: Any, emulator_child: EmulatorClient) -> None:
    looked, requests = await look(CHANNEL, "list", known=["upload-0030"])
    assert (len(looked.entries), looked.requests, sum(requests.values())) == (36, 2, 2)
    assert looked.head.title == "Loopback Lectures"
    many = ["manyuploads"[:6] + f"{n:05d}" for n in range(350)]
    channel = "UCemulator000000000000many"[:24]
    emulator_child.put_channel(channel, handle="@many", title="Many", uploads=many)
    for video_id in many:
        emulator_child.put_video(video_id, title=video_id, channel=channel)
    of_many = Target(kind=TargetKind.CHANNEL, id=channel)
    looked, requests = await look(of_many, "list", known=[many[120]])
    assert [entry.video_id for entry in looked.entries] == many[:200]
    assert looked.requests == sum(requests.values()) == 3
    looked, requests = await look(of_many, "list")
    assert len(looked.entries) == 350
    assert looked.requests == sum(requests.values()) == 5


async def test_a_name_costs_one_request_more_and_gives_the_id(look: Any) -> None:
    looked, requests = await look(Target(kind=TargetKind.CHANNEL, id=sample.CHANNEL_HANDLE), "list", known=[NEWEST])
    assert looked.head.channel_id == sample.CHANNEL
    assert looked.head.title == "Loopback Lectures"
    assert looked.requests == sum(requests.values()) == 3


async def test_lists_tell_the_kind_the_age_and_the_length(look: Any, emulator_child: EmulatorClient) -> None:
    at = datetime.now(UTC) - timedelta(days=3, hours=2)
    new = {"channel": sample.OTHER_CHANNEL, "published": at.isoformat(), "views": 42}
    emulator_child.put_video("short-00001", title="A short", tab="shorts", duration=20, **new)
    emulator_child.put_video("film-000001", title="A film", duration=600, **new)
    emulator_child.put_channel(
        sample.OTHER_CHANNEL, handle="@SecondSource", title="Second", uploads=["short-00001", "film-000001"]
    )
    other = Target(kind=TargetKind.CHANNEL, id=sample.OTHER_CHANNEL)
    for how in ("list", "feed"):
        looked, _requests = await look(other, how, prefixes=["UULF", "UUSH"])
        film, short = looked.entries
        assert (film.video_id, film.kind, film.views) == ("film-000001", None, 42)
        assert (short.video_id, short.kind) == ("short-00001", VideoKind.SHORT)
        assert film.published_from is not None
        assert film.published_until is not None
        assert film.published_from <= at <= film.published_until < at + timedelta(days=2)
        assert film.duration_seconds == (600 if how == "list" else None)
    looked, _requests = await look(other, "feed")
    assert [entry.kind for entry in looked.entries] == [VideoKind.SHORT, None]  # from its address


async def test_a_kind_that_a_channel_does_not_have_is_no_failure(look: Any) -> None:
    for how in ("list", "feed"):
        looked, _requests = await look(CHANNEL, how, prefixes=["UULF", "UUSH"])
        assert len(looked.entries) == (36 if how == "list" else 15)
        looked, _requests = await look(CHANNEL, how, prefixes=["UUSH", "UULV"])
        assert (looked.entries, looked.head.channel_id) == ([], sample.CHANNEL)
    looked, _requests = await look(Target(kind=TargetKind.CHANNEL, id=sample.CHANNEL_HANDLE), "list", prefixes=["UUSH"])
    assert (looked.entries, looked.head.channel_id, looked.head.title) == ([], sample.CHANNEL, "Loopback Lectures")
    with pytest.raises(ChildFailed, match="does not exist"):
        await look(Target(kind=TargetKind.CHANNEL, id="UC0000000000000000000000"), "list", prefixes=["UUSH"])


async def test_a_playlist_is_read_to_its_end(look: Any) -> None:
    target = Target(kind=TargetKind.PLAYLIST, id=sample.PLAYLIST_120)
    looked, requests = await look(target, "list", known=["nothing1234"])
    assert (len(looked.entries), looked.requests, sum(requests.values())) == (120, 3, 3)


async def test_a_feed_that_is_away_or_no_feed_is_a_failure(look: Any, emulator_child: EmulatorClient) -> None:
    with pytest.raises(ChildFailed) as gone:
        await look(Target(kind=TargetKind.CHANNEL, id="UC0000000000000000000000"), "feed")
    assert gone.value.facts.status == 404
    fault = emulator_child.add_fault("feed", "status", status=500)
    with pytest.raises(ChildFailed) as broken:
        await look(CHANNEL, "feed")
    assert broken.value.facts.status == 500
    emulator_child.remove_fault(fault)
