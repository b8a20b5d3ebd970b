"""Translates a requested quality to a yt-dlp format selection. Pure.

Resolution always comes first. Among streams of one resolution and frame rate, those that play everywhere in an mp4 are
preferred (H.264, AAC); above 1080p there are none, and the mp4 contains VP9 or AV1.
"""

from services.common.youtube.messages import FormatChoice
from services.common.youtube.quality import AUDIO, BEST, NAMED

# +hasaud: of equal streams, prefer those with a separate audio stream, which has the better quality
_PLAYS_EVERYWHERE = ("fps", "+hasaud", "lang", "quality", "vcodec:h264", "hdr:12", "acodec:aac")


def choose(quality: str) -> FormatChoice:
    """Return the selector and sort order for `best`, `2160p` … `144p`, `audio`, or a raw selector.

    A height is a maximum; of a video that has only larger ones, the smallest is selected. yt-dlp's `res` is the shorter
    side, so that a vertical video has the same resolution name as a horizontal one.
    """
    if quality not in NAMED:
        return FormatChoice(selector=quality)
    if quality == AUDIO:
        return FormatChoice(selector="ba/b", sort=("lang", "quality", "acodec:aac"), audio=True)
    resolution = "res" if quality == BEST else f"res:{quality.removesuffix('p')}"
    return FormatChoice(selector="bv*+ba/b", sort=(resolution, *_PLAYS_EVERYWHERE), audio=False)
