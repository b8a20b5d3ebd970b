"""Translates a requested quality to a yt-dlp format selection. Pure.

The uploader's own streams come before those that YouTube has dubbed or upscaled, then resolution. Among streams of one
resolution and frame rate, those that play everywhere in an mp4 are preferred (H.264, AAC); above 1080p there are none,
and the mp4 contains VP9 or AV1.
"""

from services.common.settings.sections import Download
from services.common.youtube.messages import FormatChoice
from services.common.youtube.quality import AUDIO, BEST, NAMED


def choose(quality: str, settings: Download) -> FormatChoice:
    """Return the selector and sort order for `best`, `2160p` … `144p`, `audio`, or a raw selector.

    A height is a maximum; of a video that has only larger ones, the smallest is selected. yt-dlp's `res` is the shorter
    side, so that a vertical video has the same resolution name as a horizontal one. A raw selector selects among all
    streams, also dubbed and upscaled ones.
    """
    if quality not in NAMED:
        return FormatChoice(selector=quality)
    if quality == AUDIO:
        sort: tuple[str, ...] = ("lang", "quality", f"acodec:{settings.audio_codec}")
        return FormatChoice(
            selector="ba/b", sort=sort, audio=True, original=True, audio_language=settings.audio_language
        )
    resolution = "res" if quality == BEST else f"res:{quality.removesuffix('p')}"
    # +hasaud: of equal streams, prefer those with a separate audio stream, which has the better quality
    codecs = (f"vcodec:{settings.video_codec}", "hdr:12", f"acodec:{settings.audio_codec}")
    sort = (resolution, "fps", "+hasaud", "lang", "quality", *codecs)
    return FormatChoice(
        selector="bv*+ba/b", sort=sort, audio=False, original=True, audio_language=settings.audio_language
    )
