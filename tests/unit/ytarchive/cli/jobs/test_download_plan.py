"""The predicted decisions of a job."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.domain.archive import Held, KnownGone
from services.common.domain.videos import Entry, Wanted
from services.jobs.domain.listings import RECHECK_GONE_AFTER
from ytarchive.cli.jobs.download_plan import Prediction, predict

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
A = "aaaaaaaaaaa"
WANTED = Wanted(captions=("en",))
WHOLE = Held(video_id=A, qualities=("1080p",), thumbnail=True, captions=("en",), metadata=True)


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
        (WHOLE, True, 60.0),
        (WHOLE.model_copy(update={"qualities": ("best",)}), True, 60.0),
        (WHOLE.model_copy(update={"qualities": ("720p",)}), False, 60.0),
        (WHOLE.model_copy(update={"captions": ()}), False, 0.0),
        (WHOLE.model_copy(update={"captions": (), "absent": ("captions/en",)}), True, 60.0),
    ],
)
def test_held_as_a_job_decides(have: Held | None, held: bool, seconds: float) -> None:
    found = predicted(have)
    assert (A in found.held) is held
    assert found.entries[0].duration_seconds == seconds
    assert A not in predicted(have, force=True).held


def test_gone_as_a_job_decides() -> None:
    week = RECHECK_GONE_AFTER
    assert predicted(gone("terminated", timedelta())).gone == {A: "terminated"}
    assert predicted(gone("terminated", week)).gone == {}, "it is time to look again"
    assert predicted(gone("private", timedelta())).gone == {}, "the list does not mark it any more"
    assert predicted(gone("private", timedelta()), marked="private").gone == {A: "private"}
    assert predicted(gone("private", timedelta()), lists=False).gone == {A: "private"}
    assert predicted(gone("terminated", timedelta()), force=True).gone == {}
    assert predicted(WHOLE, marked="deleted").gone == {}, "it is held, whatever the list says"


def test_metadata_alone_have_no_length() -> None:
    found = predicted(None, wanted=Wanted(media=False, thumbnail=False))
    assert found.entries[0].duration_seconds == 0.0
