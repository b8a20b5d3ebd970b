"""Valid values of `quality`: `best`, `2160p` … `144p`, `audio`, or a raw yt-dlp format selector."""

import re

HEIGHTS = (2160, 1440, 1080, 720, 480, 360, 240, 144)
BEST = "best"
AUDIO = "audio"
QUALITIES = (BEST, *(f"{height}p" for height in HEIGHTS), AUDIO)
NAMED = frozenset(QUALITIES)

LONGEST = 300  # characters of a selector; yt-dlp's parser is recursive

_HEIGHT = re.compile(r"\d+p", re.IGNORECASE)
_FILTERS = re.compile(r"\[[^\]]*\]")


def valid_quality(quality: str) -> bool:
    """Return whether a quality is valid; a raw selector is parsed by yt-dlp.

    Also rejected: selectors of several files (`,` and `all`), because a video is one file; `-`, which asks at the
    terminal; a bare height (`1080` for `1080p`) or an unknown one (`1081p`), which yt-dlp interprets as a format id;
    texts longer than LONGEST or with control characters.
    """
    if quality in NAMED:
        return True
    bare = _FILTERS.sub("", quality).strip()
    if len(quality) > LONGEST or not quality.isprintable():
        return False
    if bare in {"", "-", "all", *map(str, HEIGHTS)} or "," in bare or _HEIGHT.fullmatch(bare):
        return False
    # imported here: it takes 0.2 s, and most jobs do not need it
    from yt_dlp import YoutubeDL

    with YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False) as ydl:
        try:
            ydl.build_format_selector(quality)
        except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, re.error):  # of Python's parsers
            return False
    return True
