"""Decide whether what the archive holds of a video satisfies what a job wants. Pure.

Jobs decide by these rules what to download, and `ytarchive plan` predicts their decisions.
"""

import re
from datetime import datetime, timedelta

from services.common.domain.archive import Held, KnownGone
from services.common.domain.clock import is_ahead
from services.common.domain.jobs import Shortfall
from services.common.domain.videos import Entry, Look, Wanted


def decide(
    entry: Entry,
    held: Held,
    wanted: Wanted,
    now: datetime,
    recheck_after: timedelta,
    *,
    skip_existing: bool,
    retry_gone: bool,
    in_list: bool,
) -> Wanted | KnownGone | None:
    """Return what has to be downloaded of a listed video, or looked at again; None when the archive holds all of it;
    or why it is known to be gone.

    `retry_gone`: try known-gone videos too. `in_list`: the entry is from a playlist, not named by itself.
    """
    need = missing(wanted, held) if skip_existing else wanted
    gone = None if retry_gone else held.known_gone
    if need is not None and gone is not None and stays_gone(entry, gone, now, recheck_after, in_list=in_list):
        return gone
    if skip_existing and (need is None or not need.media) and (look := due_look(entry, held, wanted, now)) is not None:
        need = look if need is None else union(need, look)
    if need is None or not need.media:
        return need
    return need.model_copy(update={"listed_seconds": entry.duration_seconds, "rules": wanted.rules})


def due_look(entry: Entry, held: Held, wanted: Wanted, now: datetime) -> Wanted | None:
    """Return the request that asks whether there is something better than what is held, when that is due: everything
    that was ever asked for. None for a video that is gone, or that the listing shows as gone."""
    revisit = held.revisit
    if revisit is None or held.next_look is None or held.next_look > now or not wanted.media:
        return None
    if held.known_gone is not None or entry.marked is not None:
        return None
    captions = (*revisit.captions, *(lang for lang in wanted.captions if lang not in held.captions))
    return Wanted(
        quality=_quality_to_look_for(held, wanted.quality),
        thumbnail=False,
        captions=tuple(dict.fromkeys(captions)),
        metadata=wanted.metadata,
        look=Look(resolution=revisit.resolution, duration_seconds=revisit.duration_seconds),
    )


def _quality_to_look_for(held: Held, quality: str) -> str:
    """Return the highest quality that was asked for: that of the picture, if there is one."""
    heights = [have for have in held.qualities if lines_of(have) is not None]
    pictures = held.revisit is not None and held.revisit.resolution is not None
    if lines_of(quality) is None and heights and pictures:
        quality = heights[0]
    return highest(held.qualities, quality)


def stays_gone(entry: Entry, gone: KnownGone, now: datetime, recheck_after: timedelta, *, in_list: bool) -> bool:
    """Return whether a video that is known to be gone is not tried again yet. `recheck_after` zero: never by itself.

    A playlist marks deleted and private videos: one that was so and is not marked any more may be back.
    """
    reappeared = in_list and gone.reason in {"private", "deleted"} and entry.marked is None
    too_early = not recheck_after or (now - gone.at < recheck_after and not is_ahead(gone.at, now))
    return too_early and not reappeared


def missing(wanted: Wanted, held: Held) -> Wanted | None:
    """Return the part of `wanted` that is not archived and not known to be absent upstream; None when nothing is
    missing. Captions that YouTube refused are asked for by a look (`due_look`)."""
    media = wanted.media and not covers(held, wanted.quality)
    thumbnail = wanted.thumbnail and not held.thumbnail and "thumbnail" not in held.absent
    left_out = held.revisit.left_out if held.revisit is not None else ()
    captions = tuple(
        lang
        for lang in wanted.captions
        if lang not in held.captions and lang not in left_out and f"captions/{lang}" not in held.absent
    )
    metadata = wanted.metadata and (media or not held.metadata)  # comes with the media at no cost
    info = wanted.metadata and not held.info
    if not (media or thumbnail or captions or metadata or info):
        return None
    return Wanted(
        media=media, quality=wanted.quality, thumbnail=thumbnail, captions=captions, metadata=metadata, info=info
    )


def shortfall(wanted: Wanted, held: Held, height: int | None) -> Shortfall | None:
    """Return what was wanted of a saved video and is not there; None when nothing is. `height`: of its picture, None
    when it is not known."""
    extras = [f"captions/{lang}" for lang in wanted.captions if lang not in held.captions]
    if wanted.thumbnail and not held.thumbnail:
        extras.append("thumbnail")
    goal = lines_of(wanted.quality) if wanted.media else None
    lines = held.revisit.resolution if held.revisit is not None else height
    found = Shortfall(
        absent=tuple(name for name in extras if name in held.absent),
        unfetched=tuple(name for name in extras if name not in held.absent),
        height=lines if lines and goal and lines < goal < float("inf") else None,
    )
    return found.model_copy(update={"next_look": held.next_look}) if found != Shortfall() else None


def covers(held: Held, quality: str) -> bool:
    """Return whether the media that are held satisfy a quality: they were fetched as one that covers it, or their
    picture has as many lines, or as many as the best one that YouTube offers."""
    if any(quality_covers(have, quality) for have in held.qualities):
        return True
    lines, known = lines_of(quality), held.revisit
    if lines is None or known is None or known.resolution is None or not held.qualities:
        return False
    best = known.offered if known.offered is not None and known.final else lines
    return known.resolution >= min(lines, best)


def only_metadata(wanted: Wanted | None) -> bool:
    """Return whether only metadata is requested. Such a fetch has no files, and ends with `metadata.archived`."""
    files = wanted is not None and (wanted.media or wanted.thumbnail or wanted.captions or wanted.info)
    return wanted is not None and wanted.metadata and not files


def lacks_only_captions(need: Wanted) -> bool:
    return bool(need.captions) and not (need.media or need.thumbnail or need.metadata or need.info)


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
        look=_both_look(first, second),
        listed_seconds=first.listed_seconds if first.listed_seconds is not None else second.listed_seconds,
        rules=tuple(dict.fromkeys(first.rules + second.rules)) if first.rules and second.rules else (),
    )


def _both_look(first: Wanted, second: Wanted) -> Look | None:
    """Return the look of a union: none if one of them needs the media, or everything anew."""
    if any((one.media and one.look is None) or one.force for one in (first, second)):
        return None
    look = first.look or second.look
    return look and look.model_copy(update={"alone": first.only_looks and second.only_looks})


def quality_covers(have: str, want: str) -> bool:
    """Return whether media of quality `have` satisfy `want`.

    `best` covers every height, a height covers the lower ones, any other selector only itself.
    """
    if have == want:
        return True
    have_lines, want_lines = lines_of(have), lines_of(want)
    return have_lines is not None and want_lines is not None and have_lines >= want_lines


def highest(qualities: tuple[str, ...], quality: str) -> str:
    """Return the one of `qualities` that covers `quality` and the others that do, or `quality`."""
    for have in qualities:
        quality = have if quality_covers(have, quality) else quality
    return quality


def lines_of(quality: str) -> float | None:
    """Return the lines of the picture that a quality asks for; None for `audio` and raw selectors."""
    if quality == "best":
        return float("inf")
    match = re.fullmatch(r"(\d{3,4})p", quality)
    return float(match[1]) if match else None
