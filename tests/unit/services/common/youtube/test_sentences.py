"""Every sentence that yt-dlp's extractor of YouTube raises or passes on, and what it means for the queue."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from yt_dlp.extractor import youtube

from services.common.domain.failures import UNKNOWN, Failure, FailureKind
from services.common.models import ErrorCode
from services.common.youtube.classify import OWNERS_ONLY, classify
from services.common.youtube.error_facts import ErrorFacts

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GONE, REFUSED, NOT_YET, PASSING, SITE_WIDE, LOCAL = (
    FailureKind.GONE, FailureKind.REFUSED, FailureKind.NOT_YET, FailureKind.PASSING, FailureKind.SITE_WIDE,
    FailureKind.LOCAL,
)  # fmt: skip

SENTENCES = {
    # --- the video is gone, for a reason that YouTube names
    "Private video. Sign in if you've been granted access to this video": (GONE, "private"),
    "This video is private": (GONE, "private"),
    "Video unavailable. This video is private": (GONE, "private"),
    "Video unavailable. This video has been removed by the uploader": (GONE, "deleted"),
    "This video has been removed by the user": (GONE, "deleted"),
    "This video has been removed for violating YouTube's Terms of Service": (GONE, "deleted"),
    "This video has been removed for violating YouTube's policy on hate speech. Learn more": (GONE, "deleted"),
    "Video unavailable. This video isn't available anymore": (GONE, "missing"),
    "This video isn\N{RIGHT SINGLE QUOTATION MARK}t available any more": (GONE, "missing"),
    "This video does not exist.": (GONE, "missing"),
    "Incomplete YouTube ID x. URL https://www.youtube.com/watch?v=x looks truncated.": (GONE, "missing"),
    "This video is no longer available because the YouTube account associated with this video has been terminated.": (
        GONE, "terminated",
    ),
    "This video is no longer available because the uploader has closed their YouTube account.": (GONE, "terminated"),
    "This video is no longer available due to a copyright claim by X": (GONE, "copyright"),
    "Video unavailable. This video contains content from X, who has blocked it on copyright grounds": (
        GONE, "copyright",
    ),
    "Video unavailable. This video contains content from X, who has blocked it in your country on copyright grounds": (
        GONE, "region_blocked",
    ),
    "The uploader has not made this video available in your country": (GONE, "region_blocked"),
    "This content is not available on this country domain due to a legal complaint from the government.": (
        GONE, "region_blocked",
    ),
    "This content is not available on this country domain due to a court order.": (GONE, "region_blocked"),
    "Sign in to confirm your age. This video may be inappropriate for some users.": (GONE, "age_restricted"),
    "This video is age-restricted and only available on YouTube": (GONE, "age_restricted"),
    "The following content has been identified by the YouTube community as inappropriate or offensive to some"
    " audiences.": (GONE, "age_restricted"),
    "This video is available to this channel's members on level: Supporter (or any higher level).": (
        GONE, "members_only",
    ),
    "Join this channel to get access to members-only content like this video, and other exclusive perks.": (
        GONE, "members_only",
    ),
    "This video is only available to Music Premium members": (GONE, "members_only"),
    "This video requires payment to watch.": (GONE, "members_only"),
    # --- YouTube refuses it, and does not say why
    "Video unavailable": (REFUSED, "unexplained"),
    "Video unavailable. This content isn't available.": (REFUSED, "unexplained"),
    "Video unavailable. This video is unavailable": (REFUSED, "unexplained"),
    "Video unavailable. This video is not available": (REFUSED, "unexplained"),
    "This video is not available.": (REFUSED, "unexplained"),
    "Video unavailable. Playback on other websites has been disabled by the video owner": (REFUSED, "unexplained"),
    "The following content is not available on this app. Watch on the latest version of YouTube.": (
        REFUSED, "unexplained",
    ),
    "This video is not available on this device": (REFUSED, "unexplained"),
    # --- the network, or who administers it, refuses it
    "Video unavailable. This video is restricted. Please check the Google Workspace administrator and/or the network"
    " administrator restrictions.": (REFUSED, "network_restricted"),
    "This video is unavailable with Restricted Mode enabled.": (REFUSED, "network_restricted"),
    "Access to this webpage has been blocked by Websense filtering software in your network.": (
        REFUSED, "network_restricted",
    ),
    "Access to this webpage has been blocked by Indian censorship. Use a VPN or proxy server.": (
        REFUSED, "network_restricted",
    ),
    "Access to this webpage has been blocked by decision of the Russian government.": (REFUSED, "network_restricted"),
    # --- not yet
    "This live event will begin in 3 hours.": (NOT_YET, "upcoming"),
    "This live event will begin in a few moments.": (NOT_YET, "upcoming"),
    "Premieres in 5 days": (NOT_YET, "premiere"),
    "Premiere will begin shortly": (NOT_YET, "premiere"),
    "This live stream recording is not available.": (NOT_YET, "recording"),
    "This live event has ended.": (NOT_YET, "recording"),
    "We're processing this video. Check back later.": (NOT_YET, "processing"),
    # --- the site blocks this machine
    "Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot. Use --cookies-from-browser or --cookies": (
        SITE_WIDE, "bot_check",
    ),
    "Sign in to confirm you're not a bot": (SITE_WIDE, "bot_check"),
    "Video unavailable. YouTube is requiring a captcha challenge before playback": (SITE_WIDE, "bot_check"),
    "All player responses are invalid. Your IP is likely being blocked by Youtube": (SITE_WIDE, "ip_blocked"),
    "Video unavailable. This content isn't available, try again later. The current session has been rate-limited by"
    " YouTube for up to an hour.": (SITE_WIDE, "rate_limit"),
    "Video unavailable. This content isn't available, try again later. Your account has been rate-limited by YouTube"
    " for up to an hour.": (SITE_WIDE, "rate_limit"),
    # --- one attempt; about this machine when repeated for video after video
    "The page needs to be reloaded.": (PASSING, "reload"),
    "An error occurred. Please try again later.": (PASSING, "try_again"),
    "An error occurred. Please try again later. (Playback ID: Zk3qVwHy1x8c2TnB)": (PASSING, "try_again"),
    "Something went wrong. Refresh or try again later.": (PASSING, "try_again"),
    "Failed to extract any player response": (PASSING, "no_player"),
    "No video formats found!": (PASSING, "no_formats"),
    "Requested format is not available": (PASSING, "format_unavailable"),
    "This video is DRM protected": (PASSING, "drm"),
    "Please sign in. Use --cookies-from-browser or --cookies for the authentication.": (PASSING, "login"),
    "Login details are needed to download this content.": (PASSING, "login"),
    "This video is only available for registered users": (PASSING, "login"),
    "Cannot identify player 'https://www.youtube.com/s/player/x/base.js'": (PASSING, "extractor"),
    "Cannot extract signature timestamp without player url": (PASSING, "extractor"),
    "Unable to extract yt initial data": (PASSING, "extractor"),
    "Unable to extract initial player response - Failed to parse JSON": (PASSING, "extractor"),
    "An extractor error has occurred. (caused by KeyError('x'))": (PASSING, "extractor"),
    "Incomplete data received": (PASSING, "extractor"),
    "A network error has occurred.": (PASSING, "network"),
    # --- settings
    "No player clients have been requested": (LOCAL, "extractor_args"),
    "Unsupported language code: xx. Supported language codes (case-sensitive): de, en.": (LOCAL, "extractor_args"),
}  # fmt: skip

ABOUT_LISTS = ("Invalid URL", "comment reply thread", "OAuth", "YouTube said")
"""Beginnings and parts of sentences that an extraction of one video does not raise."""


def failure(message: str, **facts: object) -> Failure:
    return classify(ErrorFacts.model_validate({"type": "ExtractorError", "message": message, **facts}), NOW)


@pytest.mark.parametrize(("message", "expected"), SENTENCES.items())
def test_every_sentence_has_a_meaning(message: str, expected: tuple[FailureKind, str]) -> None:
    found = failure(message)
    assert (found.kind, found.reason) == expected


def raised() -> Iterator[str]:
    """Yield the sentences in the source of the extractor, with `x` for what is filled in."""
    folder = Path(youtube.__file__).parent
    for name in ("_video.py", "_base.py"):
        for node in ast.walk(ast.parse((folder / name).read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            if getattr(called, "id", getattr(called, "attr", "")) in {"ExtractorError", "raise_login_required"}:
                text = _literal(node.args[0]) if isinstance(node, ast.Call) and node.args else ""
                if text and not any(part in text for part in ABOUT_LISTS):
                    yield text


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def test_no_sentence_in_the_source_of_the_installed_extractor_is_unknown() -> None:
    """A new version of yt-dlp may raise more than the table above knows."""
    found = list(raised())
    assert "Failed to extract any player response" in found
    assert [text for text in found if failure(text).reason == UNKNOWN] == []


def test_a_list_of_somebody_else_is_about_our_cookies() -> None:
    found = failure("YouTube shows Watch later to its owner only", type="OwnersOnly")
    assert (found.kind, found.code, found.reason) == (LOCAL, ErrorCode.INVALID_CREDENTIALS, OWNERS_ONLY)


def test_an_answer_for_another_video_is_site_wide() -> None:
    warning = 'Skipping player responses from web clients (got player responses for video "a" instead of "b")'
    found = failure("No video formats found!", warnings=(warning,))
    assert (found.kind, found.reason) == (SITE_WIDE, "ip_blocked")


def test_a_refusal_by_the_network_names_the_remedy() -> None:
    found = failure("Video unavailable. Please check the network administrator restrictions.")
    assert "another network" in found.message
    assert "says nothing about the video" in found.message


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(404, "E006", "http_404"), (410, "E006", "http_410"), (429, "E006", "http_429"), (403, "E006", "http_403")],
)
def test_refused_media_are_neither_our_own_error_nor_a_timeout(status: int, code: str, reason: str) -> None:
    found = failure(f"unable to download video data: HTTP Error {status}: x", status=status, stage="media")
    assert (found.kind, found.code, found.reason) == (PASSING, code, reason)


def test_words_are_compared_without_what_differs_from_video_to_video() -> None:
    first = failure("An error occurred. Please try again later. (Playback ID: Zk3qVwHy1x8c2TnB)")
    second = failure("An error occurred. Please try again later. (Playback ID: abcDEFghiJKLmnop)")
    assert first.words == second.words
    assert first.words != failure("The page needs to be reloaded.").words
