"""The emulator's world, faults, log and wording, without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from ytarchive.emulator.site import sample
from ytarchive.emulator.site.refusals import playability, wait_text
from ytarchive.emulator.site.world import Channel, Kind, Playlist, Video, World, WorldError
from ytarchive.emulator.transport.fault_injection import Effect, Fault, FaultError, Faults
from ytarchive.emulator.transport.request_log import RequestLog
from ytarchive.emulator.transport.tls import is_allowed

VIDEO_ID = re.compile(r"[a-zA-Z0-9_-]{11}")  # SPEC: Validation Rules
PLAYLIST_ID = re.compile(r"(PL|UU|FL|RD|OL)[a-zA-Z0-9_-]{16,41}")  # SPEC: Validation Rules


@pytest.fixture
def world() -> World:
    return sample.sample_world()


def test_every_sample_id_is_valid(world: World) -> None:
    assert [v for v in world.videos if not VIDEO_ID.fullmatch(v)] == []
    playlists = [*world.playlists, sample.UPLOADS_PLAYLIST, sample.PLAYLIST_MISSING]
    assert [p for p in playlists if not PLAYLIST_ID.fullmatch(p)] == []
    assert [c for c in world.channels if not re.fullmatch(r"UC[\w-]{22}", c)] == []


def test_every_sample_entry_exists_and_belongs_to_a_channel(world: World) -> None:
    for playlist in world.playlists.values():
        assert set(playlist.entries) <= set(world.videos)
        assert world.channel_of(playlist)
    assert {video.channel for video in world.videos.values()} <= set(world.channels)
    assert set(sample.KINDS) == {kind.value for kind in Kind} - {"ok", "live"}


def test_sizes_and_gaps_of_the_sample_playlists(world: World) -> None:
    kinds = {p.id: [world.kind(v) for v in p.entries] for p in world.playlists.values()}
    counts = {p: (len(k), k.count(Kind.DELETED), k.count(Kind.PRIVATE)) for p, k in kinds.items()}
    assert counts == {
        sample.DEMO_PLAYLIST: (12, 1, 1),
        sample.PLAYLIST_3: (3, 0, 0),
        sample.PLAYLIST_20: (20, 0, 0),
        sample.PLAYLIST_120: (120, 1, 1),
        sample.PLAYLIST_250: (250, 4, 3),
    }


def test_a_copy_changes_alone(world: World) -> None:
    copy = world.copy()
    copy.set_kind(sample.VIDEO_OK, Kind.PRIVATE)
    copy.set_kind("*", Kind.BOT_CHECK)
    assert world.kind(sample.VIDEO_OK) is Kind.OK
    assert copy.kind(sample.VIDEO_TWO_CAPTIONS) is Kind.BOT_CHECK
    assert copy.listed_kind(sample.VIDEO_OK) is Kind.PRIVATE


def test_unknown_videos_are_missing(world: World) -> None:
    assert world.kind("nonexistent") is Kind.MISSING
    with pytest.raises(KeyError):
        world.set_kind("nonexistent", Kind.OK)


@pytest.mark.parametrize("name", [sample.CHANNEL, "@loopbacklectures", "LOOPBACKLECTURESOLD"])
def test_a_channel_has_many_names(world: World, name: str) -> None:
    channel = world.find_channel(name)
    assert channel is not None
    assert channel.id == sample.CHANNEL


@pytest.mark.parametrize(
    "data",
    [
        {"id": "v"},
        {"id": "v", "title": "t", "channel": "c", "kind": "odd"},
        {"id": "v", "title": "t", "channel": "c", "heights": [1081]},
        {"id": "v", "title": "t", "channel": "c", "thumbnails": ["huge"]},
        {"id": "v", "title": "t", "channel": "c", "colour": "red"},
    ],
)
def test_a_video_that_cannot_be_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(WorldError):
        Video.from_json(data)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (Video("too-short", "t", sample.CHANNEL), "no id of a video"),
        (Video("abcdefghijk", "t", "UCnobody"), "no channel"),
        (Playlist("PLshort", "t", sample.CHANNEL), "no id of a playlist"),
        (Channel("channel", "@c", "t"), "no id of a channel"),
    ],
)
def test_what_clients_would_not_take_is_refused(world: World, thing: Video | Playlist | Channel, says: str) -> None:
    with pytest.raises(WorldError, match=says):
        world.add(thing)


def test_json_lists_become_tuples() -> None:
    assert Playlist.from_json({"id": "p", "title": "t", "channel": "c", "entries": ["a"]}).entries == ("a",)
    assert Channel.from_json({"id": "UCx", "handle": "@x", "title": "x"}).uploads_playlist == "UUx"


def test_faults_are_taken_in_order_and_used_up() -> None:
    faults = Faults()
    once = faults.add(Fault("media", Effect.RESET, video_id="a", times=1))
    always = faults.add(Fault("*", Effect.THROTTLE, itag=137))

    assert faults.take("media", "b", 18) is None
    assert faults.take("media", "a", 137) is once
    assert faults.take("media", "a", 137) is always
    assert faults.take("watch", "a") is None
    assert faults.remove(always.id)
    assert not faults.remove(always.id)
    assert faults.take("media", "a", 137) is None


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "media", "effect": "odd"},
        {"kind": "media", "effect": "throttle", "rate": 0},
        {"kind": "medai", "effect": "reset"},
        {"kind": "x", "y": 1},
        {},
    ],
)
def test_a_fault_that_cannot_be_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(FaultError):
        Fault.from_json(data)


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (timedelta(days=3), "3 days"),
        (timedelta(hours=26), "1 day"),
        (timedelta(hours=3), "3 hours"),
        (timedelta(minutes=61), "1 hour"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(seconds=-5), "1 minute"),
    ],
)
def test_waits_are_worded(wait: timedelta, text: str) -> None:
    video = Video("v", "t", "c", starts_at=(datetime.now(UTC) + wait).isoformat())
    assert wait_text(video) == text
    assert text in playability(Kind.UPCOMING, video)["reason"]


def test_every_kind_has_words() -> None:
    video = Video("v", "t", "c")
    refusals = {str(playability(Kind(kind), video)) for kind in sample.KINDS}
    assert len(refusals) == len(sample.KINDS)
    assert {playability(kind, video)["status"] for kind in (Kind.OK, Kind.LIVE)} == {"OK"}
    assert playability(Kind.UPCOMING, None) == playability(Kind.MISSING, None)


async def test_the_log_numbers_on_and_masks_keys() -> None:
    log = RequestLog()
    first = log.begin("data_api", "GET", "127.0.0.1", "/youtube/v3/videos", {"key": "secret", "id": "a"})
    log.clear()
    second = log.begin("watch", "GET", "www.youtube.com", "/watch", {}, video_id="a")

    assert first.query == {"key": "***", "id": "a"}
    assert (first.n, second.n, log.last) == (1, 2, 2)
    assert log.entries(since=1, kind="watch", video_id="a") == [second]
    assert log.entries(since=2) == []
    assert await log.wait_for(kind="media", timeout=0.01) == []


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("youtube.com", True),
        ("WWW.YouTube.com", True),
        ("rr3---sn-x.googlevideo.com", True),
        ("youtu.be.", True),
        ("notyoutube.com", False),
        ("youtube.com.evil.example", False),
        ("", False),
        ("127.0.0.1", False),
    ],
)
def test_only_youtubes_hosts_are_played(host: str, allowed: bool) -> None:
    assert is_allowed(host) is allowed
