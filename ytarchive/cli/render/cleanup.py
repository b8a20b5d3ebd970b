"""Services, quota and retention for people. Pure: the data of answers in, rich tables and text out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ytarchive.cli.render.text import count, safe_text, size


def services(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "instance", "url", "version", "host", "slots"):
        table.add_column(column)
    for one in found:
        slots = f"{one['free_slots']} of {one['slots']} free" if one["slots"] else ""
        table.add_row(*(safe_text(one[key]) for key in ("name", "instance", "url", "version", "host")), slots)
    return table


def quota(found: Mapping[str, Any]) -> RenderableType:
    lines = [safe_text(found["message"])] if found.get("message") else []
    for key in found["keys"]:
        left = f"{key['remaining_background']} units left for jobs, {key['remaining_people']} for you"
        state = ", used up" if key["exhausted"] else ", over 80 %" if key["warning"] else ""
        lines.append(f"key {safe_text(key['key'])}…: {key['used']} of {found['limit']} used{state}; {left}")
    lines.append(f"The day ends at {safe_text(found['resets_at'])}.")
    return Text("\n".join(lines))


def cleanup(found: Mapping[str, Any]) -> RenderableType:
    jobs, logs = found["jobs"], found["logs"]
    verb = "would go" if jobs["dry_run"] else "removed"
    files = count(len(logs["files"]), "log file")
    return Text(f"{count(jobs['total'], 'job')} and {files} ({size(logs['bytes'])}) {verb}.")
