"""Classification of errors of yt-dlp, by the messages of YouTube."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.failures import FailureKind
from services.common.models import ErrorCode
from services.common.youtube.classify import FALLBACK_WAIT, RECORDING_WAIT, classify
from services.common.youtube.error_facts import ErrorFacts, facts_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_PLAYER = "Failed to extract any player response"
NO_FORMATS = "No video formats found!"


def facts(message: str = "", type: str = "ExtractorError", **more: object) -> ErrorFacts:
    return ErrorFacts.model_validate({"type": type, "message": message, **more})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Private video. Sign in if you've been granted access to this video", "private"),
        ("Video unavailable. This video is private", "private"),
        ("Video unavailable. This video has been removed by the uploader", "deleted"),
        ("This video has been removed for violating YouTube's Terms of Service", "deleted"),
        ("Video unavailable. This video isn't available anymore", "missing"),
        (
            "Video unavailable. This video is no longer available because the YouTube account associated with this"
            " video has been terminated.",
            "terminated",
        ),
        (
            "This video is no longer available because the uploader has closed their YouTube account.",
            "terminated",
        ),
        (
            "Video unavailable. This video contains content from X, who has blocked it on copyright grounds",
            "copyright",
        ),
        (
            "Video unavailable. This video contains content from X, who has blocked it in your country on copyright"
            " grounds",
            "region_blocked",
        ),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "age_restricted"),
        ("This video is available to this channel's members on level: Supporter", "members_only"),
        ("Join this channel to get access to members-only content", "members_only"),
    ],
)
def test_a_permanently_unavailable_video_is_gone_with_its_reason(message: str, reason: str) -> None:
    failure = classify(facts(message), NOW)
    assert (failure.kind, failure.code, failure.reason) == (FailureKind.GONE, ErrorCode.VIDEO_UNAVAILABLE, reason)
    assert failure.retry_after is None


def test_a_region_block_lists_the_available_countries() -> None:
    words = "The uploader has not made this video available in your country"
    failure = classify(facts(words, "GeoRestrictedError", countries=("DE", "FR")), NOW)
    assert failure.reason == "region_blocked"
    assert failure.message.endswith("(available in DE, FR)")


@pytest.mark.parametrize(
    ("seen", "reason", "wait"),
    [
        (facts("This live event will begin in 3 hours."), "upcoming", timedelta(hours=3) + MINUTE),
        (facts("This live event will begin in 12 minutes."), "upcoming", timedelta(minutes=12) + MINUTE),
        (facts("Premieres in 5 days"), "premiere", timedelta(days=5) + MINUTE),
        (facts("This live event will begin in a few moments."), "upcoming", FALLBACK_WAIT),
        (facts("This live stream recording is not available."), "recording", RECORDING_WAIT),
        (facts("live_status is_live", "LiveNow"), "live_now", FALLBACK_WAIT),
    ],
)
def test_a_video_that_is_not_yet_available_has_a_retry_time(seen: ErrorFacts, reason: str, wait: timedelta) -> None:
    failure = classify(seen, NOW)
    assert (failure.kind, failure.reason) == (FailureKind.NOT_YET, reason)
    assert failure.retry_after == NOW + wait


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (facts("Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot. Use --cookies"), "bot_check"),
        (
            facts(
                "Video unavailable. This content isn't available, try again later. The current session has been"
                " rate-limited by YouTube for up to an hour."
            ),
            "rate_limit",
        ),
        (facts(NO_FORMATS, warnings=("[youtube] HTTP Error 429: Too Many Requests",)), "http_429"),
        (facts(NO_FORMATS, warnings=("[youtube] HTTP Error 403: Forbidden",)), "http_403"),
        (
            facts(NO_PLAYER, warnings=("[youtube] Unable to download API page: HTTP Error 429: Too Many Requests",)),
            "http_429",
        ),
        (facts(NO_PLAYER, warnings=("[youtube] Unable to download webpage: HTTP Error 403: Forbidden",)), "http_403"),
        (facts("Unable to download webpage: HTTP Error 429", status=429, stage="extraction"), "http_429"),
    ],
)
def test_rate_limits_and_bot_checks_are_site_wide(seen: ErrorFacts, reason: str) -> None:
    failure = classify(seen, NOW)
    assert (failure.kind, failure.reason) == (FailureKind.SITE_WIDE, reason)


@pytest.mark.parametrize(
    ("seen", "code", "reason"),
    [
        (facts("unable to download video data: HTTP Error 403", status=403, stage="media"), "E006", "http_403"),
        (facts("unable to download video data: HTTP Error 429", status=429, stage="media"), "E006", "http_429"),
        (facts("[download] Got error: HTTP Error 503: Service Unavailable. Giving up"), "E006", "http_503"),
        (facts("HTTP Error 502", "HTTPError", status=502, stage="media"), "E006", "http_502"),
        (facts("[download] Got error: 10 bytes read, 20 more expected. Giving up"), "E003", "truncated"),
        (facts("format 137: 1 bytes read, 9 expected", "MediaIncomplete"), "E003", "truncated"),
        (facts("[download] Got error: The read operation timed out. Giving up"), "E003", "timeout"),
        (facts("Connection reset by peer", "TransportError"), "E003", "network"),
        (facts(NO_FORMATS, warnings=("[youtube] HTTP Error 503: Service Unavailable",)), "E006", "http_5xx"),
        (
            facts(NO_PLAYER, warnings=("[youtube] Unable to download API page: The read operation timed out",)),
            "E003",
            "timeout",
        ),
        (facts(NO_FORMATS), "E002", "no_formats"),
        (facts("Requested format is not available. Use --list-formats"), "E007", "format_unavailable"),
        (facts("Something that nobody has seen before"), "E999", "unknown"),
    ],
)
def test_temporary_failures_are_passing(seen: ErrorFacts, code: str, reason: str) -> None:
    failure = classify(seen, NOW)
    assert (failure.kind, failure.code, failure.reason) == (FailureKind.PASSING, code, reason)


@pytest.mark.claim("9.4")
@pytest.mark.parametrize(
    ("seen", "code", "reason"),
    [
        (facts("unable to write data: [Errno 28] No space left on device"), "E004", "disk_full"),
        (facts("[Errno 28]", "OSError", errno=28), "E004", "disk_full"),
        (facts("ffmpeg is not installed", "FfmpegMissing"), "E006", "no_ffmpeg"),
        (facts("Postprocessing: Conversion failed!"), "E999", "postprocessing"),
        (facts("could not find firefox cookies database", "CookieLoadError"), "E005", "cookies"),
    ],
)
def test_failures_of_this_machine_are_local(seen: ErrorFacts, code: str, reason: str) -> None:
    failure = classify(seen, NOW)
    assert (failure.kind, failure.code, failure.reason) == (FailureKind.LOCAL, code, reason)


def test_the_message_has_no_control_characters_and_no_yt_dlp_options() -> None:
    failure = classify(facts("ERROR: Private\x1b[31m video\u202e. Use --cookies-from-browser or --cookies for it"), NOW)
    assert failure.message == "Private [31m video ."


def test_facts_are_collected_from_all_wrapped_exceptions() -> None:
    class YoutubeError(Exception):
        orig_msg = "what YouTube said"
        countries = ("DE",)

    class Status(Exception):
        status = 503

    wrapped = RuntimeError("outer")
    inner = YoutubeError("[youtube] x: what YouTube said; please report this")
    inner.__cause__ = Status("HTTP Error 503")
    wrapped.__context__ = inner
    seen = facts_of(wrapped, ["a warning"], "media")
    assert seen == ErrorFacts(
        type="YoutubeError",
        types=("RuntimeError", "YoutubeError", "Status"),
        message="what YouTube said",
        status=503,
        countries=("DE",),
        warnings=("a warning",),
        stage="media",
    )
