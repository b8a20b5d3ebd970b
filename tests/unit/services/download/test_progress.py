"""Progress of a download: when it is published, and its content."""

import pytest

from services.common.youtube.messages import Downloading
from services.download.progress import ProgressRule, known_size, progress_of


@pytest.mark.claim("10.5")
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0.0, 0.0)], [True]),
        ([(0.0, 0.0), (1.0, 0.04), (2.0, 0.05)], [True, False, True]),
        ([(0.0, 0.0), (4.9, 0.01), (5.0, 0.01), (9.0, 0.02), (10.0, 0.02)], [True, False, True, False, True]),
        ([(0.0, 0.5), (0.1, 0.54), (0.2, 0.56), (0.3, 0.60), (0.4, 0.62)], [True, False, True, False, True]),
    ],
)
def test_progress_is_due_every_5_seconds_or_5_percent(steps: list[tuple[float, float]], expected: list[bool]) -> None:
    rule = ProgressRule()
    assert [rule.due(now, share) for now, share in steps] == expected


@pytest.mark.claim("10.5")
def test_the_last_progress_is_always_due() -> None:
    rule = ProgressRule()
    assert rule.due(0.0, 0.99)
    assert not rule.due(0.1, 1.0)
    assert rule.due(0.2, 1.0, last=True)


@pytest.mark.claim("10.6")
def test_progress_has_the_fields_of_the_specification() -> None:
    progress = progress_of(Downloading(downloaded=250, total=1000, speed=50.0, eta=15))
    assert (progress.current, progress.total, progress.percentage) == (250, 1000, 25.0)
    assert (progress.speed_bps, progress.eta_seconds) == (50.0, 15)


def test_the_percentage_is_0_without_a_total_and_100_at_the_end() -> None:
    assert progress_of(Downloading(downloaded=250)).percentage == 0.0
    assert progress_of(Downloading(downloaded=250), finished=True).percentage == 100.0


@pytest.mark.parametrize(
    ("state", "size"),
    [
        (None, None),
        (Downloading(downloaded=0), None),
        (Downloading(downloaded=5), 5),
        (Downloading(downloaded=5, total=9), 9),
    ],
)
def test_the_known_size_is_the_announced_one_or_what_has_arrived(state: Downloading | None, size: int | None) -> None:
    assert known_size(state) == size
