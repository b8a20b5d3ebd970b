"""The result of a command that ran or watched a job. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.common.domain.jobs import Item, ItemStatus, Job
from ytarchive.cli.jobs.exit_codes import Exit


@dataclass
class ItemTotals:
    """Totals of all items, and those items that the summary lists. `bytes`: the size of the saved videos. `waiting`:
    items of a parked job, for a later attempt. `short`: saved without something that was wanted."""

    saved: int = 0
    bytes: int = 0
    unavailable: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)
    short: list[Item] = field(default_factory=list)

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            match item.status:
                case ItemStatus.ARCHIVED:
                    self.saved += 1
                    self.bytes += (item.result.file_size or 0) if item.result else 0
                    self.short += [item] if item.shortfall else []
                case ItemStatus.UNAVAILABLE:
                    self.unavailable.append(item)
                case ItemStatus.FAILED:
                    self.failed.append(item)
                case status if status.open and item.retry_at is not None:
                    self.waiting.append(item)
                case _:
                    pass


@dataclass(frozen=True)
class RunResult:
    """`seconds`: how long this command took. `attached`: another process runs the stack, which continues."""

    exit: Exit
    job: Job | None
    seconds: float
    items: ItemTotals = field(default_factory=ItemTotals)
    attached: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the last line of `--json`."""
        return {
            "type": "result",
            "exit_code": int(self.exit),
            "job": self.job.model_dump(mode="json") if self.job else None,
            "bytes": self.items.bytes,
            "seconds": round(self.seconds, 3),
            "work_plan": self.job.work_plan if self.job else None,
            "unavailable": [_item(item) for item in self.items.unavailable],
            "failed": [_item(item) for item in self.items.failed],
            "waiting": [_item(item) for item in self.items.waiting],
            "short": [
                item.model_dump(mode="json", include={"video_id", "title", "shortfall"}) for item in self.items.short
            ],
        }


def _item(item: Item) -> dict[str, Any]:
    return item.model_dump(
        mode="json", include={"video_id", "title", "reason", "message", "attempts", "error_code", "retry_at"}
    )
