"""The journal: complete lines, deduplication, repair of what a crash left."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.logging.journal import Journal, JournalMessage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(id: str, *numbers: int, at: datetime = NOON) -> JournalMessage:
    return JournalMessage(id, at, tuple({"n": number} for number in numbers))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_a_line_with_the_id_of_its_message(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert len(journal.append([message("a", 1, 2), message("b", 3)])) == 3
    journal.close()
    path = tmp_path / "2026-03-01.jsonl"
    assert lines(path) == [
        {"n": 1, "message_id": "a"},
        {"n": 2, "message_id": "a"},
        {"n": 3, "message_id": "b"},
    ]


def test_a_message_is_written_to_the_file_of_its_utc_day(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "events-")
    berlin = datetime.fromisoformat("2026-03-01T00:30:00+01:00")
    late = [message(str(day), day, at=NOON + timedelta(days=day)) for day in range(6)]
    journal.append([message("x", 0, at=berlin), *late])
    journal.append([message("y", 9, at=berlin)])  # the file was closed meanwhile
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["events-2026-02-28.jsonl", *(f"events-2026-03-0{day}.jsonl" for day in range(1, 7))]
    assert [line["n"] for line in lines(tmp_path / names[0])] == [0, 9]


@pytest.mark.parametrize("restart", [False, True])
def test_a_redelivered_message_is_not_written_twice(restart: bool, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([message("a", 1, 2)])
    if restart:
        journal.close()
        journal = Journal(tmp_path)
    assert len(journal.append([message("a", 1, 2), message("b", 3)])) == 1
    journal.close()
    assert [line["n"] for line in lines(journal.path(NOON.date()))] == [1, 2, 3]


@pytest.mark.parametrize(
    "how", [Path.unlink, lambda path: path.rename(path.with_suffix(".1"))], ids=["removed", "moved"]
)
def test_a_removed_or_renamed_journal_file_is_created_again(how: Callable[[Path], Any], tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([message("a", 1)])
    how(journal.path(NOON.date()))
    journal.append([message("a", 1), message("b", 2)])
    journal.append([message("c", 3)])
    journal.close()
    assert [line["n"] for line in lines(journal.path(NOON.date()))] == [1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_after_a_crash_during_a_write_no_record_is_lost_or_duplicated(cut: int, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([message("a", 1, 2, 3)])
    journal.close()
    path = journal.path(NOON.date())
    path.write_bytes(path.read_bytes()[:-cut])  # truncated by a crash
    again = Journal(tmp_path)
    again.append([message("a", 1, 2, 3)])
    again.close()
    assert [line["n"] for line in lines(path)] == [1, 2, 3]
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("hole", range(0, 150, 11))
def test_after_a_power_cut_that_lost_a_page_no_record_is_lost_or_duplicated(hole: int, tmp_path: Path) -> None:
    """The file has its length, and zeros in place of what was not written. All of the messages are delivered again."""
    journal = Journal(tmp_path)
    journal.append([message("synced", 0)])
    path = journal.path(NOON.date())
    synced = path.stat().st_size
    delivered = [message("a", 1, 2, 3), message("b", 4)]
    journal.append(delivered)
    journal.close()
    content = bytearray(path.read_bytes())
    begin = synced + hole % (len(content) - synced)
    content[begin : begin + 20] = bytes(len(content[begin : begin + 20]))
    path.write_bytes(content)
    again = Journal(tmp_path)
    again.append(delivered)
    again.close()
    assert [line["n"] for line in lines(path)] == [0, 1, 2, 3, 4]
    (kept,) = tmp_path.glob("*.unreadable")
    assert content.endswith(kept.read_bytes())  # on a damaged disk whole lines may follow the hole


def test_a_file_that_another_service_writes_is_named_and_left_alone(tmp_path: Path) -> None:
    """Two logging services with one folder: the second took a record that was half written for what a crash left."""
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.append([message("a", 1)])
    path = first.path(NOON.date())
    half = b'{"n": 2, "mess'
    with path.open("ab") as file:
        file.write(half)
    with pytest.raises(OSError, match=f"{path} is written by another logging service: stop one"):
        second.append([message("b", 3)])
    assert path.read_bytes().endswith(half)
    first.close()
    second.append([message("b", 3)])
    second.close()
    assert [line["n"] for line in lines(path)] == [1, 3]


def test_malformed_lines_in_a_journal_file_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "2026-03-01.jsonl").write_bytes(b'[1]\n"x"\n{"message_id": 7}\n\xff\xfe\n')
    journal = Journal(tmp_path)
    assert len(journal.append([message("a", 1)])) == 1
    journal.close()
