"""How a download command ended: the numbers for its summary. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.common.models import Item, ItemStatus, Job
from ytarchive.cli.exits import Exit


@dataclass(frozen=True)
class Result:
    """`bytes` is what the videos that were saved weigh; `seconds` is how long this command took."""

    exit: Exit
    job: Job | None
    seconds: float
    saved: int = 0
    bytes: int = 0
    unavailable: tuple[Item, ...] = ()
    failed: tuple[Item, ...] = ()
    waiting: tuple[Item, ...] = ()  # of a parked job: for a later time
    attached: bool = False  # to somebody else's stack, which goes on

    def as_json(self) -> dict[str, Any]:
        """The last line of `--json`."""
        job = self.job.model_dump(mode="json") if self.job else None
        return {
            "type": "result",
            "exit_code": int(self.exit),
            "job": job,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "work_plan": self.job.work_plan if self.job else None,
            "unavailable": [_gap(item) for item in self.unavailable],
            "failed": [_gap(item) for item in self.failed],
            "waiting": [_gap(item) for item in self.waiting],
        }


def _gap(item: Item) -> dict[str, Any]:
    return item.model_dump(
        mode="json", include={"video_id", "title", "reason", "message", "attempts", "error_code", "retry_at"}
    )


@dataclass
class Tally:
    """Counts items that come page by page, and keeps only those that are named in the end."""

    saved: int = 0
    bytes: int = 0
    unavailable: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            match item.status:
                case ItemStatus.ARCHIVED:
                    self.saved += 1
                    self.bytes += (item.result.file_size or 0) if item.result else 0
                case ItemStatus.UNAVAILABLE:
                    self.unavailable.append(item)
                case ItemStatus.FAILED:
                    self.failed.append(item)
                case status if status.open and item.retry_at is not None:
                    self.waiting.append(item)
                case _:
                    pass
