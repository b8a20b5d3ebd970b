"""What may be asked for as `quality`: `best`, `2160p` … `144p`, `audio`, or a raw yt-dlp format selector."""

import re

HEIGHTS = (2160, 1440, 1080, 720, 480, 360, 240, 144)
BEST = "best"
AUDIO = "audio"
NAMED = frozenset({BEST, AUDIO, *(f"{height}p" for height in HEIGHTS)})

LONGEST = 300  # characters of a selector; yt-dlp's parser calls itself for every part

_HEIGHT = re.compile(r"\d+p", re.IGNORECASE)
_FILTERS = re.compile(r"\[[^\]]*\]")


def valid_quality(quality: str) -> bool:
    """Whether a download can be asked for it; a raw selector is read by yt-dlp's own parser.

    Refused besides bad syntax: selectors of several files (`,` and `all`), which one video here cannot be; `-`, which
    asks at the terminal; a bare height (`1080` for `1080p`) or one that there is not (`1081p`), which yt-dlp takes for
    the id of a format; and what is longer than LONGEST or holds control characters.
    """
    if quality in NAMED:
        return True
    bare = _FILTERS.sub("", quality).strip()
    if len(quality) > LONGEST or not quality.isprintable():
        return False
    if bare in {"", "-", "all", *map(str, HEIGHTS)} or "," in bare or _HEIGHT.fullmatch(bare):
        return False
    # 0.2 s, which most jobs need not pay
    from yt_dlp import YoutubeDL

    with YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False) as ydl:
        try:
            ydl.build_format_selector(quality)
        except (SyntaxError, ValueError):  # ValueError: a filter whose number is none
            return False
    return True
