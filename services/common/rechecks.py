"""A re-check is a job that looks again at what work plans say is missing. Its id says so: jobs lets it try what is
known to be gone, and storage puts what it finds onto the plans that it came from (docs/decisions/0011)."""

_PREFIX = "recheck-"


def recheck_id(name: str) -> str:
    return _PREFIX + name


def is_recheck(job_id: str) -> bool:
    return job_id.startswith(_PREFIX)
