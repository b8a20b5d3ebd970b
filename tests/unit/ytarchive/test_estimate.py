"""What fetching a list would cost."""

import pytest

from services.common.domain.videos import Entry
from services.common.youtube.quality import HEIGHTS
from ytarchive.estimate import METADATA, PICTURE, estimate, listing_units, videos_units

HOUR = 3600.0


def entries(count: int, seconds: float | None = HOUR, *, first: int = 0, marked: str | None = None) -> list[Entry]:
    return [
        Entry(video_id=f"video{n:06d}", duration_seconds=seconds, position=n, marked=marked)
        for n in range(first, first + count)
    ]


def test_nothing_costs_nothing() -> None:
    told = estimate([], "1080p", free_bytes=100)
    assert (told.videos, told.to_fetch, told.bytes.high, told.seconds.high) == (0, 0, 0, 0)
    assert (told.free_after, told.fits) == (100, True)


def test_what_is_held_gone_or_twice_is_not_fetched() -> None:
    listed = [*entries(10), *entries(3, first=0), *entries(2, None, first=10, marked="private")]
    told = estimate(listed, "1080p", held={"video000000", "video000001", "elsewhere00"})
    assert (told.videos, told.held, told.gone, told.to_fetch, told.unknown_lengths) == (12, 2, 2, 8, 0)
    assert told.video_seconds == 8 * HOUR


def test_an_hour_in_1080p_is_about_a_gigabyte_and_more() -> None:
    told = estimate(entries(1), "1080p")
    assert 1e9 < told.bytes.likely < 2e9
    assert told.bytes.low < told.bytes.likely < told.bytes.high < 3e9
    assert told.seconds.low < told.seconds.likely < told.seconds.high
    assert (told.learned, told.measured) == (False, False)


def test_every_quality_by_name_is_known_and_more_is_more() -> None:
    assert set(PICTURE) == {f"{height}p" for height in HEIGHTS}
    sizes = [estimate(entries(1), quality).bytes.likely for quality in ("audio", *PICTURE)]
    assert sizes == sorted(set(sizes))
    for quality in (*PICTURE, "best", "audio", "bv[height<=333]+ba"):
        told = estimate(entries(1), quality).bytes
        assert 0 < told.low < told.likely < told.high


def test_an_archive_that_holds_something_knows_better() -> None:
    told = estimate(entries(2), "1080p", bytes_per_second=50_000)
    assert told.learned
    assert told.bytes.likely == pytest.approx(2 * HOUR * 50_000, rel=0.01)
    assert told.bytes.low < told.bytes.likely < told.bytes.high
    assert not estimate(entries(2), "1080p", bytes_per_second=0.0, throughput=0.0).learned


def test_time_follows_what_was_measured() -> None:
    slow, fast = (estimate(entries(4), "720p", throughput=speed) for speed in (1e6, 1e7))
    assert slow.measured
    assert fast.measured
    assert slow.seconds.likely > 5 * fast.seconds.likely
    assert slow.seconds.likely == pytest.approx(slow.bytes.likely / 1e6, rel=0.05)


def test_lengths_that_are_not_told_are_guessed_from_the_others() -> None:
    told = estimate([*entries(3, 600.0), *entries(2, None, first=3)], "480p")
    assert (told.unknown_lengths, told.video_seconds) == (2, 5 * 600)
    blind = estimate(entries(2, None), "480p")
    assert blind.bytes.high > 10 * blind.bytes.low


def test_metadata_alone_weigh_what_the_extras_do() -> None:
    assert estimate(entries(3, 0.0), "1080p", extras=METADATA).bytes.high == 3 * METADATA


def test_the_disk_afterwards() -> None:
    size = estimate(entries(1), "1080p").bytes
    tight = estimate(entries(1), "1080p", free_bytes=size.likely)
    assert (tight.free_after, tight.fits) == (0, False)
    assert estimate(entries(1), "1080p", free_bytes=size.high).fits
    assert not estimate(entries(1), "1080p", free_bytes=size.high, min_free=1).fits
    too_small = estimate(entries(1), "1080p", free_bytes=1)
    assert too_small.free_after is not None
    assert too_small.free_after < 0


@pytest.mark.parametrize(("lines", "units"), [(0, 2), (1, 3), (50, 3), (51, 5), (250, 11), (5000, 201)])
def test_units_of_a_listing(lines: int, units: int) -> None:
    assert listing_units(lines) == units


@pytest.mark.parametrize(("count", "units"), [(0, 0), (1, 1), (50, 1), (51, 2)])
def test_units_of_videos(count: int, units: int) -> None:
    assert videos_units(count) == units
