"""What earlier downloads teach about the next."""

from datetime import UTC, datetime, timedelta

from services.storage.reporting.throughput import FEW, Run, throughput

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def run(begun: float, ended: float, size: int = 1_000) -> Run:
    return Run(AT + timedelta(seconds=begun), AT + timedelta(seconds=ended), size)


def test_few_downloads_teach_nothing() -> None:
    assert throughput([]) is None
    assert throughput([run(n, n + 1) for n in range(FEW - 1)]) is None
    assert throughput([run(0, 0) for _ in range(FEW)]) is None


def test_one_after_the_other_and_pauses_between() -> None:
    assert throughput([run(100 * n, 100 * n + 2) for n in range(FEW)]) == 500.0


def test_slots_at_the_same_time_count_once() -> None:
    both = [run(begun, begun + 2) for n in range(FEW) for begun in (10 * n, 10 * n + 1)]
    assert throughput(both) == 2_000 / 3
    within = [run(0, 100), *(run(n, n + 1) for n in range(1, FEW))]
    assert throughput(reversed(within)) == FEW * 1_000 / 100
