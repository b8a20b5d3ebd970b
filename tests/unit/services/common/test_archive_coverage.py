"""Comparison of requested files with archived files."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.archive_coverage import decide, missing, quality_covers, shortfall, stays_gone, union
from services.common.domain.archive import Held, KnownGone, Revisit, RevisitReason
from services.common.domain.jobs import Shortfall
from services.common.domain.videos import Entry, Look, Wanted


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


NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENTRY = Entry(video_id="aaaaaaaaaaa", duration_seconds=100.0)


def held_video(
    resolution: int | None = 360, offered: int | None = 360, *, due: datetime | None = NOW - HOUR, **words: Any
) -> Held:
    """A complete video, whose next look is `due`; other words are those of Held and Revisit."""
    about: dict[str, Any] = {name: words.pop(name) for name in ("captions", "left_out") if name in words}
    about |= {"resolution": resolution, "offered": offered, "final": words.pop("final", True)}
    revisit = Revisit(reasons=(RevisitReason.LOWER,), since=NOW, **about)
    base: dict[str, Any] = {"qualities": ("1080p",), "thumbnail": True, "metadata": True, "revisit": revisit}
    return Held(video_id=ENTRY.video_id, next_look=due, **{**base, **words})


def decided(held: Held, entry: Entry = ENTRY, *, force: bool = False, **wanted: Any) -> Wanted | KnownGone | None:
    return decide(
        entry, held, Wanted(force=force, **wanted), NOW, 7 * 24 * HOUR, skip_existing=not force, retry_gone=False,
        in_list=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resolution", "offered", "qualities", "want", "enough"),
    [
        (480, 480, ("720p",), "1080p", True),  # there is nothing better
        (480, 480, ("720p",), "best", True),
        (480, 720, ("480p",), "1080p", False),
        (1080, 2160, ("1080p",), "best", False),
        (1080, 2160, ("1080p",), "1080p", True),
        (720, 1440, ("1080p",), "1080p", True),  # asked for, and the best below 1440p
        (144, 1080, ("144p",), "360p", False),
        (360, 360, ("best",), "audio", False),
        (480, None, ("720p",), "1080p", False),  # archived by an earlier version
        (None, 480, ("audio",), "480p", False),
    ],
)
def test_held_is_judged_by_the_picture_and_by_the_best_offer(
    resolution: int | None, offered: int | None, qualities: tuple[str, ...], want: str, enough: bool
) -> None:
    held = held_video(resolution, offered, due=None, qualities=qualities)
    assert (missing(Wanted(quality=want), held) is None) is enough


def test_the_best_offer_counts_only_if_it_is_final() -> None:
    """A recent upload in 360p that was asked for as 360p is not all that there is for a request of 1080p."""
    early = held_video(360, 360, due=None, qualities=("360p",), final=False)
    need = missing(Wanted(quality="1080p"), early)
    assert need is not None
    assert need.media
    assert missing(Wanted(quality="360p"), early) is None


def test_a_due_look_asks_for_all_that_was_ever_asked_for() -> None:
    held = held_video(captions=("fr",), absent=("captions/fr",), qualities=("360p", "1080p", "720p"))
    need = decided(held, quality="360p", captions=("fr",))
    assert need == Wanted(
        quality="1080p", thumbnail=False, captions=("fr",), listed_seconds=100.0, look=Look(resolution=360)
    )
    assert isinstance(need, Wanted)
    assert need.only_looks


def test_a_job_for_sound_looks_for_the_picture_that_is_held_too() -> None:
    need = decided(held_video(qualities=("audio", "720p")), quality="audio")
    assert isinstance(need, Wanted)
    assert need.quality == "720p"
    sound = decided(held_video(resolution=None, qualities=("audio",)), quality="audio")
    assert isinstance(sound, Wanted)
    assert sound.quality == "audio"


@pytest.mark.parametrize(
    "held",
    [
        held_video(due=NOW + HOUR),
        held_video(due=None),
        held_video(known_gone=KnownGone(reason="private", at=NOW - HOUR)),
    ],
    ids=["not due", "given up", "gone"],
)
def test_without_a_due_look_nothing_is_asked(held: Held) -> None:
    assert decided(held) is None


def test_a_video_that_the_listing_marks_is_not_looked_at() -> None:
    assert decided(held_video(), ENTRY.model_copy(update={"marked": "private"})) is None


def test_a_forced_download_and_one_of_metadata_do_not_look() -> None:
    forced = decided(held_video(), force=True)
    assert isinstance(forced, Wanted)
    assert forced.look is None
    assert decided(held_video(), media=False, thumbnail=False) is None


def test_refused_captions_wait_for_the_look_and_are_part_of_it() -> None:
    waiting = held_video(captions=("en",), left_out=("en",), due=NOW + HOUR)
    assert decided(waiting, captions=("en",)) is None
    need = decided(held_video(captions=("en",), left_out=("en",)), captions=("en",))
    assert isinstance(need, Wanted)
    assert need.captions == ("en",)


def test_other_captions_are_fetched_with_a_due_look() -> None:
    need = decided(held_video(), captions=("de",))
    assert isinstance(need, Wanted)
    assert (need.media, need.captions, need.only_looks) == (True, ("de",), False)
    assert need.look == Look(resolution=360, alone=False)


LOOK = Wanted(thumbnail=False, captions=("en",), look=Look(resolution=360))


@pytest.mark.parametrize(
    ("other", "look"),
    [
        (LOOK, LOOK.look),
        (Wanted(media=False, captions=("de",)), Look(resolution=360, alone=False)),
        (Wanted(quality="1080p"), None),  # it needs the media
        (LOOK.model_copy(update={"force": True}), None),
    ],
)
def test_a_look_together_with_another_request(other: Wanted, look: Look | None) -> None:
    for together in (union(LOOK, other), union(other, LOOK)):
        assert together is not None
        assert (together.media, together.look) == (True, look)
