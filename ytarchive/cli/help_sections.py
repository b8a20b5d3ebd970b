"""The headings of `ytarchive --help`."""

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Archive": ("download", "follow", "plan", "jobs", "workplan"),
    "Query YouTube": ("metadata", "playlist", "quota"),
    "Query the archive": ("storage",),
    "Logs and events": ("logs", "trace", "events"),
    "Run services": ("up", "service", "web", "services", "health", "cleanup", "backup", "restore"),
    "This installation": ("doctor", "update", "config", "auth", "notify", "demo", "version"),
}


class Sections(TyperGroup):
    """A command that is not in SECTIONS is listed last."""

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
