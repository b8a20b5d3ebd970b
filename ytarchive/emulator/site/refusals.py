"""How YouTube words each refusal to play a video."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ytarchive.emulator.site.world import Json, Kind, Video

DEFAULT_WAIT = timedelta(hours=3)


def starts_at(video: Video) -> datetime:
    """When an upcoming stream begins; three hours from now unless the video says."""
    if video.starts_at is None:
        return datetime.now(UTC) + DEFAULT_WAIT
    return datetime.fromisoformat(video.starts_at)


def wait_text(video: Video) -> str:
    """`3 hours`, `5 days`, `12 minutes`: rounded as YouTube does, and never nothing."""
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


def _unavailable(status: str, why: str) -> Json:
    return _refusal(status, "Video unavailable", why)


_WORDS: dict[Kind, Json] = {
    Kind.PRIVATE: _refusal("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"),
    Kind.DELETED: _unavailable("ERROR", "This video has been removed by the uploader"),
    Kind.MISSING: _unavailable("ERROR", "This video isn't available anymore"),
    Kind.TERMINATED: _unavailable(
        "ERROR",
        "This video is no longer available because the YouTube account associated with this video has been terminated.",
    ),
    Kind.COPYRIGHT: _unavailable(
        "UNPLAYABLE",
        "This video contains content from Example Records, who has blocked it on copyright grounds",
    ),
    Kind.GEO: _unavailable("UNPLAYABLE", "The uploader has not made this video available in your country"),
    Kind.AGE: {
        **_refusal(
            "LOGIN_REQUIRED",
            "Sign in to confirm your age",
            "This video may be inappropriate for some users.",
        ),
        "desktopLegacyAgeGateReason": 1,
    },
    Kind.MEMBERS: _refusal(
        "UNPLAYABLE",
        "This video is available to this channel's members on level: Supporter (or any higher level)."
        " Join this channel to get access to members-only content and other exclusive perks.",
    ),
    Kind.ENDED_LIVE: _refusal("LIVE_STREAM_OFFLINE", "This live stream recording is not available."),
    Kind.BOT_CHECK: _refusal(
        "LOGIN_REQUIRED",
        "Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot",
        "This helps protect our community. Learn more",
    ),
    Kind.RATE_LIMIT: _unavailable("UNPLAYABLE", "This content isn't available, try again later."),
}


def _waiting(reason: Callable[[Video], str]) -> Callable[[Video], Json]:
    def words(video: Video) -> Json:
        begin = {"scheduledStartTime": str(int(starts_at(video).timestamp()))}
        slate = {"liveStreamOfflineSlateRenderer": begin}
        return {
            **_refusal("LIVE_STREAM_OFFLINE", reason(video)),
            "liveStreamability": {
                "liveStreamabilityRenderer": {"videoId": video.id, "offlineSlate": slate},
            },
        }

    return words


_TIMED: dict[Kind, Callable[[Video], Json]] = {
    Kind.UPCOMING: _waiting(lambda video: f"This live event will begin in {wait_text(video)}."),
    Kind.PREMIERE: _waiting(lambda video: f"Premieres in {wait_text(video)}"),
}


def playability(kind: Kind, video: Video | None) -> Json:
    """The `playabilityStatus` of a video that is of this kind now (`video` None: it never existed)."""
    if kind in (Kind.OK, Kind.LIVE):
        return {"status": "OK", "playableInEmbed": True}
    if video is not None and kind in _TIMED:
        return _TIMED[kind](video)
    return _WORDS.get(kind, _WORDS[Kind.MISSING])
