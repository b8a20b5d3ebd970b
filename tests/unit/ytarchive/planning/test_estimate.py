"""Estimates of the size, duration and API quota of a download."""

import pytest

from services.common.domain.videos import Entry
from services.common.youtube.quality import HEIGHTS
from ytarchive.planning.estimate import METADATA, PICTURE, estimate, listing_units, videos_units

HOUR = 3600.0


def entries(count: int, seconds: float | None = HOUR, *, first: int = 0, marked: str | None = None) -> list[Entry]:
    return [
        Entry(video_id=f"video{n:06d}", duration_seconds=seconds, position=n, marked=marked)
        for n in range(first, first + count)
    ]


def test_the_estimate_of_an_empty_list_is_zero() -> None:
    result = estimate([], "1080p", free_bytes=100)
    assert (result.videos, result.to_fetch, result.bytes.high, result.seconds.high) == (0, 0, 0, 0)
    assert (result.free_after, result.fits) == (100, True)


def test_held_gone_and_duplicate_videos_are_not_counted() -> None:
    listed = [*entries(10), *entries(3, first=0), *entries(2, None, first=10, marked="private")]
    result = estimate(listed, "1080p", held={"video000000", "video000001", "elsewhere00"})
    assert (result.videos, result.held, result.gone, result.to_fetch, result.unknown_lengths) == (12, 2, 2, 8, 0)
    assert result.video_seconds == 8 * HOUR


def test_an_hour_in_1080p_is_estimated_at_one_to_two_gigabytes() -> None:
    result = estimate(entries(1), "1080p")
    assert 1e9 < result.bytes.likely < 2e9
    assert result.bytes.low < result.bytes.likely < result.bytes.high < 3e9
    assert result.seconds.low < result.seconds.likely < result.seconds.high
    assert (result.learned, result.measured) == (False, False)


def test_every_named_quality_has_an_estimate_that_grows_with_the_resolution() -> None:
    assert set(PICTURE) == {f"{height}p" for height in HEIGHTS}
    sizes = [estimate(entries(1), quality).bytes.likely for quality in ("audio", *PICTURE)]
    assert sizes == sorted(set(sizes))
    for quality in (*PICTURE, "best", "audio", "bv[height<=333]+ba"):
        result = estimate(entries(1), quality).bytes
        assert 0 < result.low < result.likely < result.high


def test_the_measured_bit_rate_of_the_archive_replaces_the_default() -> None:
    result = estimate(entries(2), "1080p", bytes_per_second=50_000)
    assert result.learned
    assert result.bytes.likely == pytest.approx(2 * HOUR * 50_000, rel=0.01)
    assert result.bytes.low < result.bytes.likely < result.bytes.high
    assert not estimate(entries(2), "1080p", bytes_per_second=0.0, throughput=0.0).learned


def test_the_duration_is_derived_from_the_measured_throughput() -> None:
    slow, fast = (estimate(entries(4), "720p", throughput=speed) for speed in (1e6, 1e7))
    assert slow.measured
    assert fast.measured
    assert slow.seconds.likely > 5 * fast.seconds.likely
    assert slow.seconds.likely == pytest.approx(slow.bytes.likely / 1e6, rel=0.05)


def test_unknown_durations_are_estimated_from_the_known_ones() -> None:
    result = estimate([*entries(3, 600.0), *entries(2, None, first=3)], "480p")
    assert (result.unknown_lengths, result.video_seconds) == (2, 5 * 600)
    without_durations = estimate(entries(2, None), "480p")
    assert without_durations.bytes.high > 10 * without_durations.bytes.low


def test_metadata_alone_has_the_size_of_the_extras() -> None:
    assert estimate(entries(3, 0.0), "1080p", extras=METADATA).bytes.high == 3 * METADATA


def test_the_free_space_after_the_download_is_estimated() -> None:
    size = estimate(entries(1), "1080p").bytes
    tight = estimate(entries(1), "1080p", free_bytes=size.likely)
    assert (tight.free_after, tight.fits) == (0, False)
    assert estimate(entries(1), "1080p", free_bytes=size.high).fits
    assert not estimate(entries(1), "1080p", free_bytes=size.high, min_free=1).fits
    too_small = estimate(entries(1), "1080p", free_bytes=1)
    assert too_small.free_after is not None
    assert too_small.free_after < 0


@pytest.mark.parametrize(("lines", "units"), [(0, 2), (1, 3), (50, 3), (51, 5), (250, 11), (5000, 201)])
def test_the_quota_units_of_a_listing(lines: int, units: int) -> None:
    assert listing_units(lines) == units


@pytest.mark.parametrize(("count", "units"), [(0, 0), (1, 1), (50, 1), (51, 2)])
def test_the_quota_units_of_videos(count: int, units: int) -> None:
    assert videos_units(count) == units
