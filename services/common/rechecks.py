"""Ids of re-checks: jobs that repeat the attempts of work plans. By its id jobs recognizes that it may try known-gone
videos, and storage that the result belongs to the original plans (docs/decisions/0011)."""

_PREFIX = "recheck-"


def recheck_id(name: str) -> str:
    return _PREFIX + name


def is_recheck(job_id: str) -> bool:
    return job_id.startswith(_PREFIX)
