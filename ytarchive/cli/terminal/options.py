"""Options that several commands share, the values of the global options, and the event loop of a command."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ytarchive.cli.terminal import completion

if TYPE_CHECKING:
    from services.common.settings.load import Config

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of results.")]
Offset = Annotated[int, typer.Option(min=0, help="Number of results to skip.")]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job id or a prefix of it.", autocompletion=completion.job_ids)
]


@dataclass
class Invocation:
    """The global options: `context.obj` of every command."""

    config_file: Path | None = None
    verbose: bool = False
    debug: bool = False

    def config(self) -> "Config":
        """Load the configuration; from then on log records go to stderr. Raises ConfigError."""
        from services.common.settings.load import load_config
        from ytarchive.cli.terminal.console import log_to_stderr

        config = load_config(self.config_file)
        log_to_stderr(config, "INFO" if self.verbose else "WARNING")
        return config


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, which takes long to import."""
    import asyncio

    return asyncio.run(work)
