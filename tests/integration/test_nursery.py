"""The nursery, which all tests of the command line stand on."""

import os
from pathlib import Path

from tests.fixtures.processes import KEPT, Nursery


def test_commands_that_end_in_the_same_moment(nursery: Nursery, tmp_path: Path) -> None:
    """Each one's end is told, and the nursery lives on."""
    env = {key: os.environ[key] for key in KEPT if key in os.environ}
    for _ in range(3):
        many = [nursery.start(["no-such-command"], tmp_path / f"out{number}", env) for number in range(20)]
        assert {process.wait() for process in many} == {2}
