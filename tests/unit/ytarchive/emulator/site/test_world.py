"""The emulated world: kinds of videos, look-up by name, validation of videos, playlists and channels."""

import pytest

from ytarchive.emulator.site import sample
from ytarchive.emulator.site.world import Channel, Playlist, Video, VideoKind, World, WorldError


@pytest.fixture
def world() -> World:
    return sample.sample_world()


def test_a_copy_is_independent(world: World) -> None:
    copy = world.copy()
    copy.set_kind(sample.VIDEO_OK, VideoKind.PRIVATE)
    copy.set_kind("*", VideoKind.BOT_CHECK)
    assert world.kind(sample.VIDEO_OK) is VideoKind.OK
    assert copy.kind(sample.VIDEO_TWO_CAPTIONS) is VideoKind.BOT_CHECK
    assert copy.listed_kind(sample.VIDEO_OK) is VideoKind.PRIVATE


def test_unknown_videos_are_missing(world: World) -> None:
    assert world.kind("nonexistent") is VideoKind.MISSING
    with pytest.raises(KeyError):
        world.set_kind("nonexistent", VideoKind.OK)


@pytest.mark.parametrize("name", [sample.CHANNEL, "@loopbacklectures", "LOOPBACKLECTURESOLD"])
def test_a_channel_is_found_by_id_handle_and_legacy_name(world: World, name: str) -> None:
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
def test_an_invalid_video_is_rejected(data: dict[str, object]) -> None:
    with pytest.raises(WorldError):
        Video.from_json(data)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Video("too-short", "t", sample.CHANNEL), "not a valid id of a video"),
        (Video("abcdefghijk", "t", "UCnobody"), "unknown channel"),
        (Playlist("PLshort", "t", sample.CHANNEL), "not a valid id of a playlist"),
        (Channel("channel", "@c", "t"), "not a valid id of a channel"),
    ],
)
def test_invalid_ids_and_unknown_channels_are_rejected(
    world: World, item: Video | Playlist | Channel, message: str
) -> None:
    with pytest.raises(WorldError, match=message):
        world.add(item)


def test_json_lists_become_tuples() -> None:
    assert Playlist.from_json({"id": "p", "title": "t", "channel": "c", "entries": ["a"]}).entries == ("a",)
    assert Channel.from_json({"id": "UCx", "handle": "@x", "title": "x"}).uploads_playlist == "UUx"
