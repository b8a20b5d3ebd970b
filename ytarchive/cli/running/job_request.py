"""What a `download` command line asks for, checked here before anything starts."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.common.errors import InvalidRequest
from services.common.events import JobCreated
from services.common.job_validation import accept
from services.common.models import Job, JobOptions, JobType, TargetKind
from services.common.settings.load import Config
from services.common.targets import ParsedTargets, digest, group_targets, parse_target
from ytarchive.cli.running.job_state import Picture

MOST_TARGETS = 20_000


@dataclass(frozen=True)
class Order:
    """`root` is where the files go: base_path, or `--output-dir` made absolute, which then is `extra_root` too."""

    targets: tuple[str, ...]
    type: JobType
    options: JobOptions
    root: Path
    extra_root: Path | None

    def known(self, open_jobs: Sequence[Job]) -> Picture | None:
        """The first open job that the same command made."""
        mine = next((job for job in open_jobs if same_command(job, self)), None)
        return Picture(mine.job_id, mine.trace_id) if mine else None

    def event(self, job_id: str, *, again: bool = False) -> JobCreated:
        """One whose job is known is only un-parked by it."""
        return JobCreated(job_id=job_id, type=self.type, targets=self.targets, options=self.options)


def place_order(
    targets: Sequence[str],
    config: Config,
    *,
    quality: str | None = None,
    output_dir: Path | None = None,
    captions: str | None = None,
    no_captions: bool = False,
    metadata_only: bool = False,
    force: bool = False,
) -> Order:
    """Raises InvalidRequest that names every target that was refused, or the option that cannot be."""
    check_targets(targets)
    if captions is not None and no_captions:
        raise InvalidRequest("--captions and --no-captions exclude each other: give one of them.")
    extra_root = output_dir.expanduser().resolve() if output_dir else None
    wanted: dict[str, Any] = {"include_captions": not no_captions, "skip_existing": not force}
    if quality is not None:
        wanted["quality"] = quality
    if captions is not None:
        wanted["caption_languages"] = [part.strip() for part in captions.split(",") if part.strip()]
    if extra_root is not None:
        wanted["output_dir"] = str(extra_root)
    try:
        options = JobOptions(**wanted)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(f"{first['loc'][0]}: {first['msg']}") from error
    order = Order(
        targets=tuple(targets),
        type=_type(targets, metadata_only=metadata_only),
        options=options,
        root=extra_root or config.storage.base_path,
        extra_root=extra_root,
    )
    _examine(order, config)
    return order


def check_targets(targets: Sequence[str]) -> None:
    if not targets:
        raise InvalidRequest("Nothing to archive: name at least one video, playlist or channel, or --batch FILE.")
    if len(targets) > MOST_TARGETS:
        raise InvalidRequest(f"{len(targets)} targets are too many at once: {MOST_TARGETS} is the most.")
    try:
        group_targets(targets)
    except InvalidRequest as error:
        refused = error.details.get("refused", [error.message])
        raise InvalidRequest("\n".join(refused), refused=refused) from error


def read_batch(file: str) -> list[str]:
    """The targets of a file, one a line; `-` is stdin; blank lines and lines that begin with # or ; are skipped."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--batch {file}: cannot be read: {error}") from error
    return batch_targets(text.splitlines())


def batch_targets(lines: Iterable[str]) -> list[str]:
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(("#", ";"))]


def same_command(job: Job, order: Order) -> bool:
    """Would this order make a job like that one? The same targets (however written), type, options and place."""
    return (
        job.type is order.type
        and job.root == str(order.root)
        and _compared(job.options) == _compared(order.options)
        and job.targets_digest == digest(order.targets)
    )


def _compared(options: JobOptions) -> dict[str, Any]:
    return options.model_dump(exclude={"api_key", "output_dir"})


def _type(targets: Sequence[str], *, metadata_only: bool) -> JobType:
    if metadata_only:
        return JobType.METADATA_ONLY
    only_videos = all(parse_target(target).kind is TargetKind.VIDEOS for target in targets)
    return JobType.VIDEO_DOWNLOAD if only_videos else JobType.PLAYLIST_DOWNLOAD


def _examine(order: Order, config: Config) -> None:
    """The same look that jobs will take."""
    roots = (*config.storage.roots, order.extra_root) if order.extra_root else config.storage.roots
    storage = config.storage.model_copy(update={"roots": roots})
    accept(ParsedTargets.parse(order.targets), order.options, config.model_copy(update={"storage": storage}))
