"""Fixtures for the tests of the services."""

import pytest

from tests.fixtures.jobs_world import World


@pytest.fixture
def world() -> World:
    return World()
