"""The filters of the job list are the statuses of jobs, and `open`."""

from services.common.models import JobStatus
from services.common.names import JOB_FILTERS
from services.jobs.rest_models import OPEN


def test_every_status_is_a_filter() -> None:
    assert (OPEN, *JobStatus) == JOB_FILTERS
