"""What people are told about a block: what happened and what to do. Pure."""

from services.common.domain.failures import Failure, Suspicion
from services.common.youtube.classify import UNREACHED

_REMEDIES = {
    "bot_check": "Cookies of an account ([youtube] cookies_file) or another address ([youtube] proxy) help.",
    "ip_blocked": "Another address ([youtube] proxy) helps, or time.",
    "rate_limit": "Time helps; [youtube] sleep_interval keeps the requests apart.",
    "http_429": "Time helps; [youtube] sleep_interval keeps the requests apart.",
}


def block_message(reason: str, failure: Failure, *, canary: bool, advice: str) -> str:
    """Return the sentences, without the time. `canary`: it was a video saved before that failed. `advice`: about
    yt-dlp."""
    words = f'"{failure.message}"'
    also = "A video that was saved before is refused as well: it is not your list." if canary else ""
    match reason:
        case Suspicion.SAME_FAILURE:
            parts = [f"Video after video fails with the same words: {words}", also, advice]
        case Suspicion.ALL_GONE:
            parts = [f"Video after video is said to be unavailable: {words}", also, "No finding of it is kept."]
        case _ if reason in UNREACHED:
            parts = [f"YouTube cannot be reached: {words}", "Check the network, and [youtube] proxy."]
        case _:
            parts = [f"YouTube blocks this machine ({reason.replace('_', ' ')}): {words}", _REMEDIES.get(reason, "")]
    return " ".join(part for part in parts if part)
