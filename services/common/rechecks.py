"""Ids of jobs that storage creates: re-checks repeat the attempts of work plans, revisits look at archived videos.

By the id of a re-check jobs recognizes that it may try known-gone videos, and storage that the result belongs to the
original plans (docs/decisions/0011). That of a revisit only tells people (docs/decisions/0026)."""

_PREFIX = "recheck-"
_REVISIT_PREFIX = "revisit-"


def recheck_id(name: str) -> str:
    return _PREFIX + name


def is_recheck(job_id: str) -> bool:
    return job_id.startswith(_PREFIX)


def revisit_id(name: str) -> str:
    return _REVISIT_PREFIX + name
