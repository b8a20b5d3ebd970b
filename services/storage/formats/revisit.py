"""Why an archived video might get better, and when to look at it again. Pure (docs/decisions/0026)."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from services.common.archive_coverage import lines_of
from services.common.domain.archive import FileFact, FileRole, Revisit, RevisitReason
from services.common.domain.clock import is_ahead
from services.common.domain.lengths import is_shorter
from services.common.domain.videos import Wanted
from services.common.events import DownloadCompleted

YOUNG = timedelta(days=30)  # since the upload: higher resolutions and captions may still come
STREAM_PROCESSED_AFTER = timedelta(days=1)
MOST_LINES = 2160  # of `best`: more is not waited for
_ABOUT_CAPTIONS = frozenset({RevisitReason.CAPTIONS_ABSENT, RevisitReason.CAPTIONS_REFUSED})


def next_look(revisit: Revisit | None, after: Sequence[timedelta], now: datetime) -> datetime | None:
    """Return the time of the next look; None when there is no reason, or when it is given up.

    `after`: delays since the reasons were found; looks that were missed meanwhile are not made up for. Only zero: a
    look is always due.
    """
    if revisit is None or not revisit.reasons or not after:
        return None
    if any(is_ahead(at, now) for at in (revisit.since, revisit.looked_at) if at is not None):
        return now  # a wrong clock wrote it
    if not any(after):
        return revisit.looked_at or revisit.since
    times = (revisit.since + delay for delay in sorted(after))
    return next((at for at in times if revisit.looked_at is None or at > revisit.looked_at), None)


def after_delivery(
    earlier: Revisit | None,
    event: DownloadCompleted,
    now: datetime,
    *,
    asked_qualities: Sequence[str],
    asked_captions: Sequence[str],
    held_captions: Collection[str],
    absent: Collection[str],
) -> Revisit:
    """Return what is known after the take-in of a delivery. `asked_…`: by all requests of this video, this one
    included; `absent`: what upstream lacks, as in the manifest."""
    since = now if earlier is None else earlier.since
    left_out = _left_out(earlier, event, held_captions)
    young = _is_young(event.metadata.upload_date, since)
    captions = tuple(
        language
        for language in asked_captions
        if language in left_out or (young and f"captions/{language}" in absent and language not in held_captions)
    )
    facts = _media_facts(earlier, event, now)
    media = _media_reasons(earlier, event, facts, now, asked_qualities=asked_qualities, young=young)
    reasons = (*media, *_caption_reasons(captions, left_out))
    looked = event.wanted.look is not None
    found = any(fact.role is not FileRole.INFO for fact in event.files)
    new_reason = bool(set(reasons) - set(earlier.reasons if earlier is not None else ()))
    restarts = (found if looked else new_reason) or _brings(event.files, FileRole.VIDEO, FileRole.AUDIO)
    return Revisit(
        reasons=reasons,
        **facts,
        captions=captions,
        left_out=tuple(left_out),
        since=now if restarts or is_ahead(since, now) else since,
        looked_at=now if looked else earlier.looked_at if earlier is not None else None,
    )


def after_failed_look(revisit: Revisit, now: datetime) -> Revisit:
    """Return what is known after a look that YouTube refused: it counts as one that found nothing better."""
    since = now if is_ahead(revisit.since, now) else revisit.since
    return revisit.model_copy(update={"looked_at": now, "since": since})


def _lengths_differ(one: float | None, other: float | None) -> bool:
    """Return whether two lengths are those of different recordings; False when one is not known."""
    return bool(one and other and is_shorter(min(one, other), max(one, other)))


def _media_facts(earlier: Revisit | None, event: DownloadCompleted, now: datetime) -> dict[str, Any]:
    """Return what is known of the media that are held after the delivery, and of the best offer."""
    told = event.provenance
    facts: dict[str, Any] = {
        "resolution": earlier.resolution if earlier is not None else None,
        "offered": earlier.offered if earlier is not None else None,
        "final": earlier is not None and earlier.final,
        "duration_seconds": earlier.duration_seconds if earlier is not None else None,
        "listed_seconds": earlier.listed_seconds if earlier is not None else None,
    }
    if event.wanted.media:
        facts["offered"] = told.offered
        facts["final"] = not told.missing_formats and not _is_young(event.metadata.upload_date, now)
        facts["listed_seconds"] = event.wanted.listed_seconds or facts["listed_seconds"]
    if _brings(event.files, FileRole.VIDEO):
        facts["resolution"] = told.resolution
    if _brings(event.files, FileRole.VIDEO, FileRole.AUDIO):
        facts["duration_seconds"] = told.duration_seconds
    return facts


def _media_reasons(
    earlier: Revisit | None,
    event: DownloadCompleted,
    facts: dict[str, Any],
    now: datetime,
    *,
    asked_qualities: Sequence[str],
    young: bool,
) -> tuple[RevisitReason, ...]:
    if not event.wanted.media:
        return tuple(one for one in earlier.reasons if one not in _ABOUT_CAPTIONS) if earlier is not None else ()
    told, low = event.provenance, _is_low(facts["resolution"], asked_qualities, event.wanted)
    ended = told.stream_ended_at
    found = {
        RevisitReason.LOWER: low and young,
        RevisitReason.FORMATS_MISSING: low and bool(told.missing_formats),
        RevisitReason.STREAM_ENDED: ended is not None and now - ended < STREAM_PROCESSED_AFTER,
        RevisitReason.LENGTH: _lengths_differ(facts["listed_seconds"], facts["duration_seconds"]),
    }
    return tuple(reason for reason, holds in found.items() if holds)


def _caption_reasons(captions: Sequence[str], left_out: Collection[str]) -> Iterator[RevisitReason]:
    if any(language not in left_out for language in captions):
        yield RevisitReason.CAPTIONS_ABSENT
    if left_out:
        yield RevisitReason.CAPTIONS_REFUSED


def _is_low(resolution: float | None, asked: Sequence[str], wanted: Wanted) -> bool:
    """Return whether the picture has fewer lines than any request for it."""
    lines = [min(one, MOST_LINES) for quality in (*asked, wanted.quality) if (one := lines_of(quality)) is not None]
    return resolution is not None and bool(lines) and resolution < max(lines)


def _is_young(upload_date: str | None, at: datetime) -> bool:
    """Return whether a video was uploaded (YYYY-MM-DD) shortly before."""
    try:
        uploaded = date.fromisoformat(upload_date or "")
    except ValueError:
        return False
    return at.date() - uploaded <= YOUNG


def _left_out(earlier: Revisit | None, event: DownloadCompleted, held_captions: Collection[str]) -> list[str]:
    """Return the captions that upstream has and that could not be had: those that were requested, and neither came nor
    are absent."""
    before = earlier.left_out if earlier is not None else ()
    refused = [lang for lang in event.wanted.captions if f"captions/{lang}" not in event.absent]
    still = (*(lang for lang in before if lang not in event.wanted.captions), *refused)
    return [lang for lang in dict.fromkeys(still) if lang not in held_captions]


def _brings(files: Sequence[FileFact], *roles: FileRole) -> bool:
    return any(fact.role in roles for fact in files)
