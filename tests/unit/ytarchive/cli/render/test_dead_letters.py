"""Rendering of dead letters."""

from datetime import UTC, datetime

from rich.console import Console

from bus.dead_letter_store import StoredDeadLetter
from services.common.events import DeadLettered
from ytarchive.cli.render.dead_letters import dead_letter, dead_letters, payload_lines

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def stored(**changes: object) -> StoredDeadLetter[DeadLettered]:
    fields = {
        "type": "job.queued",
        "consumer": "metadata-job_queued",
        "sequence": 5,
        "error": "KeyError",
        "payload": "{}",
    }
    return StoredDeadLetter(7, AT, "trace", DeadLettered.model_validate(fields | changes))


def shown(what: object) -> str:
    console = Console(width=300, markup=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_a_json_payload_is_indented_and_control_characters_are_escaped() -> None:
    assert list(payload_lines('{"a": {"b": "\\u001b[2J\\u202ex"}}')) == [
        "{",
        '  "a": {',
        '    "b": "\\u001b[2Jx"',
        "  }",
        "}",
    ]


def test_a_payload_that_is_not_json_is_one_line_without_control_characters() -> None:
    assert list(payload_lines("hello\n\x1b[31mworld")) == ["hello ␛[31mworld"]
    (line,) = payload_lines("[" * 100_000)
    assert line.startswith("[[[")


def test_a_long_payload_is_truncated_with_a_note() -> None:
    lines = list(payload_lines(str(list(range(1_000)))))
    assert len(lines) == 401
    assert "602 more lines" in lines[-1]


def test_the_table_has_no_control_characters_and_shows_the_total() -> None:
    text = shown(dead_letters([stored(error="\x1b]0;owned\x07", job_id="01234567-89ab-cdef-0123-456789abcdef")], 3, AT))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "01234567" in text
    assert "01234567-" not in text
    assert "1 of 3" in text


def test_a_dead_letter_shows_its_reason_and_whether_it_can_be_replayed() -> None:
    text = shown(dead_letter(stored(unreadable=True, video_id="v"), AT, replayable=False))
    assert "the message is invalid" in text
    assert "no longer in the stream" in text
    assert "yes" in shown(dead_letter(stored(), AT, replayable=True))
