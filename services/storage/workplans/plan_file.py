"""Reading and writing work_plans/{job_id}.json.

Blocks: use a thread. Writers hold the lock of the plan.
"""

from collections.abc import Iterator
from pathlib import Path

import structlog

from services.common.errors import code_of
from services.common.infra.files import set_aside, write_atomically
from services.storage.archive.json_file import read_json_file
from services.storage.formats.work_plan import WorkPlan

_log = structlog.get_logger()
PLAN_REMEDY = "Repair it, or remove it with `ytarchive workplan delete`; its job's next failure replaces it."


def plan_path(directory: Path, plan_id: str) -> Path:
    return directory / f"{plan_id}.json"


def read_plan(path: Path) -> WorkPlan | None:
    """Return the plan; None when there is no file, or (logged) an invalid one. Raises OSError."""

    def misplaced(plan: WorkPlan) -> str | None:
        return None if plan.plan_id == path.stem else f"it is the plan {plan.plan_id}"

    return read_json_file(path, WorkPlan, event="work_plan_unreadable", remedy=PLAN_REMEDY, misplaced=misplaced)


def all_plans(directory: Path) -> Iterator[WorkPlan]:
    """Yield all readable plans. One that cannot be read is logged and left out."""
    for path in sorted(directory.glob("*.json")):
        try:
            plan = read_plan(path)
        except OSError as error:
            _log.error("work_plan_unreadable", path=str(path), error_code=code_of(error), error_message=str(error))
            continue
        if plan is not None:
            yield plan


def save_plan(directory: Path, before: WorkPlan | None, after: WorkPlan) -> Path:
    """Write the plan, unless `after` is the plan that was read (`before`). Return its path."""
    path = plan_path(directory, after.plan_id)
    if after is not before:
        if before is None:
            set_aside(path)
        write_atomically(path, after.model_dump_json(indent=2))
    return path
