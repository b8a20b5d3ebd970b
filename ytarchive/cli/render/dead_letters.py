"""Dead letters as tables for people and as JSON for programs. Pure; whatever strangers wrote goes through safe_text."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bus.dead_letter_store import StoredDeadLetter
from services.common.events import DeadLettered
from ytarchive.cli.render.text import moment, safe_text, short_id, size

_ERROR = 120
_LINES = 400  # of a payload
_WIDTH = 400


def described(letter: StoredDeadLetter[DeadLettered], *, payload: bool = False) -> dict[str, Any]:
    said = letter.event.model_dump(mode="json", exclude=None if payload else {"payload", "video_ids"})
    return {"id": letter.number, "at": letter.at.isoformat(), "trace_id": letter.trace_id, **said}


def letters_table(letters: Sequence[StoredDeadLetter[DeadLettered]], total: int, now: datetime) -> RenderableType:
    """The letters in the order given."""
    if not letters:
        return Text("No dead letters.")
    table = _table("id", "at", "event", "consumer", "job", "video", "error")
    for letter in letters:
        said = letter.event
        table.add_row(
            str(letter.number),
            moment(letter.at, now),
            Text(safe_text(said.type)),
            Text(safe_text(said.consumer)),
            Text(short_id(said.job_id or "")),
            Text(safe_text(said.video_id or "")),
            Text(safe_text(said.error, _ERROR), style="red"),
        )
    more = Text(f"{len(letters)} of {total}", style="dim")
    return Group(table, more) if total > len(letters) else table


def letter_detail(letter: StoredDeadLetter[DeadLettered], now: datetime, *, replayable: bool) -> RenderableType:
    said = letter.event
    facts = _table("", "")
    facts.show_header = False
    facts.add_row("Letter", str(letter.number))
    facts.add_row("At", moment(letter.at, now))
    facts.add_row("Event", Text(safe_text(said.type)))
    facts.add_row("Consumer", Text(safe_text(said.consumer)))
    facts.add_row("Error", Text(safe_text(said.error, 2_000), style="red"))
    facts.add_row("Why", "it could not be read" if said.unreadable else "its handler failed, again and again")
    for name, value in (("Job", said.job_id), ("Video", said.video_id), ("Dispatch", said.dispatch_id)):
        if value:
            facts.add_row(name, Text(safe_text(value)))
    facts.add_row("Trace", Text(safe_text(letter.trace_id)))
    facts.add_row("Size", size(said.size))
    facts.add_row("Can be replayed", "yes" if replayable else "no: the message is no longer there as a whole")
    return Group(facts, Text(""), *(Text(line) for line in payload_lines(said.payload)))


def payload_lines(payload: str) -> Iterator[str]:
    """A payload to read: JSON indented, anything else as one line; harmless for a terminal."""
    try:
        text = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        yield safe_text(payload, _WIDTH * 10)
        return
    lines = text.splitlines()
    for line in lines[:_LINES]:
        bare = line.lstrip(" ")
        yield " " * (len(line) - len(bare)) + safe_text(bare, _WIDTH)
    if len(lines) > _LINES:
        yield f"… {len(lines) - _LINES} lines more: --json shows them"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
