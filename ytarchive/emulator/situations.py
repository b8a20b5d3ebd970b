"""Situations of YouTube as it really is, by name. `python -m ytarchive.emulator --situations` lists them.

To add one: a line in SITUATIONS, with its name, one sentence, and what it changes in the world or as faults.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ytarchive.emulator.site.pages import PLAYLIST_PAGE
from ytarchive.emulator.site.sample import PLAYLIST_3, VIDEO_OK
from ytarchive.emulator.site.world import VideoKind, World
from ytarchive.emulator.transport.fault_injection import Effect, Fault, Faults

ALBUM, ALBUM_PLAYLIST = "MPREb_loopback001", "OLAK5uy_loopback00000000000000000000album"
Change = Callable[[World, Faults], None]
LOW = 360
FRESH = (144, 240, LOW)
PROCESSED = (*FRESH, 480, 720)


class NoSuchSituation(ValueError):
    """The name is not in SITUATIONS. The message lists them."""


@dataclass(frozen=True)
class Situation:
    """`begin` brings it about; a reset of the emulator ends it."""

    name: str
    summary: str
    begin: Change


def _all(kind: VideoKind) -> Change:
    return lambda world, _faults: world.set_kind("*", kind)


def _one(kind: VideoKind) -> Change:
    return lambda world, _faults: world.set_kind(VIDEO_OK, kind)


def _media(status: int) -> Change:
    def change(_world: World, faults: Faults) -> None:
        faults.add(Fault("media", Effect.STATUS, status=status))

    return change


def _short_media(world: World, _faults: Faults) -> None:
    for video in list(world.videos.values()):
        world.add(replace(video, missing=5_000))


def _now(**changes: Any) -> Change:
    """Change a video that was uploaded just now."""

    def change(world: World, _faults: Faults) -> None:
        today = datetime.now(UTC).date().isoformat()
        world.add(replace(world.videos[VIDEO_OK], upload_date=today, **changes))

    return change


def _stream(duration: int) -> Change:
    """The recording of a stream that began two hours ago."""

    def change(world: World, _faults: Faults) -> None:
        began = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="seconds")
        world.add(replace(world.videos[VIDEO_OK], streamed_at=began, duration=duration))

    return change


def _without_url(world: World, _faults: Faults) -> None:
    video = world.videos[VIDEO_OK]
    world.add(replace(video, without_url=tuple(height for height in video.heights if height > LOW)))


def _captions(*, refused: bool) -> Change:
    def change(world: World, faults: Faults) -> None:
        if refused:
            faults.add(Fault("caption", Effect.STATUS, status=429))
        else:
            world.add(replace(world.videos[VIDEO_OK], captions_need_token=True))

    return change


def _cut_list(world: World, _faults: Faults) -> None:
    """Playlists end after the first page."""
    for playlist in list(world.playlists.values()):
        world.add(replace(playlist, cut_after=PLAYLIST_PAGE))


def _album(world: World, _faults: Faults) -> None:
    world.add(replace(world.playlists[PLAYLIST_3], id=ALBUM_PLAYLIST))
    world.albums[ALBUM] = ALBUM_PLAYLIST


def _private_lists(world: World, _faults: Faults) -> None:
    for list_id, title in (("WL", "Watch later"), ("LL", "Liked videos")):
        world.add(replace(world.playlists[PLAYLIST_3], id=list_id, title=title))


SITUATIONS = {
    situation.name: situation
    for situation in (
        Situation("reload", "every video: The page needs to be reloaded (an outdated yt-dlp)", _all(VideoKind.RELOAD)),
        Situation("throttled", "every video: Video unavailable, without a reason", _all(VideoKind.UNEXPLAINED)),
        Situation("all_private", "every video is said to be private", _all(VideoKind.PRIVATE)),
        Situation("network", "every video: refused by a network administrator", _all(VideoKind.NETWORK)),
        Situation("other_video", "the player answers for another video", _all(VideoKind.OTHER_VIDEO)),
        Situation("bot_check", "every video: Sign in to confirm you are not a bot", _all(VideoKind.BOT_CHECK)),
        Situation("cut_list", f"playlists end after {PLAYLIST_PAGE} entries, whatever they announce", _cut_list),
        Situation("endless_stream", f"{VIDEO_OK} is live", _one(VideoKind.LIVE)),
        Situation("embedding", f"{VIDEO_OK}: playback on other websites is disabled", _one(VideoKind.EMBEDDING)),
        Situation("one_error", f"{VIDEO_OK}: An error occurred. Please try again later", _one(VideoKind.ERROR)),
        Situation("media_404", "media answer 404", _media(404)),
        Situation("media_429", "media answer 429", _media(429)),
        Situation("media_503", "media answer 503", _media(503)),
        Situation("album", f"music.youtube.com/browse/{ALBUM} is an album of three", _album),
        Situation("private_lists", "Watch later and Liked videos, with cookies (LOGIN_INFO) only", _private_lists),
        Situation("fresh_upload", f"{VIDEO_OK} was uploaded just now: no more than 360p yet", _now(heights=FRESH)),
        Situation("fresh_upload_done", f"{VIDEO_OK} was uploaded just now: 720p is there", _now(heights=PROCESSED)),
        Situation("formats_missing", f"{VIDEO_OK}: streams above 360p without an address (SABR)", _without_url),
        Situation("captions_later", f"{VIDEO_OK} was uploaded just now: no captions yet", _now(captions=())),
        Situation("captions_refused", "captions answer 429", _captions(refused=True)),
        Situation("captions_need_token", f"{VIDEO_OK}: captions need a PO token", _captions(refused=False)),
        Situation("stream_ended", f"{VIDEO_OK}: a stream that ended just now, 60 s of it", _stream(60)),
        Situation("stream_processed", f"{VIDEO_OK}: a stream that ended just now, all of it", _stream(600)),
        Situation("short_media", "media are always shorter than announced", _short_media),
    )
}


def begin(name: str, world: World, faults: Faults) -> Situation:
    """Bring a situation about. Raise NoSuchSituation."""
    situation = SITUATIONS.get(name)
    if situation is None:
        raise NoSuchSituation(f"no situation {name!r}; there are: {', '.join(SITUATIONS)}")
    situation.begin(world, faults)
    return situation


def listing() -> str:
    """Return one line for each situation."""
    width = max(map(len, SITUATIONS))
    return "".join(f"{one.name:<{width}}  {one.summary}\n" for one in SITUATIONS.values())
