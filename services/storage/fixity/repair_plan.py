"""Which damage a download can repair, and with which job options. The options are those of the original requests, so
that intact files count as held and are not downloaded again. Pure."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from services.common.archive_coverage import lines_of
from services.common.models import JobOptions, JobType
from services.storage.fixity.rules import FileState, FindingKind, FixityFinding, VideoState, metadata_name
from services.storage.formats.layout import manifest_name
from services.storage.formats.manifest import MEDIA, Holding

_MAX_LANGUAGES = 100  # per job


class Repair(BaseModel):
    """Type and options of the job that downloads the missing files of one video."""

    model_config = ConfigDict(frozen=True)

    type: JobType
    options: JobOptions


def repairable(findings: Sequence[FixityFinding], video: VideoState) -> tuple[FixityFinding, ...]:
    """Return the damage that a download can repair. None when the manifest itself is not valid; nor files that are
    unreadable for another reason than a disk error, such as permissions."""
    own = {manifest_name(one.video_id) for one in findings}
    untrusted = any(one.name in own and (one.kind is not FindingKind.MISSING or video.others) for one in findings)
    return () if untrusted else tuple(one for one in findings if one.kind.damage and _is_broken(one, video))


def _is_broken(finding: FixityFinding, video: VideoState) -> bool:
    return finding.kind is not FindingKind.UNREADABLE or file_state(finding, video).broken


def file_state(finding: FixityFinding, video: VideoState) -> FileState:
    """Return the state of the file that a finding is about."""
    if finding.name == metadata_name(finding.video_id):
        return video.metadata
    return video.files.get(finding.name, FileState(None))


def plan_repairs(root: str, holding: Holding, findings: Iterable[FixityFinding]) -> tuple[Repair, ...]:
    """Return the jobs for these findings: one for each damaged media file, one for everything else."""
    damaged = {one.name for one in findings}
    names = damaged & set(holding.fixity)
    if not names and manifest_name(holding.video_id) not in damaged:
        return (Repair(type=JobType.METADATA_ONLY, options=JobOptions(output_dir=root)),) if damaged else ()
    media = [entry for name, entry in holding.fixity.items() if entry.role in MEDIA and name in names]
    media = media or [entry for entry in holding.fixity.values() if entry.role in MEDIA][:1]
    qualities = [highest_quality(entry.asked or holding.asked.qualities) for entry in media]
    captions = list(holding.asked.captions[:_MAX_LANGUAGES])
    caption_options = {"caption_languages": captions} if captions else {}
    return tuple(
        Repair(
            type=JobType.VIDEO_DOWNLOAD,
            options=JobOptions(
                output_dir=root,
                quality=quality,
                include_metadata=holding.asked.metadata,
                include_captions=bool(captions),
                **caption_options,
            ),
        )
        for quality in dict.fromkeys(qualities or [highest_quality(holding.asked.qualities)])
    )


def highest_quality(qualities: Sequence[str]) -> str:
    """Return the quality that covers most of `qualities`: `best`, else the greatest height, else the last one."""
    ranked = [(rank, quality) for quality in qualities if (rank := lines_of(quality)) is not None]
    if ranked:
        return max(ranked)[1]
    return qualities[-1] if qualities else JobOptions().quality
