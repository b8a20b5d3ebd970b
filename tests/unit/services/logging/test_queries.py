"""Queries over journal files written by the service, and retention."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from bus.tasks import cancel_and_wait
from services.logging.journal import Journal, JournalMessage
from services.logging.queries import JournalQueries, LogFilter
from services.logging.reading import LineCounts, journal_files, read_backwards, read_forwards
from services.logging.retention import LogRetention, clean_up, expired
from tests.fixtures.accelerated_loop import AcceleratedLoop

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(number: int, **fields: Any) -> dict[str, Any]:
    at = DAY + timedelta(seconds=number)
    return {"service": "jobs", "level": "info", "event": f"e{number}", "timestamp": at.isoformat(), **fields}


def write(directory: Path, records: list[dict[str, Any]], prefix: str = "") -> None:
    journal = Journal(directory, prefix)
    at = [datetime.fromisoformat(one["timestamp"]) for one in records]
    journal.append(JournalMessage(f"{prefix}{number}", at[number], (one,)) for number, one in enumerate(records))
    journal.close()


def events(page: Any) -> list[str]:
    return [one["event"] for one in page.logs]


def query(directory: Path, limit: int = 50, offset: int = 0, **wanted: Any) -> Any:
    return JournalQueries(directory).logs(LogFilter.model_validate(wanted), limit, offset)


@given(
    lines=some.lists(some.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))),
    torn=some.binary(max_size=5).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
    block=some.integers(min_value=1, max_value=9),
    needle=some.sampled_from([b"", b"a", b"\x00"]),
)
def test_reading_backwards_reverses_reading_forwards_for_any_block_size(
    lines: list[bytes], torn: bytes, block: int, needle: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + torn)
    expected = [line for line in lines if needle in line]
    assert list(read_forwards(path, [needle], block)) == expected
    assert list(read_backwards(path, [needle], block)) == expected[::-1]


def test_the_newest_records_come_first_and_are_paged(tmp_path: Path) -> None:
    write(tmp_path, [record(number) for number in range(10)])
    first, second = query(tmp_path, limit=3), query(tmp_path, limit=3, offset=3)
    assert events(first) == ["e9", "e8", "e7"]
    assert events(second) == ["e6", "e5", "e4"]
    assert (first.total, first.limit, first.offset, first.complete) == (10, 3, 0, True)


def test_records_are_read_across_daily_files(tmp_path: Path) -> None:
    write(tmp_path, [record(number * 86_400) for number in range(3)])
    assert events(query(tmp_path)) == ["e172800", "e86400", "e0"]
    assert [file.path.name for file in journal_files(tmp_path)] == [
        "2026-03-01.jsonl", "2026-03-02.jsonl", "2026-03-03.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"service": "storage"}, ["e1"]),
        ({"level": "warning"}, ["e3", "e2"]),
        ({"level": "error"}, ["e3"]),
        ({"level": "ERROR"}, ["e3"]),
        ({"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z", "level": "error"}, ["e3"]),
        ({"trace_id": "t-1"}, ["e4"]),
        ({"search": "NEEDLE"}, ["e5"]),
        ({"search": "über"}, ["e6"]),
        ({"from": "2026-03-01T12:00:05"}, ["e6", "e5"]),
        ({"from": "2026-03-01T13:00:05+01:00", "to": "2026-03-01T12:00:05Z"}, ["e5"]),
        ({"to": "2026-03-01T12:00:00Z"}, ["e0"]),
        ({"from": "2026-03-02T00:00:00Z"}, []),
        ({"service": "storage", "level": "error"}, []),
    ],
)
def test_records_are_filtered_by_service_level_time_trace_and_text(
    tmp_path: Path, wanted: dict[str, Any], found: list[str]
) -> None:
    records = [
        record(0),
        record(1, service="storage", note="jobs"),
        record(2, level="warning"),
        record(3, level="error"),
        record(4, trace_id="t-1", note="t-2"),
        record(5, message="a needle in it"),
        record(6, title="Über uns"),
    ]
    write(tmp_path, records)
    page = query(tmp_path, **wanted)
    assert events(page) == found
    assert page.total == len(found)


def test_truncated_lines_and_files_with_other_names_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, [record(0), record(1)])
    with (tmp_path / "2026-03-01.jsonl").open("ab") as file:
        file.write(b'{"event": "torn"\n[1]\n{"event": "half')
    (tmp_path / "2026-13-01.jsonl").write_text('{"event": "no day"}\n')
    (tmp_path / "notes.jsonl").write_text('{"event": "not ours"}\n')
    assert events(query(tmp_path)) == ["e1", "e0"]


def test_the_entries_of_a_trace_are_sorted_by_time(tmp_path: Path) -> None:
    """Services send their records in batches, so lines are out of order within and between the journals."""
    trace = {"trace_id": "trace-1"}
    write(tmp_path, [record(4, **trace), record(1, **trace), record(2, trace_id="other"), record(90_000, **trace)])
    published = [record(3, **trace), record(0, **trace), record(5, **trace)]
    write(tmp_path, [one | {"event": f"event {one['event']}"} for one in published], "events-")
    page = JournalQueries(tmp_path).trace("trace-1", 50, 0)
    assert [one["event"] for one in page.entries] == ["event e0", "e1", "event e3", "e4", "event e5", "e90000"]
    part = JournalQueries(tmp_path).trace("trace-1", 2, 3)
    assert [one["event"] for one in part.entries] == ["e4", "event e5"]
    assert (part.total, part.complete) == (6, True)


def test_a_page_is_marked_incomplete_if_the_byte_limit_was_reached(tmp_path: Path) -> None:
    write(tmp_path, [record(number * 86_400) for number in range(3)])
    size = (tmp_path / "2026-03-01.jsonl").stat().st_size
    page = JournalQueries(tmp_path, most_bytes=2 * size + 10).logs(LogFilter(), 50, 0)
    assert events(page) == ["e172800", "e86400"]
    assert not page.complete


@pytest.mark.parametrize("wanted", [{"from": "0001-01-01T00:00:00+14:00"}, {"to": "9999-12-31T23:00:00-05:00"}])
def test_a_time_outside_the_range_of_utc_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="no such time in UTC"):
        LogFilter.model_validate(wanted)


def test_the_byte_limit_of_a_trace_keeps_the_newest_days(tmp_path: Path) -> None:
    write(tmp_path, [record(number * 86_400, trace_id="trace-1") for number in range(3)])
    size = (tmp_path / "2026-03-03.jsonl").stat().st_size
    page = JournalQueries(tmp_path, most_bytes=2 * size + 10).trace("trace-1", 50, 0)
    assert ([one["event"] for one in page.entries], page.complete) == (["e86400", "e172800"], False)


def test_a_search_that_exceeds_its_time_limit_is_marked_incomplete(tmp_path: Path) -> None:
    write(tmp_path, [record(number) for number in range(10)])
    page = JournalQueries(tmp_path, patience=-1.0).logs(LogFilter(service="jobs"), 50, 0)
    assert (events(page), page.total, page.complete) == (["e9"], 1, False)


def test_the_line_count_follows_a_file_that_grows_shrinks_and_is_removed(tmp_path: Path) -> None:
    counts, path = LineCounts(), tmp_path / "2026-03-01.jsonl"
    found = []
    for text in ("a\nb\nhalf", "a\nb\nhalf done\nd\n", "a\n"):
        path.write_text(text)
        found.append(counts.count(path))
    path.unlink()
    assert [*found, counts.count(path)] == [2, 4, 1, 0]


def test_a_directory_named_like_a_journal_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "2025-01-01.jsonl").mkdir()
    assert query(tmp_path).logs == []
    assert clean_up(tmp_path, 30, date(2026, 3, 31)).files == []


def test_queries_without_a_log_directory_return_nothing(tmp_path: Path) -> None:
    assert query(tmp_path / "logs").logs == []
    assert JournalQueries(tmp_path / "logs").trace("trace-1", 50, 0).entries == []
    assert JournalQueries(tmp_path / "logs").size() == 0


@pytest.mark.claim("3.5")
def test_journal_files_are_removed_after_30_days(tmp_path: Path) -> None:
    today = date(2026, 3, 31)
    for name in ("2026-02-28", "events-2026-02-28", "2026-03-01", "2026-03-30", "2026-03-31", "2025-01-01"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    (tmp_path / "2025-01-01.jsonl.mine").write_text("keep")
    old = {"2025-01-01.jsonl", "2026-02-28.jsonl", "events-2026-02-28.jsonl"}
    assert {file.path.name for file in expired(tmp_path, 30, today)} == old
    before = sorted(tmp_path.iterdir())
    preview = clean_up(tmp_path, 30, today, dry_run=True)
    assert sorted(tmp_path.iterdir()) == before
    assert ({file.name for file in preview.files}, preview.bytes) == (old, 9)
    assert clean_up(tmp_path, 30, today).files == preview.files
    assert set(before) - set(tmp_path.iterdir()) == {tmp_path / name for name in old}


@pytest.mark.claim("3.5")
def test_journal_files_that_become_old_while_the_service_runs_are_removed(tmp_path: Path) -> None:
    """Once a day, on an event loop whose days last a third of a second."""
    old, day = tmp_path / "2026-01-01.jsonl", 86_400.0  # seconds

    async def removed() -> None:
        while old.exists():  # noqa: ASYNC110 - a file sends no notification
            await asyncio.sleep(day / 10)

    async def remove_twice() -> None:
        async with asyncio.timeout(200 * day):
            old.write_text("{}\n")
            daily = asyncio.create_task(LogRetention(tmp_path, 30).run())
            await removed()
            old.write_text("{}\n")
            await removed()
            await cancel_and_wait([daily])

    with asyncio.Runner(loop_factory=partial(AcceleratedLoop, 3 * day)) as runner:
        runner.run(remove_twice())


@pytest.mark.claim("3.6")
def test_each_utc_day_has_its_own_file(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    journal = Journal(tmp_path)
    for number, at in enumerate([midnight - timedelta(milliseconds=1), midnight]):
        journal.append([JournalMessage(str(number), at, ({"event": f"e{number}"},))])
    journal.close()
    found = {path.name: json.loads(path.read_text())["event"] for path in tmp_path.iterdir()}
    assert found == {"2026-03-01.jsonl": "e0", "2026-03-02.jsonl": "e1"}
