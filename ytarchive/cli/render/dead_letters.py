"""Dead letters as tables for people and as JSON for programs. Pure; foreign text goes through safe_text."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ytarchive.cli.render.table import Cell, facts, page_of, table
from ytarchive.client.dead_letters import DeadLetter
from ytarchive.text import moment, safe_text, short_id, size

_ERROR_LENGTH = 120
_MAX_LINES = 400  # of a payload
_MAX_WIDTH = 400


def as_json(letter: DeadLetter, *, payload: bool = False) -> dict[str, Any]:
    data = letter.event.model_dump(mode="json", exclude=None if payload else {"payload", "video_ids"})
    return {"id": letter.number, "at": letter.at.isoformat(), "trace_id": letter.trace_id, **data}


def dead_letters(letters: Sequence[DeadLetter], total: int, now: datetime) -> RenderableType:
    if not letters:
        return Text("No dead letters.")
    rows: Iterator[tuple[Cell, ...]] = (
        (
            str(letter.number),
            moment(letter.at, now),
            safe_text(letter.event.type),
            safe_text(letter.event.consumer),
            short_id(letter.event.job_id or ""),
            safe_text(letter.event.video_id or ""),
            Text(safe_text(letter.event.error, _ERROR_LENGTH), style="red"),
        )
        for letter in letters
    )
    return page_of(
        table("id", "at", "event", "consumer", "job", "video", "error", rows=rows), len(letters), total, "dead letter"
    )


def dead_letter(letter: DeadLetter, now: datetime, *, replayable: bool) -> RenderableType:
    """Return all facts of a dead letter and its payload."""
    event = letter.event
    rows: list[tuple[str, Cell]] = [
        ("Dead letter", str(letter.number)),
        ("At", moment(letter.at, now)),
        ("Event", safe_text(event.type)),
        ("Consumer", safe_text(event.consumer)),
        ("Error", Text(safe_text(event.error, 2_000), style="red")),
        ("Cause", "the message is invalid" if event.unreadable else "its handler failed in every attempt"),
    ]
    named = (("Job", event.job_id), ("Video", event.video_id), ("Dispatch", event.dispatch_id))
    rows += [(name, safe_text(value)) for name, value in named if value]
    rows += [
        ("Trace", safe_text(letter.trace_id)),
        ("Size", size(event.size)),
        ("Replayable", "yes" if replayable else "no: the whole message is no longer in the stream"),
    ]
    return Group(facts(rows), Text(""), *(Text(line) for line in payload_lines(event.payload)))


def payload_lines(payload: str) -> Iterator[str]:
    """Yield the lines of a payload: JSON indented, anything else as one line, without control characters."""
    try:
        text = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        yield safe_text(payload, _MAX_WIDTH * 10)
        return
    lines = text.splitlines()
    for line in lines[:_MAX_LINES]:
        content = line.lstrip(" ")
        yield " " * (len(line) - len(content)) + safe_text(content, _MAX_WIDTH)
    if len(lines) > _MAX_LINES:
        yield f"… {len(lines) - _MAX_LINES} more lines: --json shows all"
