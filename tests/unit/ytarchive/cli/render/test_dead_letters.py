"""Dead letters for people."""

from datetime import UTC, datetime

from rich.console import Console

from bus.dead_letter_store import StoredDeadLetter
from services.common.events import DeadLettered
from ytarchive.cli.render.dead_letters import dead_letter, dead_letters, payload_lines

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def letter(**said: object) -> StoredDeadLetter[DeadLettered]:
    fields = {
        "type": "job.queued",
        "consumer": "metadata-job_queued",
        "sequence": 5,
        "error": "KeyError",
        "payload": "{}",
    }
    return StoredDeadLetter(7, AT, "trace", DeadLettered.model_validate(fields | said))


def shown(what: object) -> str:
    console = Console(width=300, markup=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_json_is_indented_and_harmless() -> None:
    assert list(payload_lines('{"a": {"b": "\\u001b[2J\\u202ex"}}')) == [
        "{",
        '  "a": {',
        '    "b": "\\u001b[2Jx"',
        "  }",
        "}",
    ]


def test_what_is_no_json_is_one_harmless_line() -> None:
    assert list(payload_lines("hello\n\x1b[31mworld")) == ["hello ␛[31mworld"]
    (line,) = payload_lines("[" * 100_000)
    assert line.startswith("[[[")


def test_a_long_payload_is_cut_and_says_so() -> None:
    lines = list(payload_lines(str(list(range(1_000)))))
    assert len(lines) == 401
    assert "602 more lines" in lines[-1]


def test_the_table_is_harmless_and_says_how_many_there_are() -> None:
    text = shown(dead_letters([letter(error="\x1b]0;owned\x07", job_id="01234567-89ab-cdef-0123-456789abcdef")], 3, AT))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "01234567" in text
    assert "01234567-" not in text
    assert "1 of 3" in text


def test_a_letter_says_why_and_whether_it_can_be_replayed() -> None:
    text = shown(dead_letter(letter(unreadable=True, video_id="v"), AT, replayable=False))
    assert "the message is invalid" in text
    assert "no longer in the stream" in text
    assert "yes" in shown(dead_letter(letter(), AT, replayable=True))
