"""The operation `offer`: the streams of a video, and those that each quality would select. Runs in the child.

It makes the same requests as the extraction of `fetch`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from yt_dlp.utils import ExtractorError

from services.common.youtube.child.fetch import expect_recorded, extract, select
from services.common.youtube.child.session import make_ydl
from services.common.youtube.messages import Choice, Format, FormatChoice, Offered, OfferRequest

Json = dict[str, Any]
_ANY = FormatChoice(selector="bv*/ba")


def run(request: Json, options: Json, emit: Callable[[Json], None]) -> None:
    """Emit one Offered (messages.py). Raise yt-dlp's errors, LiveNow and NoVideo."""
    order = OfferRequest.model_validate(request)
    ydl = make_ydl(options)
    raw = extract(ydl, order.video_id)
    expect_recorded(raw)
    streams = select(ydl, raw, _ANY)["formats"]
    offered = Offered(
        video_id=order.video_id,
        title=raw.get("title") or order.video_id,
        duration_seconds=raw.get("duration"),
        formats=tuple(_format(stream) for stream in streams if _codec(stream, "vcodec") or _codec(stream, "acodec")),
        choices={name: _choice(ydl, raw, choice) for name, choice in order.choices.items()},
    )
    emit(offered.model_dump(mode="json"))


def _choice(ydl: Any, raw: Json, choice: FormatChoice) -> Choice:
    try:
        found = select(ydl, raw, choice)
    except ExtractorError:  # the streams are known: none of them fits
        return Choice()
    parts = [_format(stream) for stream in found.get("requested_formats") or [found]]
    sizes = [part.size for part in parts if part.size is not None]
    return Choice(
        format_ids=tuple(part.format_id for part in parts),
        height=found.get("height"),
        size=sum(sizes) if len(sizes) == len(parts) else None,
        size_estimated=any(part.size_estimated for part in parts),
    )


def _format(stream: Mapping[str, Any]) -> Format:
    exact, about = stream.get("filesize"), stream.get("filesize_approx")
    size = exact or about
    return Format(
        format_id=str(stream["format_id"]),
        ext=str(stream["ext"]),
        width=stream.get("width"),
        height=stream.get("height"),
        fps=stream.get("fps"),
        dynamic_range=stream.get("dynamic_range"),
        vcodec=_codec(stream, "vcodec"),
        acodec=_codec(stream, "acodec"),
        bitrate=stream.get("tbr"),
        size=int(size) if size else None,
        size_estimated=bool(size and not exact),
        language=stream.get("language"),
        note=stream.get("format_note"),
    )


def _codec(stream: Mapping[str, Any], name: str) -> str | None:
    """Return a codec; None for yt-dlp's `none` (no such stream). Storyboards have neither codec."""
    codec = stream.get(name)
    return str(codec) if codec and codec != "none" else None
