"""The wording of refusals."""

from datetime import UTC, datetime, timedelta

import pytest

from ytarchive.emulator.site import sample
from ytarchive.emulator.site.refusals import playability, wait_text
from ytarchive.emulator.site.world import Video, VideoKind


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (timedelta(days=3), "3 days"),
        (timedelta(hours=26), "1 day"),
        (timedelta(hours=3), "3 hours"),
        (timedelta(minutes=61), "1 hour"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(seconds=-5), "1 minute"),
    ],
)
def test_the_time_until_the_start_is_rounded(wait: timedelta, text: str) -> None:
    video = Video("v", "t", "c", starts_at=(datetime.now(UTC) + wait).isoformat())
    assert wait_text(video) == text
    assert text in playability(VideoKind.UPCOMING, video)["reason"]


def test_every_kind_has_its_own_refusal() -> None:
    video = Video("v", "t", "c")
    refusals = {str(playability(VideoKind(kind), video)) for kind in sample.KINDS}
    assert len(refusals) == len(sample.KINDS)
    assert {playability(kind, video)["status"] for kind in (VideoKind.OK, VideoKind.LIVE)} == {"OK"}
    assert playability(VideoKind.UPCOMING, None) == playability(VideoKind.MISSING, None)
