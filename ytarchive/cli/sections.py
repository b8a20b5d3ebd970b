"""`ytarchive --help`: the commands under headings."""

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Archive": ("download", "plan", "jobs", "workplan"),
    "Look at YouTube": ("metadata", "playlist", "quota"),
    "Look at the archive": ("storage",),
    "See what happens": ("logs", "trace", "events"),
    "Run services": ("up", "service", "services", "health", "cleanup"),
    "This installation": ("doctor", "config", "demo", "version"),
}


class Sections(TyperGroup):
    """Every command stands in SECTIONS (a test keeps it so); one that does not would come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = [name for names in SECTIONS.values() for name in names if name in self.commands]
        return [*known, *(name for name in self.commands if name not in known)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = self.list_commands(ctx)
        width = max(map(len, listed))
        named = {name for names in SECTIONS.values() for name in names}
        headed = {**SECTIONS, "More": tuple(name for name in listed if name not in named)}
        for heading, names in headed.items():
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(200)) for name in names]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
