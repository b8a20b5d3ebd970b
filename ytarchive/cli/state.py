"""What the global options said, handed to the commands as `ctx.obj`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.common.settings.load import Config


@dataclass
class Invocation:
    config_file: Path | None = None
    verbose: bool = False
    debug: bool = False

    def config(self) -> "Config":
        """Raises ConfigError."""
        from services.common.settings.load import load_config

        return load_config(self.config_file)
