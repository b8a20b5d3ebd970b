"""Classify errors of yt-dlp: one table from facts to the meaning for the queue. Pure.

The patterns match messages of YouTube and yt-dlp (extractor/youtube/_video.py). The first matching rule decides, so
narrow rules come before wide ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from services.common.domain.failures import UNKNOWN, Failure, FailureKind, GoneReason
from services.common.models import ErrorCode
from services.common.settings.masking import mask_text
from services.common.settings.retry_policy import ANSWERED, CallOutcome
from services.common.youtube.error_facts import ErrorFacts

REFUSALS = frozenset({"http_403", "http_429"})
"""Reasons that mean an expired URL when seen once, and a block of this address when repeated."""

OWNERS_ONLY = "owners_only"
"""A list that YouTube shows with the cookies of its owner only: another attempt changes nothing."""

FALLBACK_WAIT = timedelta(hours=1)  # a stream without a start time
RECORDING_WAIT = timedelta(hours=6)  # an ended stream whose recording is not available yet
_MARGIN = timedelta(minutes=1)
_LONGEST_MESSAGE = 500

_HTTP = re.compile(r"http_(\d{3})")
_HTTP_WORDS = re.compile(r"HTTP Error (\d{3})")
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_WAIT = re.compile(r"\bin (\d+) (minute|hour|day)s?\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_NOTHING_FOUND = re.compile("No video formats found|Failed to extract any player response")
_ADVICE = re.compile(
    r"\s*(?:Use --cookies|For more information, refer to|It is recommended to use|; please report this issue|"
    r"Please report this issue|Use --list-formats|You might want to use a VPN|Also see ).*",
    re.DOTALL,
)


_NETWORK_REMEDY = (
    "The network, or who administers it, restricts YouTube; this says nothing about the video. Use another network or "
    "DNS server, or set [youtube] proxy; `ytarchive workplan retry` tries again."
)


@dataclass(frozen=True)
class _Rule:
    """A condition and the resulting classification. `wait` None: no retry_after. `remedy` is added to the message."""

    matches: Callable[[ErrorFacts], bool]
    kind: FailureKind
    code: ErrorCode
    reason: str
    wait: timedelta | None = None
    remedy: str = ""


def _words(pattern: str) -> Callable[[ErrorFacts], bool]:
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda facts: expression.search(facts.message) is not None


def _type(*names: str) -> Callable[[ErrorFacts], bool]:
    return lambda facts: not {facts.type, *facts.types}.isdisjoint(names)


def _warned(pattern: str) -> Callable[[ErrorFacts], bool]:
    """Match warnings after which yt-dlp found no formats: the player, or every page, was refused."""
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda facts: (
        _NOTHING_FOUND.search(facts.message) is not None and any(map(expression.search, facts.warnings))
    )


def _status(*codes: int, stage: str | None = None) -> Callable[[ErrorFacts], bool]:
    return lambda facts: facts.status in codes and stage in (None, facts.stage)


def _gone(pattern: str, reason: GoneReason) -> _Rule:
    return _Rule(_words(pattern), FailureKind.GONE, ErrorCode.VIDEO_UNAVAILABLE, reason)


def _refused(pattern: str, reason: str, code: ErrorCode = ErrorCode.VIDEO_UNAVAILABLE, remedy: str = "") -> _Rule:
    return _Rule(_words(pattern), FailureKind.REFUSED, code, reason, remedy=remedy)


def _site(fits: Callable[[ErrorFacts], bool], reason: str) -> _Rule:
    return _Rule(fits, FailureKind.SITE_WIDE, ErrorCode.SERVICE_UNAVAILABLE, reason)


def _not_yet(fits: Callable[[ErrorFacts], bool], reason: str, wait: timedelta = FALLBACK_WAIT) -> _Rule:
    return _Rule(fits, FailureKind.NOT_YET, ErrorCode.VIDEO_UNAVAILABLE, reason, wait)


def _passing(fits: Callable[[ErrorFacts], bool], reason: str, code: ErrorCode = ErrorCode.NETWORK_TIMEOUT) -> _Rule:
    return _Rule(fits, FailureKind.PASSING, code, reason)


def _unserved(fits: Callable[[ErrorFacts], bool], reason: str) -> _Rule:
    return _passing(fits, reason, ErrorCode.SERVICE_UNAVAILABLE)


def _local(fits: Callable[[ErrorFacts], bool], reason: str, code: ErrorCode) -> _Rule:
    return _Rule(fits, FailureKind.LOCAL, code, reason)


_RULES: tuple[_Rule, ...] = (
    # local causes
    _local(lambda facts: facts.errno == 28, "disk_full", ErrorCode.STORAGE_FULL),
    _local(_words("No space left on device|Disk quota exceeded"), "disk_full", ErrorCode.STORAGE_FULL),
    _local(_type("PartialBusy"), "partial_busy", ErrorCode.SERVICE_UNAVAILABLE),
    _local(_type("FfmpegMissing"), "no_ffmpeg", ErrorCode.SERVICE_UNAVAILABLE),
    _local(_type("OwnersOnly"), OWNERS_ONLY, ErrorCode.INVALID_CREDENTIALS),
    _Rule(_type("LeftOut"), FailureKind.LEFT_OUT, ErrorCode.VIDEO_UNAVAILABLE, "left_out"),
    _local(_type("CookieLoadError", "CookiesUnreadable"), "cookies", ErrorCode.INVALID_CREDENTIALS),
    _local(_type("CertificateVerifyError"), "certificate", ErrorCode.SERVICE_UNAVAILABLE),
    _local(lambda facts: facts.out_of_memory, "memory", ErrorCode.INTERNAL_ERROR),
    _local(_words("Postprocessing:|conversion failed"), "postprocessing", ErrorCode.INTERNAL_ERROR),
    _local(_words("No player clients have been requested|Unsupported language code"), "extractor_args",
           ErrorCode.INVALID_REQUEST),
    # the site blocks this machine
    _site(_words("not a bot|captcha challenge|unusual traffic"), "bot_check"),
    _site(_words("IP is likely being blocked"), "ip_blocked"),
    _site(_warned("got player responses for video"), "ip_blocked"),
    _site(_words("rate-limited|content isn.t available, try again later"), "rate_limit"),
    _site(_warned(r"HTTP Error 429"), "http_429"),
    _site(_warned(r"HTTP Error 403"), "http_403"),
    _site(_status(429, stage="extraction"), "http_429"),
    _site(_status(403, stage="extraction"), "http_403"),
    # not yet
    _not_yet(_type("LiveNow"), "live_now"),
    _not_yet(_words("recording is not available|live event has ended"), "recording", RECORDING_WAIT),
    _not_yet(_words("Premieres in|Premiere will begin|Premieres "), "premiere"),
    _not_yet(_words("live event will begin|live stream will begin|is offline|Scheduled for"), "upcoming"),
    _not_yet(_words("processing this video|being processed"), "processing"),
    # refused by the network
    _refused("administrator|restricted mode|google workspace|webpage has been blocked by", "network_restricted",
             ErrorCode.SERVICE_UNAVAILABLE, _NETWORK_REMEDY),
    # gone: only reasons that are known
    _gone("private video|video is private", GoneReason.PRIVATE),
    _gone("account associated with this video has been|closed their YouTube account|channel .*terminated",
          GoneReason.TERMINATED),
    _Rule(_type("GeoRestrictedError"), FailureKind.GONE, ErrorCode.VIDEO_UNAVAILABLE, GoneReason.REGION_BLOCKED),
    _gone("in your country|your region|this country domain", GoneReason.REGION_BLOCKED),
    _gone("copyright", GoneReason.COPYRIGHT),
    _gone("confirm your age|age.restricted|inappropriate for some users|inappropriate or offensive",
          GoneReason.AGE_RESTRICTED),
    _gone("channel.s members|members-only|members only|join this channel|requires payment|Premium members",
          GoneReason.MEMBERS_ONLY),
    _gone("removed by the uploader|removed by the user|has been removed|been deleted", GoneReason.DELETED),
    _gone("isn.t available any ?more|no longer available|does not exist|Incomplete YouTube ID",
          GoneReason.MISSING),
    # refused without a known reason
    _refused("video unavailable|(video|content|movie) (is|isn.t|is not|was) (un|not )?available"
             "|playback on other websites|playback has been disabled|not available on this (app|device)",
             GoneReason.UNEXPLAINED),
    # passing
    _unserved(_status(403), "http_403"),
    _unserved(_status(429), "http_429"),
    _unserved(_words("HTTP Error 403"), "http_403"),
    _unserved(_words("HTTP Error 429"), "http_429"),
    _unserved(lambda facts: facts.stage == "media" and 400 <= (facts.status or 0) < 500, "http_4xx"),
    _unserved(_warned(r"HTTP Error 5\d\d"), "http_5xx"),
    _unserved(lambda facts: facts.status is not None and facts.status >= 500, "http_5xx"),
    _unserved(_words(r"HTTP Error 5\d\d"), "http_5xx"),
    _passing(_type("MediaIncomplete", "ContentTooShortError", "IncompleteRead"), "truncated"),
    _passing(_words("more expected|content too short|did not get any data blocks"), "truncated"),
    _passing(_words("timed out|timeout"), "timeout"),
    _passing(_warned("timed out|timeout"), "timeout"),
    _passing(_type("ProxyError"), "proxy"),
    _passing(_type("TransportError", "ConnectionError", "ConnectionResetError", "TimeoutError", "SSLError"), "network"),
    _passing(_words("connection|network|resolve|unreachable|remote end closed"), "network"),
    _passing(_warned("connection|unable to download|transport"), "network"),
    # passing, and about yt-dlp, the network or the address when repeated for video after video
    _unserved(_words("page needs to be reloaded"), "reload"),
    _unserved(_words(r"error occurred\. please try again|something went wrong|try again later"), "try_again"),
    _passing(_words("requested format is not available"), "format_unavailable", ErrorCode.INVALID_REQUEST),
    _passing(_words("DRM"), "drm", ErrorCode.VIDEO_UNAVAILABLE),
    _passing(_words("sign in|login required|login details|registered users|cookies"), "login",
             ErrorCode.INVALID_CREDENTIALS),
    _passing(_words("No video formats found"), "no_formats", ErrorCode.VIDEO_UNAVAILABLE),
    _unserved(_words("Failed to extract any player response"), "no_player"),
    _unserved(_words("extractor error has occurred|unable to extract|cannot (identify player|extract signature)"
                     "|incomplete data received|incomplete yt initial data|failed to parse"), "extractor"),
    _local(lambda facts: any(name.endswith("OSError") or name == "PermissionError" for name in facts.types),
           "disk", ErrorCode.INTERNAL_ERROR),
)  # fmt: skip
_UNKNOWN = _Rule(lambda _facts: True, FailureKind.PASSING, ErrorCode.INTERNAL_ERROR, UNKNOWN)


def classify(facts: ErrorFacts, now: datetime) -> Failure:
    """Classify a failure of yt-dlp that happened at `now`, the base of `retry_after`.

    An unknown failure is PASSING with E999: three attempts, then it is reported with its message.
    """
    rule = next((rule for rule in _RULES if rule.matches(facts)), _UNKNOWN)
    reason = rule.reason
    if reason in {"http_4xx", "http_5xx"}:
        reason = _with_status(reason, facts)
    return Failure(
        kind=rule.kind,
        code=rule.code,
        reason=reason,
        message=f"{readable(facts)} {rule.remedy}".rstrip(),
        retry_after=now + _wait(facts.message, rule.wait) if rule.wait else None,
    )


UNREACHED = frozenset({"timeout", "proxy", "network"})
"""Reasons that mean a temporary fault when seen once, and a network outage when repeated."""
_SAYS_NOTHING = frozenset({UNKNOWN, "truncated", "extractor", "reload", "try_again", "no_player"})
"""Reasons that say nothing about whether the servers work."""


def call_outcome(failure: Failure) -> CallOutcome | None:
    """Return what a failure means for YouTube's servers; None when it says nothing about them."""
    if failure.reason in UNREACHED:
        return CallOutcome()
    if failure.reason == "http_5xx":  # yt-dlp only warned of the answer
        return CallOutcome(HTTPStatus.SERVICE_UNAVAILABLE)
    if failure.reason == "rate_limit":
        return CallOutcome(HTTPStatus.TOO_MANY_REQUESTS)
    if (found := _HTTP.fullmatch(failure.reason)) is not None:
        return CallOutcome(int(found[1]))
    return None if failure.kind is FailureKind.LOCAL or failure.reason in _SAYS_NOTHING else ANSWERED


def _with_status(reason: str, facts: ErrorFacts) -> str:
    found = _HTTP_WORDS.search(facts.message)
    status = facts.status or (found[1] if found else None)
    return f"http_{status}" if status else reason


def _wait(message: str, fallback: timedelta) -> timedelta:
    """Return the wait of a message such as `in 3 hours`, plus a margin for its rounding."""
    found = _WAIT.search(message)
    return int(found[1]) * _UNITS[found[2]] + _MARGIN if found else fallback


def readable(facts: ErrorFacts) -> str:
    """Return the message for people, without control characters, secrets, and yt-dlp's advice about its command
    line."""
    text = _ADVICE.sub("", facts.message.removeprefix("ERROR: "))
    text = mask_text(_CONTROL.sub(" ", text).strip())
    if facts.out_of_memory:
        text = "yt-dlp needed more memory than [download] memory_limit allows, or than the machine has"
    if facts.countries:
        text += f" (available in {', '.join(facts.countries)})"
    return text[:_LONGEST_MESSAGE] or facts.type
