"""From a wanted quality to what yt-dlp is told. Pure.

Resolution comes first, always. Among streams of one resolution and frame rate those win that play everywhere in an
mp4 (H.264, AAC); above 1080p there are none, and an mp4 with VP9 or AV1 is made.
"""

from services.common.youtube.messages import FormatChoice
from services.common.youtube.quality import AUDIO, BEST, NAMED

# +hasaud: of equals, the one whose sound comes as a stream of its own, which is the better sound
_PLAYS_EVERYWHERE = ("fps", "+hasaud", "lang", "quality", "vcodec:h264", "hdr:12", "acodec:aac")


def choose(quality: str) -> FormatChoice:
    """The selector and order for `best`, `2160p` … `144p`, `audio`, or a raw selector.

    A height is the most that is taken; a video that has only greater ones comes in the smallest of them. yt-dlp's
    `res` is the shorter side, so an upright video counts as what its makers call it.
    """
    if quality not in NAMED:
        return FormatChoice(selector=quality)
    if quality == AUDIO:
        return FormatChoice(selector="ba/b", sort=("lang", "quality", "acodec:aac"), audio=True)
    resolution = "res" if quality == BEST else f"res:{quality.removesuffix('p')}"
    return FormatChoice(selector="bv*+ba/b", sort=(resolution, *_PLAYS_EVERYWHERE), audio=False)
