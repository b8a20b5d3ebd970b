"""What an extraction says about better versions of a video."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.common.domain.videos import Look
from services.common.youtube.child import prospects


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        ({"width": 1920, "height": 1080, "vcodec": "avc1"}, 1080),
        ({"width": 1080, "height": 1920, "vcodec": "avc1"}, 1080),
        ({"height": 720, "vcodec": "avc1"}, 720),
        ({"width": 48, "height": 27, "vcodec": "none"}, None),  # a storyboard
        ({"vcodec": "none"}, None),
        ({}, None),
    ],
)
def test_the_shorter_side_is_the_resolution(stream: dict[str, Any], lines: int | None) -> None:
    assert prospects.resolution_of(stream) == lines


def test_the_best_offer_is_that_of_all_streams() -> None:
    streams = [{"width": w, "height": h, "vcodec": "avc1"} for w, h in ((640, 360), (1280, 720))]
    assert prospects.offered({"formats": [*streams, {"vcodec": "none"}]}) == 720
    assert prospects.offered({}) is None


@pytest.mark.parametrize(
    "warning",
    [
        "[youtube] x: n challenge solving failed: Some formats may be missing. Ensure you have a supported",
        "[youtube] x: Signature solving failed: Some formats may be missing.",
        "[youtube] YouTube extraction without a JS runtime has been deprecated, and some formats may be missing.",
        "[youtube] x: Some visionos client https formats have been skipped as they are missing a URL. YouTube may",
        "[youtube] x: Some tv client https formats have been skipped as they are DRM protected.",
        "[youtube] x: ios client https formats require a GVS PO Token which was not provided. They will be skipped",
    ],
)
def test_warnings_of_missing_formats_are_recognised(warning: str) -> None:
    assert prospects.missing_formats([warning]) == (warning,)


def test_other_warnings_are_none_of_missing_formats() -> None:
    said = ["captions en: HTTP Error 429", "x: Some subtitles", "Incomplete data received in embedded initial data"]
    assert prospects.missing_formats(said) == ()
    assert not prospects.captions_left_out(said)
    assert prospects.captions_left_out(
        ["x: There are missing subtitles languages because a PO token was not provided."]
    )


@pytest.mark.parametrize(
    ("held", "offer", "better"),
    [
        ((360, 100.0), (720, 100), (True, False)),
        ((720, 100.0), (720, 100), (False, False)),
        ((720, 100.0), (360, 100), (False, False)),
        ((720, 100.0), (720, 200), (False, True)),
        ((720, 100.0), (720, 104), (False, False)),  # within the tolerance
        ((720, 100.0), (720, 50), (False, False)),
        ((720, 100.0), (360, 200), (False, False)),  # longer, but with fewer lines
        ((360, 100.0), (720, 200), (True, True)),
        ((None, 100.0), (None, 200), (False, True)),  # sound
        ((None, None), (720, 200), (False, False)),
    ],
)
def test_what_is_better(
    held: tuple[int | None, float | None], offer: tuple[int | None, float], better: tuple[bool, bool]
) -> None:
    look = Look(resolution=held[0], duration_seconds=held[1])
    info = {"width": offer[0], "height": offer[0], "vcodec": "avc1" if offer[0] else "none", "duration": offer[1]}
    assert prospects.is_better(look, info) == better


def test_the_end_of_a_stream_is_its_start_and_its_length() -> None:
    started = datetime(2026, 5, 1, 12, tzinfo=UTC)
    info = {"live_status": "was_live", "release_timestamp": started.timestamp(), "duration": 3600}
    assert prospects.stream_ended_at(info) == started.replace(hour=13)
    assert prospects.stream_ended_at({**info, "live_status": "not_live"}) is None
    assert prospects.stream_ended_at({**info, "release_timestamp": None}) is None
