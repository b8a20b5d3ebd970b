"""YouTube's wording of each refusal to play a video."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ytarchive.emulator.site.world import Json, Video, VideoKind

DEFAULT_WAIT = timedelta(hours=3)


def starts_at(video: Video) -> datetime:
    """Return the start time of an upcoming stream; DEFAULT_WAIT from now when the video has none."""
    if video.starts_at is None:
        return datetime.now(UTC) + DEFAULT_WAIT
    return datetime.fromisoformat(video.starts_at)


def wait_text(video: Video) -> str:
    """Return the time until the start, at least one minute and rounded as on YouTube: `3 hours`, `5 days`."""
    seconds = max(60.0, (starts_at(video) - datetime.now(UTC)).total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(seconds / length)
        if seconds >= length * 0.99 and count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "a few moments"


def _refusal(status: str, reason: str, subreason: str | None = None) -> Json:
    renderer: Json = {"reason": {"simpleText": reason}}
    if subreason:
        renderer["subreason"] = {"simpleText": subreason}
    return {
        "status": status,
        "reason": reason,
        "errorScreen": {"playerErrorMessageRenderer": renderer},
        "playableInEmbed": False,
    }


def _unavailable(status: str, subreason: str) -> Json:
    return _refusal(status, "Video unavailable", subreason)


_REFUSALS: dict[VideoKind, Json] = {
    VideoKind.PRIVATE: _refusal(
        "LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"
    ),
    VideoKind.DELETED: _unavailable("ERROR", "This video has been removed by the uploader"),
    VideoKind.MISSING: _unavailable("ERROR", "This video isn't available anymore"),
    VideoKind.TERMINATED: _unavailable(
        "ERROR",
        "This video is no longer available because the YouTube account associated with this video has been terminated.",
    ),
    VideoKind.COPYRIGHT: _unavailable(
        "UNPLAYABLE",
        "This video contains content from Example Records, who has blocked it on copyright grounds",
    ),
    VideoKind.GEO: _unavailable("UNPLAYABLE", "The uploader has not made this video available in your country"),
    VideoKind.AGE: {
        **_refusal(
            "LOGIN_REQUIRED",
            "Sign in to confirm your age",
            "This video may be inappropriate for some users.",
        ),
        "desktopLegacyAgeGateReason": 1,
    },
    VideoKind.MEMBERS: _refusal(
        "UNPLAYABLE",
        "This video is available to this channel's members on level: Supporter (or any higher level)."
        " Join this channel to get access to members-only content and other exclusive perks.",
    ),
    VideoKind.ENDED_LIVE: _refusal("LIVE_STREAM_OFFLINE", "This live stream recording is not available."),
    VideoKind.BOT_CHECK: _refusal(
        "LOGIN_REQUIRED",
        "Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot",
        "This helps protect our community. Learn more",
    ),
    VideoKind.RATE_LIMIT: _unavailable("UNPLAYABLE", "This content isn't available, try again later."),
    VideoKind.UNEXPLAINED: _unavailable("UNPLAYABLE", "This content isn't available."),
    VideoKind.EMBEDDING: _unavailable("ERROR", "Playback on other websites has been disabled by the video owner"),
    VideoKind.NETWORK: _unavailable(
        "ERROR",
        "This video is restricted. Please check the Google Workspace administrator and/or the network administrator"
        " restrictions.",
    ),
    VideoKind.RELOAD: _refusal("UNPLAYABLE", "The page needs to be reloaded."),
    VideoKind.ERROR: _refusal("ERROR", "An error occurred. Please try again later."),
    VideoKind.OTHER_VIDEO: {"status": "OK", "playableInEmbed": False},
}


def _scheduled_refusal(reason: Callable[[Video], str]) -> Callable[[Video], Json]:
    def refusal(video: Video) -> Json:
        begin = {"scheduledStartTime": str(int(starts_at(video).timestamp()))}
        slate = {"liveStreamOfflineSlateRenderer": begin}
        return {
            **_refusal("LIVE_STREAM_OFFLINE", reason(video)),
            "liveStreamability": {
                "liveStreamabilityRenderer": {"videoId": video.id, "offlineSlate": slate},
            },
        }

    return refusal


_SCHEDULED_REFUSALS: dict[VideoKind, Callable[[Video], Json]] = {
    VideoKind.UPCOMING: _scheduled_refusal(lambda video: f"This live event will begin in {wait_text(video)}."),
    VideoKind.PREMIERE: _scheduled_refusal(lambda video: f"Premieres in {wait_text(video)}"),
}


def playability(kind: VideoKind, video: Video | None) -> Json:
    """Return the `playabilityStatus` for a kind. `video` is None when the video does not exist."""
    if kind in (VideoKind.OK, VideoKind.LIVE):
        return {"status": "OK", "playableInEmbed": True}
    if video is not None and kind in _SCHEDULED_REFUSALS:
        return _SCHEDULED_REFUSALS[kind](video)
    return _REFUSALS.get(kind, _REFUSALS[VideoKind.MISSING])
