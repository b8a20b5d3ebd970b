"""What a check found. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, but not as well as it could
    PROBLEM = "problem"  # something will fail


class Finding(BaseModel):
    """`found` is what there is, `mend` what to do about it: set unless all is well."""

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    found: str
    mend: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, state=State.OK, found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, state=State.WARNING, found=found, mend=mend)


def problem(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, state=State.PROBLEM, found=found, mend=mend)


def healthy(findings: Iterable[Finding]) -> bool:
    """Warnings are no illness."""
    return all(finding.state is not State.PROBLEM for finding in findings)
