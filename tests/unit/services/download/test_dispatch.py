"""What a dispatch requests of its child."""

import pytest

from services.common.settings.load import Config
from services.download.dispatch import connections_of


@pytest.mark.parametrize(
    ("settings", "connections"),
    [
        ({}, 2),
        ({"download": {"connections": 1}}, 1),
        ({"youtube": {"rate_limit": "2MiB"}}, 1),
    ],
    ids=["by default", "as configured", "with a rate limit"],
)
def test_the_connections_for_the_media_of_a_video(settings: dict[str, object], connections: int) -> None:
    assert connections_of(Config.model_validate(settings)) == connections
