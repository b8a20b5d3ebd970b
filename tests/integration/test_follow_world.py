"""A made world of follows over 26 days, with feeds that fail and a throttle (tests/benchmarks/follow_world.py)."""

from services.jobs.domain.rhythm import Pace
from tests.benchmarks.follow_world import simulate


def test_every_wanted_video_is_held_and_found_within_two_intervals() -> None:
    figures = simulate(channels=9, days=26, seed=7)
    assert (figures.missed, figures.unwanted, figures.late) == ([], [], [])
    assert figures.held > 100
    assert figures.looks["feed"] > figures.looks["list"] > 0


def test_too_many_follows_stay_within_their_requests_and_lose_nothing() -> None:
    pace = Pace(requests_per_hour=4)
    figures = simulate(channels=12, days=12, seed=2, pace=pace)
    assert (figures.missed, figures.unwanted) == ([], [])
    assert figures.requests <= 4 * 24 * 13 + 12 * 3  # of the first looks
