"""What fetching a list would cost: bytes, time, quota, disk. Pure; `ytarchive plan` gathers what goes in.

Bytes are seconds of video times a bit rate. Three rates per height, in kbit/s of picture: what a talk with slides, an
ordinary film and sport come to. They are rounded experience of the streams that the site offers and that
`services.download.formats` chooses (H.264 up to 1080p, VP9 or AV1 above), not promises. As a check from above, the site
asks those who upload for 1,000 (360p), 2,500 (480p), 5,000 (720p), 8,000 (1080p), 16,000 (1440p) and 35,000 to 45,000
(2160p) kbit/s at up to 30 frames a second (support.google.com/youtube/answer/1722171), and makes its streams smaller
than that. Sound is a stream of about 130 kbit/s AAC beside it.

An archive that holds something knows better: its own bytes per second of video replace the middle of the table.
"""

from collections.abc import Collection, Iterable, Sequence
from math import ceil
from statistics import median

from pydantic import BaseModel, ConfigDict

from services.common.models import Entry

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
_UNKNOWN_LENGTH = (60.0, 600.0, 3_600.0)  # seconds of a video in a list that tells no lengths at all
_LEARNED = (0.6, 1.0, 1.6)  # how far the next list may be from what is held
_THROUGHPUT = (1_000_000, 4_000_000, 12_000_000)  # bytes a second where nothing was measured
_MEASURED = (0.7, 1.0, 1.3)
_OVERHEAD = 4.0  # seconds for each video beside its bytes: the extraction, pictures, captions, merging
EXTRAS = 300_000  # bytes of picture, captions and metadata of one video
METADATA = 50_000  # bytes of a video's metadata alone
_IDS_PER_CALL = 50


class Range(BaseModel):
    """Bytes or seconds."""

    model_config = ConfigDict(frozen=True)

    low: int
    likely: int
    high: int


class Estimate(BaseModel):
    """`to_fetch` is `videos` without those held and those marked as gone. `unknown_lengths` of them tell no duration.

    `quota_units` is None without an API key. `free_after` is what would likely be left of `free_bytes`, below zero when
    it does not fit; `fits` is about the high end. `learned`: from the archive; `measured`: from real downloads.
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
    """Of a list in which an id may stand twice. `quality` as a job takes it; `held` are ids that need no fetching.

    `bytes_per_second` is what the archive holds per second of video at this quality, `throughput` what downloads came
    to, bytes a second over all slots; None for unknown, and for what is not above zero. `min_free` bytes of the disk
    are to stay free. `extras` are bytes for each video beside its media; one whose media are not wanted is given with
    a length of 0.
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


def listing_units(lines: int) -> int:
    """Units of the Data API for listing a playlist or channel with its videos' metadata: one for the list, and for
    every 50 lines one for them and one for their videos. An empty list is asked for its lines too."""
    return 1 + max(1, ceil(lines / _IDS_PER_CALL)) + ceil(lines / _IDS_PER_CALL)


def videos_units(count: int) -> int:
    """Units for the metadata of single videos."""
    return ceil(count / _IDS_PER_CALL)


def _rates(quality: str) -> list[float]:
    """Bytes per second of video: low, likely, high."""
    if quality == "audio":
        return [kbits * 125.0 for kbits in (SOUND * 0.4, SOUND, SOUND * 1.25)]
    picture = PICTURE["2160p"] if quality == "best" else PICTURE.get(quality, _UNKNOWN_QUALITY)
    low = PICTURE["720p"][0] if quality == "best" else picture[0]  # not everything is there in the best height
    likely = PICTURE["1080p"][1] if quality == "best" else picture[1]
    return [(kbits + SOUND) * 125.0 for kbits in (low, likely, picture[2])]


def _lengths(entries: Sequence[Entry]) -> list[float]:
    """Seconds of all together: low, likely, high. An unknown one counts as the others' median, or less or more."""
    known = [entry.duration_seconds for entry in entries if entry.duration_seconds is not None]
    unknown = len(entries) - len(known)
    middle = median(known) if known else None
    each = _UNKNOWN_LENGTH if middle is None else (middle / 2, middle, middle * 2)
    return [sum(known) + unknown * seconds for seconds in each]
