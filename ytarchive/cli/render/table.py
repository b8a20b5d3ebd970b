"""Tables without borders. Pure."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ytarchive.text import count

Cell = str | Text


def table(*headings: str, rows: Iterable[Iterable[Cell]] = ()) -> Table:
    """Return a table; its cells are text, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*map(_text, row))
    return made


def facts(rows: Iterable[tuple[str, Cell]]) -> Table:
    """Return a table of two columns without headings: names and values."""
    made = table("", "", rows=rows)
    made.show_header = False
    return made


def page_of(rows: Table, shown: int, total: int, noun: str) -> RenderableType:
    """Return a table with the number of its rows, and that of all results when it is greater."""
    return Group(rows, Text(count(total, noun) if shown == total else f"{shown} of {count(total, noun)}"))


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
