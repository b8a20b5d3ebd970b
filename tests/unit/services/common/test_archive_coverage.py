"""Comparison of requested files with archived files."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.archive_coverage import missing, quality_covers, shortfall, stays_gone, union
from services.common.domain.archive import Held, KnownGone
from services.common.domain.jobs import Shortfall
from services.common.domain.videos import Entry, Wanted


@pytest.mark.parametrize(
    ("have", "want", "covers"),
    [
        ("best", "2160p", True),
        ("1080p", "1080p", True),
        ("1080p", "720p", True),
        ("720p", "1080p", False),
        ("1080p", "best", False),
        ("audio", "audio", True),
        ("best", "audio", False),
        ("audio", "144p", False),
        ("bv[height<=480]+ba", "480p", False),
        ("bv[height<=480]+ba", "bv[height<=480]+ba", True),
    ],
)
def test_whether_an_archived_quality_covers_the_requested_one(have: str, want: str, covers: bool) -> None:
    assert quality_covers(have, want) is covers


def test_missing_returns_only_the_parts_that_are_not_archived() -> None:
    wanted = Wanted(quality="720p", captions=("en", "de", "fr"))
    held = Held(
        video_id="aaaaaaaaaaa", qualities=("1080p",), thumbnail=True, captions=("en",), absent=("captions/fr",),
        metadata=True,
    )  # fmt: skip
    need = missing(wanted, held)
    assert need == Wanted(media=False, quality="720p", thumbnail=False, captions=("de",), metadata=False)


def test_media_is_always_fetched_together_with_the_metadata_of_yt_dlp() -> None:
    """Even if metadata from another source is archived already: both are kept."""
    need = missing(Wanted(), Held(video_id="aaaaaaaaaaa", metadata=True))
    assert need is not None
    assert (need.media, need.metadata) == (True, True)


def test_union_takes_the_better_quality_and_all_captions() -> None:
    first, second = Wanted(quality="720p", captions=("en",)), Wanted(quality="best", captions=("de", "en"))
    assert union(first, second) == Wanted(quality="best", captions=("en", "de"))


def test_audio_and_video_requests_have_no_union() -> None:
    assert union(Wanted(quality="audio"), Wanted(quality="720p")) is None


def test_a_video_that_was_found_to_be_gone_in_the_future_is_tried_again() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    entry = Entry(video_id="aaaaaaaaaaa", position=0)

    def stays(days: float) -> bool:
        gone = KnownGone(reason="deleted", at=now + timedelta(days=days))
        return stays_gone(entry, gone, now, timedelta(days=7), in_list=False)

    assert [stays(days) for days in (-8, -1, 0.5, 3650)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("wanted", "held", "height", "expected"),
    [
        ({"captions": ("en",)}, {"captions": ("en",), "thumbnail": True}, 1080, None),
        ({"captions": ("en", "de")}, {"absent": ("captions/de",), "thumbnail": True}, None,
         Shortfall(absent=("captions/de",), unfetched=("captions/en",))),
        ({}, {"absent": ("thumbnail",)}, None, Shortfall(absent=("thumbnail",))),
        ({"thumbnail": False}, {"absent": ("thumbnail",)}, None, None),
        ({"quality": "1080p"}, {"thumbnail": True}, 480, Shortfall(height=480)),
        ({"quality": "480p"}, {"thumbnail": True}, 480, None),
        ({"quality": "best"}, {"thumbnail": True}, 480, None),
        ({"quality": "audio"}, {"thumbnail": True}, None, None),
        ({"quality": "bv[height<=480]+ba"}, {"thumbnail": True}, 360, None),
        ({"media": False, "quality": "1080p"}, {"thumbnail": True}, 480, None),
    ],
)  # fmt: skip
def test_what_was_wanted_and_is_not_there(
    wanted: dict[str, Any], held: dict[str, Any], height: int | None, expected: Shortfall | None
) -> None:
    assert shortfall(Wanted(**wanted), Held(video_id="aaaaaaaaaaa", **held), height) == expected
