"""Comparison of requested files with archived files."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.archive_coverage import missing, quality_covers, stays_gone, union
from services.common.domain.archive import Held, KnownGone
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
