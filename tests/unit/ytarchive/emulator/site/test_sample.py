"""The sample world: valid ids, existing entries, sizes of the playlists."""

import re

import pytest

from ytarchive.emulator.site import sample
from ytarchive.emulator.site.world import VideoKind, World

VIDEO_ID = re.compile(r"[a-zA-Z0-9_-]{11}")  # specification: Validation Rules
PLAYLIST_ID = re.compile(r"(PL|UU|FL|RD|OL)[a-zA-Z0-9_-]{16,41}")  # specification: Validation Rules


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
    assert set(sample.KINDS) == {kind.value for kind in VideoKind} - {"ok", "live"}


def test_sizes_and_unavailable_entries_of_the_sample_playlists(world: World) -> None:
    kinds = {p.id: [world.kind(v) for v in p.entries] for p in world.playlists.values()}
    counts = {p: (len(k), k.count(VideoKind.DELETED), k.count(VideoKind.PRIVATE)) for p, k in kinds.items()}
    assert counts == {
        sample.DEMO_PLAYLIST: (12, 1, 1),
        sample.PLAYLIST_3: (3, 0, 0),
        sample.PLAYLIST_20: (20, 0, 0),
        sample.PLAYLIST_120: (120, 1, 1),
        sample.PLAYLIST_250: (250, 4, 3),
    }
