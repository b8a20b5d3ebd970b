"""What tests of one service's parts share."""

import pytest

from tests.fixtures.jobs_world import World


@pytest.fixture
def world() -> World:
    return World()
