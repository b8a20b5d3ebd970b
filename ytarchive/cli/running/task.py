"""What a one-shot is for: a new job (`order.Order`), or one that is there already (`wishes.GoOn`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bus.message import Event
from services.common.models import Job
from ytarchive.cli.running.job_state import Picture


class Errand(Protocol):
    @property
    def extra_root(self) -> Path | None:
        """An archive root that is not configured, and that the stack needs for this."""

    def known(self, open_jobs: Sequence[Job]) -> Picture | None:
        """The job that it is about, if that is there already."""

    def event(self, job_id: str, *, again: bool) -> Event:
        """What makes the job begin, or go on. `again`: it was published before, to a stack that is gone."""
