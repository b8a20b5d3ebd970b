"""Compares what is archived of a video with what a job requests. Pure."""

import re

from services.common.models import Held, Wanted


def missing(wanted: Wanted, held: Held) -> Wanted | None:
    """Return the part of `wanted` that is not archived and not known to be absent upstream; None when nothing is
    missing."""
    media = wanted.media and not any(quality_covers(have, wanted.quality) for have in held.qualities)
    thumbnail = wanted.thumbnail and not held.thumbnail and "thumbnail" not in held.absent
    captions = tuple(
        lang for lang in wanted.captions if lang not in held.captions and f"captions/{lang}" not in held.absent
    )
    metadata = wanted.metadata and (media or not held.metadata)  # comes with the media at no cost
    info = wanted.metadata and not held.info
    if not (media or thumbnail or captions or metadata or info):
        return None
    return Wanted(
        media=media, quality=wanted.quality, thumbnail=thumbnail, captions=captions, metadata=metadata, info=info
    )


def only_metadata(wanted: Wanted | None) -> bool:
    """Return whether only metadata is requested. Such a fetch has no files, and ends with `metadata.archived`."""
    files = wanted is not None and (wanted.media or wanted.thumbnail or wanted.captions or wanted.info)
    return wanted is not None and wanted.metadata and not files


def union(first: Wanted, second: Wanted) -> Wanted | None:
    """Return one request that serves both, or None where no single file can (audio and video, two raw selectors)."""
    if not first.media or not second.media:
        quality = first.quality if first.media else second.quality
    elif quality_covers(first.quality, second.quality):
        quality = first.quality
    elif quality_covers(second.quality, first.quality):
        quality = second.quality
    else:
        return None
    return Wanted(
        media=first.media or second.media,
        quality=quality,
        thumbnail=first.thumbnail or second.thumbnail,
        captions=tuple(dict.fromkeys(first.captions + second.captions)),
        metadata=first.metadata or second.metadata,
        info=first.info or second.info,
        force=first.force or second.force,
    )


def quality_covers(have: str, want: str) -> bool:
    """Return whether media of quality `have` satisfies `want`. `best` covers every height; a raw selector covers only
    itself."""
    if have == want:
        return True
    have_rank, want_rank = _height(have), _height(want)
    return have_rank is not None and want_rank is not None and have_rank >= want_rank


def _height(quality: str) -> float | None:
    if quality == "best":
        return float("inf")
    match = re.fullmatch(r"(\d{3,4})p", quality)
    return float(match[1]) if match else None
