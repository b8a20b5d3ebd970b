"""The throughput of earlier downloads."""

from datetime import UTC, datetime, timedelta

from services.storage.reporting.throughput import MIN_SAMPLES, DownloadRun, throughput

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def run(begun: float, ended: float, size: int = 1_000) -> DownloadRun:
    return DownloadRun(AT + timedelta(seconds=begun), AT + timedelta(seconds=ended), size)


def test_too_few_downloads_give_no_throughput() -> None:
    assert throughput([]) is None
    assert throughput([run(n, n + 1) for n in range(MIN_SAMPLES - 1)]) is None
    assert throughput([run(0, 0) for _ in range(MIN_SAMPLES)]) is None


def test_pauses_between_downloads_are_not_counted() -> None:
    assert throughput([run(100 * n, 100 * n + 2) for n in range(MIN_SAMPLES)]) == 500.0


def test_time_with_concurrent_downloads_is_counted_once() -> None:
    both = [run(begun, begun + 2) for n in range(MIN_SAMPLES) for begun in (10 * n, 10 * n + 1)]
    assert throughput(both) == 2_000 / 3
    within = [run(0, 100), *(run(n, n + 1) for n in range(1, MIN_SAMPLES))]
    assert throughput(reversed(within)) == MIN_SAMPLES * 1_000 / 100
