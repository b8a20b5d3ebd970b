"""Predictions of the decisions of a job."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.archive import Held, KnownGone, Revisit, RevisitReason
from services.common.domain.videos import Entry, Wanted
from services.jobs.domain.listings import RECHECK_GONE_AFTER
from ytarchive.planning.download_plan import Prediction, predict

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
A = "aaaaaaaaaaa"
WANTED = Wanted(captions=("en",))
COMPLETE = Held(video_id=A, qualities=("1080p",), thumbnail=True, captions=("en",), metadata=True)

LOOK = {"revisit": Revisit(reasons=(RevisitReason.LOWER,), since=NOW), "next_look": NOW}  # is due


def gone(reason: str, ago: timedelta) -> Held:
    return Held(video_id=A, known_gone=KnownGone(reason=reason, at=NOW - ago))


def predicted(
    have: Held | None, *, wanted: Wanted = WANTED, force: bool = False, lists: bool = True, **entry: str
) -> Prediction:
    one = Entry(video_id=A, duration_seconds=60.0, **entry)
    known = {A: have} if have else {}
    return predict(
        [one], known, wanted, NOW, RECHECK_GONE_AFTER, skip_existing=not force, listed={A} if lists else set()
    )


@pytest.mark.parametrize(
    ("have", "held", "seconds"),
    [
        (None, False, 60.0),
        (COMPLETE, True, 60.0),
        (COMPLETE.model_copy(update={"qualities": ("best",)}), True, 60.0),
        (COMPLETE.model_copy(update={"qualities": ("720p",)}), False, 60.0),
        (COMPLETE.model_copy(update={"captions": ()}), False, 0.0),
        (COMPLETE.model_copy(update={"captions": (), "absent": ("captions/en",)}), True, 60.0),
        (COMPLETE.model_copy(update=LOOK), True, 60.0),
        (COMPLETE.model_copy(update={**LOOK, "captions": ()}), False, 0.0),
    ],
)
def test_held_videos_are_predicted_as_a_job_decides(have: Held | None, held: bool, seconds: float) -> None:
    found = predicted(have)
    assert (A in found.held) is held
    assert found.entries[0].duration_seconds == seconds
    assert A not in predicted(have, force=True).held


def test_gone_videos_are_predicted_as_a_job_decides() -> None:
    week = RECHECK_GONE_AFTER
    assert predicted(gone("terminated", timedelta())).gone == {A: "terminated"}
    assert predicted(gone("terminated", week)).gone == {}, "the re-check is due"
    assert predicted(gone("private", timedelta())).gone == {}, "the playlist does not mark it any more"
    assert predicted(gone("private", timedelta()), marked="private").gone == {A: "private"}
    assert predicted(gone("private", timedelta()), lists=False).gone == {A: "private"}
    assert predicted(gone("terminated", timedelta()), force=True).gone == {}
    assert predicted(COMPLETE, marked="deleted").gone == {}, "held files take precedence over the mark"


def test_metadata_alone_has_no_duration() -> None:
    found = predicted(None, wanted=Wanted(media=False, thumbnail=False))
    assert found.entries[0].duration_seconds == 0.0
