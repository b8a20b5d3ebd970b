"""The settings of a child, from the configuration and this machine."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common.errors import ConfigError
from services.common.settings.load import Config
from services.common.youtube import options, tools
from services.common.youtube.cookies import Cookies, CookiesUnreadable
from services.common.youtube.ytdlp.installations import Installations


@dataclass(frozen=True)
class ChildSettings:
    """YoutubeDL options (plain JSON) and environment. Both may contain secrets and must not be logged.

    `memory_limit`: bytes of each process. `patience`: seconds without a message until an operation counts as hung.
    `installations`: to import the yt-dlp in use; None: the one that the environment leads to.
    """

    options: dict[str, Any] = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    memory_limit: int = 2 * 1024**3
    patience: float = 3600.0
    installations: Installations | None = None

    @classmethod
    def of(cls, config: Config) -> "ChildSettings":
        """Return the settings for a configuration. Raise ConfigError, also for cookies or an ffmpeg of no use."""
        cookies, copy = config.youtube.cookies_file, config.storage.run_dir / "cookies.txt"
        if cookies is not None:
            try:
                Cookies(cookies, copy).check()
            except CookiesUnreadable as error:
                raise ConfigError(str(error)) from error
        ffmpeg = tools.find_ffmpeg(config.download.ffmpeg)
        if config.download.ffmpeg is not None and shutil.which(str(ffmpeg)) is None:
            raise ConfigError(
                f"[download] ffmpeg: {ffmpeg} is not a program that can be run: correct the path, or remove the key to"
                " use the ffmpeg that is installed with ytarchive."
            )
        own = {"cookies_copy": str(copy)} if cookies else {}
        base = options.base_options(
            config.youtube,
            socket_timeout=config.download.socket_timeout,
            ffmpeg=ffmpeg,
        )
        return cls(
            base | own,
            options.child_environment(
                config.youtube, os.environ, scripts=tools.scripts_directory(), code=tools.code_directory()
            ),
            config.download.memory_limit,
            config.download.timeout,
            Installations.of(config.storage),
        )

    @property
    def ffmpeg(self) -> str:
        """Return the path of ffmpeg; empty without one."""
        return str(self.options.get("ffmpeg_location", ""))

    def ytdlp_folder(self) -> Path | None:
        """Return the folder of the yt-dlp in use; None for the installed one. Blocks."""
        return self.installations.in_use().folder if self.installations is not None else None

    def environment_with(self, ytdlp: Path | None) -> dict[str, str]:
        """Return the environment of a child that imports yt-dlp from a folder; None: the installed one."""
        if ytdlp is None:
            return self.environment
        return self.environment | {"PYTHONPATH": f"{ytdlp}:{self.environment['PYTHONPATH']}"}
