"""Filters of the job list."""

from services.common.models import JobStatus
from services.common.names import JOB_FILTERS
from services.jobs.rest_models import OPEN


def test_the_filters_are_open_and_every_job_status() -> None:
    assert (OPEN, *JobStatus) == JOB_FILTERS
