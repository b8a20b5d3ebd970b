"""Validate the targets and options of a job before it is accepted. It reads the file system: use a thread."""

import re
from pathlib import Path

from services.common.domain.videos import Target
from services.common.errors import InvalidRequest
from services.common.models import JobOptions
from services.common.settings.load import Config
from services.common.targets import ParsedTargets
from services.common.validation import PRIVATE_LISTS, validate_storage_path
from services.common.youtube.quality import valid_quality

_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}([-_][a-zA-Z0-9]{1,16})*~?")


def accept(targets: ParsedTargets, options: JobOptions, config: Config) -> tuple[list[Target], Path]:
    """Return the targets, grouped, and the archive root of a job. Raise InvalidRequest (E007)."""
    grouped = targets.grouped()
    for target in grouped:
        if target.id in PRIVATE_LISTS and not config.youtube.has_cookies:
            raise InvalidRequest(_needs_cookies(target.id), target=target.id)
    if not valid_quality(options.quality):
        raise InvalidRequest(
            f"quality {options.quality!r} is not understood: use best, 2160p … 144p, audio, or a yt-dlp selector",
            quality=options.quality,
        )
    for language in options.caption_languages:
        if not _LANGUAGE.fullmatch(language):
            raise InvalidRequest(
                f"caption language {language!r} is not a language code like en or pt-BR, or one with ~ (de~: a machine"
                " translation too)"
            )
    return grouped, _root(options.chosen_output_dir, config)


def _needs_cookies(list_id: str) -> str:
    return (
        f"{list_id} ({PRIVATE_LISTS[list_id]}) is shown to its owner only: set [youtube] cookies_file to the cookies of"
        " your account (youtube.com, in the Netscape format, as browser extensions export them), or"
        " cookies_from_browser, for example `firefox`. Or copy its videos to a playlist of your own (unlisted will do)"
        " and give that one's URL"
    )


def _root(output_dir: str | None, config: Config) -> Path:
    """Return the archive root of a job: base_path, or the chosen folder if it is a configured root or below one."""
    if output_dir is None:
        return config.storage.base_path
    if not validate_storage_path(output_dir):
        raise InvalidRequest(
            f"output_dir {output_dir!r} must be absolute or start with ~/, hold no .., and be writable",
            output_dir=output_dir,
        )
    chosen = Path(output_dir).expanduser().resolve()
    for root in config.storage.all_roots:
        if chosen.is_relative_to(root.resolve()):
            return root / chosen.relative_to(root.resolve())  # spelled as in the configuration, symlinks included
    known = ", ".join(str(root) for root in config.storage.all_roots)
    raise InvalidRequest(
        f"output_dir {output_dir!r} is not below an archive root ({known}): add it to [storage] roots",
        output_dir=output_dir,
    )
