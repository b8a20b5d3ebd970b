"""Everything that a child is started with, from the configuration and from this machine."""

import os
from dataclasses import dataclass, field
from typing import Any

from services.common.settings.load import Config
from services.common.youtube import options, tools


@dataclass(frozen=True)
class ChildSettings:
    """YoutubeDL options (plain JSON) and an environment; both may hold secrets and stay out of the log."""

    options: dict[str, Any] = field(repr=False)
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, config: Config) -> "ChildSettings":
        """Raises ConfigError."""
        return cls(
            options.base_options(
                config.youtube, socket_timeout=config.download.socket_timeout, ffmpeg=tools.find_ffmpeg()
            ),
            options.child_environment(
                config.youtube, os.environ, scripts=tools.scripts_directory(), code=tools.code_directory()
            ),
        )
