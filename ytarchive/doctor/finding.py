"""The result of a check. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class FindingState(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works with limitations
    PROBLEM = "problem"  # something will fail


class Finding(BaseModel):
    """`found`: the state. `mend`: the suggested fix, None when it is ok."""

    model_config = ConfigDict(frozen=True)

    check: str
    state: FindingState
    found: str
    mend: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, state=FindingState.OK, found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, state=FindingState.WARNING, found=found, mend=mend)


def problem(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, state=FindingState.PROBLEM, found=found, mend=mend)


def healthy(findings: Iterable[Finding]) -> bool:
    """Return whether there is no problem. Warnings do not count."""
    return all(finding.state is not FindingState.PROBLEM for finding in findings)
