"""Leave out streams that YouTube has made from the uploader's own. Pure.

Resolution is the first key of the sort order, so a dubbed or upscaled stream with more pixels would come before the
original one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Stream = Mapping[str, Any]  # a format of yt-dlp


def original_streams(streams: Sequence[Stream], language: str = "") -> list[Stream]:
    """Return the streams without machine-upscaled pictures and without sound in another language, where there are
    others.

    `language`: a tag such as `de`, whose sound is kept; without it, or if no stream has it, that of the original.
    """
    return _in_language(_not_upscaled(streams), language)


def _not_upscaled(streams: Sequence[Stream]) -> Sequence[Stream]:
    """yt-dlp names these streams `…-sr` (super resolution)."""
    own = [stream for stream in streams if "sr" not in str(stream.get("format_id")).split("-")[1:]]
    return own if any(_has(stream, "vcodec") for stream in own) else streams


def _in_language(streams: Sequence[Stream], language: str) -> list[Stream]:
    spoken = [stream for stream in streams if _has(stream, "acodec") and stream.get("language")]
    kept = {tag for stream in spoken if _matches(tag := str(stream["language"]), language)} or _original(spoken)
    return [stream for stream in streams if not kept or stream not in spoken or stream["language"] in kept]


def _original(spoken: Sequence[Stream]) -> set[str]:
    """Return the language that YouTube marks as the original, or as the default; empty without a mark."""
    best = max(spoken, key=_preference, default=None)
    return {best["language"]} if best is not None and _preference(best) > 0 else set()


def _preference(stream: Stream) -> int:
    return int(stream.get("language_preference") or 0)


def _matches(tag: str, language: str) -> bool:
    """`de` matches de and de-CH, `de-CH` only itself; described scenes (`de-desc`) are another soundtrack."""
    tag, language = tag.casefold(), language.casefold()
    return bool(language) and (tag == language or (tag.startswith(f"{language}-") and not tag.endswith("-desc")))


def _has(stream: Stream, name: str) -> bool:
    """Return whether a stream has a picture (`vcodec`) or sound (`acodec`)."""
    return stream.get(name) not in {None, "none"}
