"""Processes that the process pool of the command-line tests starts."""

import os
from pathlib import Path

from tests.fixtures.processes import INHERITED_VARIABLES, ProcessPool


def test_exit_codes_of_processes_that_end_at_the_same_time_are_all_reported(
    process_pool: ProcessPool, tmp_path: Path
) -> None:
    env = {key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ}
    for _ in range(3):
        many = [process_pool.start(["no-such-command"], tmp_path / f"out{number}", env) for number in range(20)]
        assert {process.wait() for process in many} == {2}
