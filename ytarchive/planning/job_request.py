"""The request for a job that a command line makes, validated before anything starts."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.common.domain.jobs import Job
from services.common.domain.videos import Target, TargetKind
from services.common.errors import InvalidRequest
from services.common.events import JobCreated
from services.common.job_validation import accept
from services.common.models import JobOptions, JobType
from services.common.settings.load import Config
from services.common.targets import ParsedTargets
from services.common.validation import decode_utf8, problems_of

MAX_TARGETS = 20_000


@dataclass(frozen=True)
class JobRequest:
    """`texts` are the targets as they were given, `targets` the parsed ones, grouped. `root` is the archive root:
    base_path, or the absolute `--output-dir`, which then is `extra_root` too."""

    texts: tuple[str, ...]
    parsed: ParsedTargets
    targets: tuple[Target, ...]
    type: JobType
    options: JobOptions
    root: Path
    extra_root: Path | None

    def event(self, job_id: str) -> JobCreated:
        return JobCreated(job_id=job_id, type=self.type, targets=self.texts, options=self.options)

    def matches(self, job: Job) -> bool:
        """Return whether this request would create a job like that one: the same targets (in any spelling), type,
        options and archive root."""
        return (
            job.type is self.type
            and job.root == str(self.root)
            and _comparable(job.options) == _comparable(self.options)
            and job.targets_digest == self.parsed.digest()
        )


def make_request(
    texts: Sequence[str],
    config: Config,
    *,
    quality: str | None = None,
    output_dir: str | Path | None = None,
    captions: str | None = None,
    no_captions: bool = False,
    metadata_only: bool = False,
    force: bool = False,
) -> JobRequest:
    """Raise InvalidRequest, which names every rejected target, or the invalid option."""
    parsed = _parse(texts)
    if captions is not None and no_captions:
        raise InvalidRequest("--captions and --no-captions exclude each other.")
    if output_dir == "":
        raise InvalidRequest("--output-dir is empty: name a folder, or leave the option out for the default.")
    extra_root = Path(output_dir).expanduser().resolve() if output_dir is not None else None
    fields: dict[str, Any] = {"include_captions": not no_captions, "skip_existing": not force}
    if quality is not None:
        fields["quality"] = quality
    if captions is not None:
        fields["caption_languages"] = [part.strip() for part in captions.split(",") if part.strip()]
    if extra_root is not None:
        fields["output_dir"] = str(extra_root)
    try:
        options = JobOptions(**fields)
    except ValidationError as error:
        first = problems_of(error)[0]
        raise InvalidRequest(f"{first.field}: {first.text}") from error
    targets, _root = accept(parsed, options, _with_root(config, extra_root))
    return JobRequest(
        texts=tuple(texts),
        parsed=parsed,
        targets=tuple(targets),
        type=_type(targets, metadata_only=metadata_only),
        options=options,
        root=extra_root or config.storage.base_path,
        extra_root=extra_root,
    )


def read_batch(file: str) -> list[str]:
    """Read the targets of a file, one per line; `-` is stdin. Blank lines and comments (# or ;) are skipped."""
    try:
        text = decode_utf8(sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--batch {file}: cannot be read: {error}") from error
    return batch_targets(text.splitlines())


def batch_targets(lines: Iterable[str]) -> list[str]:
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(("#", ";"))]


def _parse(texts: Sequence[str]) -> ParsedTargets:
    if not texts:
        raise InvalidRequest("No targets: give at least one video, playlist or channel, or --batch FILE.")
    if len(texts) > MAX_TARGETS:
        raise InvalidRequest(f"{len(texts)} targets are too many: the maximum is {MAX_TARGETS}.")
    parsed = ParsedTargets.parse(texts)
    if parsed.refused:
        messages = [message for _text, message in parsed.refused[:100]]
        raise InvalidRequest("\n".join(messages), refused=messages)
    return parsed


def _with_root(config: Config, extra_root: Path | None) -> Config:
    if extra_root is None:
        return config
    storage = config.storage.model_copy(update={"roots": (*config.storage.roots, extra_root)})
    return config.model_copy(update={"storage": storage})


def _comparable(options: JobOptions) -> dict[str, Any]:
    return options.model_dump(exclude={"api_key", "output_dir"})


def _type(targets: Sequence[Target], *, metadata_only: bool) -> JobType:
    if metadata_only:
        return JobType.METADATA_ONLY
    only_videos = all(target.kind is TargetKind.VIDEOS for target in targets)
    return JobType.VIDEO_DOWNLOAD if only_videos else JobType.PLAYLIST_DOWNLOAD
