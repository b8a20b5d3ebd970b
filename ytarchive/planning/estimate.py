"""Estimate the size, time, quota and disk space of a download. Pure; `ytarchive plan` collects the input.

Bytes are seconds of video times a bit rate. The table has three rates per height, in kbit/s of picture: those of a talk
with slides, of an ordinary film and of sport. They are rounded averages of the streams that YouTube offers and that
`services.download.formats` selects (H.264 up to 1080p, VP9 or AV1 above). An upper bound are the recommended upload
rates: 1,000 (360p), 2,500 (480p), 5,000 (720p), 8,000 (1080p), 16,000 (1440p) and 35,000 to 45,000 (2160p) kbit/s at up
to 30 frames per second (support.google.com/youtube/answer/1722171); YouTube's streams are smaller. Sound is a separate
stream of about 130 kbit/s AAC.

When the archive has videos of this quality, their bytes per second replace the table.
"""

from collections.abc import Collection, Iterable, Sequence
from math import ceil
from statistics import median

from pydantic import BaseModel, ConfigDict

from services.common.domain.videos import Entry

SOUND = 130  # kbit/s
PICTURE = {  # kbit/s: low, likely, high
    "144p": (30, 80, 120),
    "240p": (60, 160, 300),
    "360p": (120, 350, 700),
    "480p": (200, 700, 1_300),
    "720p": (400, 1_500, 3_000),
    "1080p": (700, 2_800, 5_500),
    "1440p": (2_000, 6_500, 13_000),
    "2160p": (4_000, 14_000, 28_000),
}
_UNKNOWN_QUALITY = (PICTURE["360p"][0], PICTURE["1080p"][1], PICTURE["2160p"][2])  # a raw selector
_UNKNOWN_LENGTH = (60.0, 600.0, 3_600.0)  # seconds of a video when no length is known
_LEARNED = (0.6, 1.0, 1.6)  # variation between the archive and other videos
_THROUGHPUT = (1_000_000, 4_000_000, 12_000_000)  # bytes per second without measurements
_MEASURED = (0.7, 1.0, 1.3)
_OVERHEAD = 4.0  # seconds per video in addition to its bytes: extraction, thumbnail, captions, merging
EXTRAS = 300_000  # bytes of thumbnail, captions and metadata of one video
METADATA = 50_000  # bytes of a video's metadata alone
_IDS_PER_CALL = 50


class Range(BaseModel):
    """Bytes or seconds."""

    model_config = ConfigDict(frozen=True)

    low: int
    likely: int
    high: int


class Estimate(BaseModel):
    """`to_fetch`: `videos` without archived ones and those marked as gone. `unknown_lengths`: how many of them have no
    known duration.

    `quota_units` is None without an API key. `free_after`: the likely rest of `free_bytes`, negative when the download
    does not fit; `fits` refers to the high estimate. `learned`: sizes are based on the archive. `measured`: times are
    based on earlier downloads.
    """

    model_config = ConfigDict(frozen=True)

    videos: int
    held: int
    gone: int
    to_fetch: int
    unknown_lengths: int
    video_seconds: int
    bytes: Range
    seconds: Range
    learned: bool
    measured: bool
    quota_units: int | None = None
    free_bytes: int | None = None
    free_after: int | None = None
    fits: bool | None = None


def estimate(
    entries: Iterable[Entry],
    quality: str,
    *,
    held: Collection[str] = (),
    bytes_per_second: float | None = None,
    throughput: float | None = None,
    free_bytes: int | None = None,
    min_free: int = 0,
    quota_units: int | None = None,
    extras: int = EXTRAS,
) -> Estimate:
    """Estimate the download of entries, which may contain an id twice. `quality`: as in a job. `held`: ids that need no
    download.

    `bytes_per_second`: archived bytes per second of video at this quality. `throughput`: downloaded bytes per second,
    over all slots. Both None when unknown or zero. `min_free`: bytes to keep free on the disk. `extras`: bytes per
    video in addition to its media; an entry whose media are not requested has a length of 0.
    """
    unique = {entry.video_id: entry for entry in entries}
    left = [entry for entry in unique.values() if entry.video_id not in held]
    wanted = [entry for entry in left if entry.marked is None]
    lengths = _lengths(wanted)
    learned, measured = bool(bytes_per_second and bytes_per_second > 0), bool(throughput and throughput > 0)
    rates = [part * (bytes_per_second or 0) for part in _LEARNED] if learned else _rates(quality)
    size = [ceil(rate * seconds) + extras * len(wanted) for rate, seconds in zip(rates, lengths, strict=True)]
    speeds = [part * (throughput or 0) for part in _MEASURED] if measured else [float(speed) for speed in _THROUGHPUT]
    times = [
        ceil(amount / speed + _OVERHEAD * len(wanted)) for amount, speed in zip(size, reversed(speeds), strict=True)
    ]
    return Estimate(
        videos=len(unique),
        held=len(unique) - len(left),
        gone=len(left) - len(wanted),
        to_fetch=len(wanted),
        unknown_lengths=sum(entry.duration_seconds is None for entry in wanted),
        video_seconds=ceil(lengths[1]),
        bytes=Range(low=size[0], likely=size[1], high=size[2]),
        seconds=Range(low=times[0], likely=times[1], high=times[2]),
        learned=learned,
        measured=measured,
        quota_units=quota_units,
        free_bytes=free_bytes,
        free_after=None if free_bytes is None else free_bytes - size[1],
        fits=None if free_bytes is None else size[2] <= free_bytes - min_free,
    )


def listing_units(entries: int) -> int:
    """Return the Data API units for listing a playlist or channel with the metadata of its videos.

    One for the list, and for every 50 entries one for the entries and one for the videos. The entries of an empty list
    are requested too.
    """
    return 1 + max(1, ceil(entries / _IDS_PER_CALL)) + ceil(entries / _IDS_PER_CALL)


def videos_units(count: int) -> int:
    """Return the Data API units for the metadata of single videos."""
    return ceil(count / _IDS_PER_CALL)


def _rates(quality: str) -> list[float]:
    """Return bytes per second of video: low, likely, high."""
    if quality == "audio":
        return [kbits * 125.0 for kbits in (SOUND * 0.4, SOUND, SOUND * 1.25)]
    picture = PICTURE["2160p"] if quality == "best" else PICTURE.get(quality, _UNKNOWN_QUALITY)
    low = PICTURE["720p"][0] if quality == "best" else picture[0]  # not every video exists in the best height
    likely = PICTURE["1080p"][1] if quality == "best" else picture[1]
    return [(kbits + SOUND) * 125.0 for kbits in (low, likely, picture[2])]


def _lengths(entries: Sequence[Entry]) -> list[float]:
    """Return the total of seconds: low, likely, high. Unknown lengths count as the median of the others, half of it and
    twice of it."""
    known = [entry.duration_seconds for entry in entries if entry.duration_seconds is not None]
    unknown = len(entries) - len(known)
    middle = median(known) if known else None
    each = _UNKNOWN_LENGTH if middle is None else (middle / 2, middle, middle * 2)
    return [sum(known) + unknown * seconds for seconds in each]
