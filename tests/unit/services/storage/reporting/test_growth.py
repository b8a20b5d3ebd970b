"""How fast an archive grows."""

import pytest

from services.storage.reporting.growth import RootGrowth, growth_rate


@pytest.mark.parametrize(
    ("held", "rate"),
    [
        ([], None),
        ([RootGrowth(bytes=500, recent=500, days=0.5)], None),
        ([RootGrowth(bytes=500, recent=500, days=5.0)], 100.0),
        ([RootGrowth(bytes=9000, recent=0, days=30.0)], 0.0),
        ([RootGrowth(bytes=9000, recent=300, days=30.0), RootGrowth(bytes=600, recent=600, days=2.0)], 30.0),
    ],
)
def test_the_rate_is_that_of_all_roots_over_the_time_observed(held: list[RootGrowth], rate: float | None) -> None:
    assert growth_rate(held) == rate
