"""The manifest `{video_id}_metadata.json`, and how a take-in merges into it. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from services.common.domain.archive import FileFact, FileRole, Held, Provenance, Revisit
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.storage.formats.layout import archive_fact, is_listed_name
from services.storage.formats.revisit import after_delivery, after_failed_look

MEDIA = frozenset({FileRole.VIDEO, FileRole.AUDIO})
NOTHING_BETTER = "nothing better"
_MOST_LOOKS, _LONGEST = 100, 500  # lines about looks that are kept, and characters of an outcome


def _expect_listed_name(name: str) -> str:
    if not is_listed_name(name):
        raise ValueError(f"{name!r} is not the name of a file in the folder of a video")
    return name


ListedName = Annotated[str, AfterValidator(_expect_listed_name)]


class _Persistent(BaseModel):
    """A part of a file that is kept for decades. Fields that a newer version has written are preserved."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ManifestEntry(_Persistent):
    """One file of the archive. `asked`: the qualities whose requests resulted in exactly this file."""

    role: FileRole
    size: int
    sha256: str
    language: str | None = None
    asked: tuple[str, ...] = ()
    dispatch_id: str
    archived_at: AwareDatetime


class Requested(_Persistent):
    """Everything that was ever requested of this video."""

    qualities: tuple[str, ...] = ()
    thumbnail: bool = False
    captions: tuple[str, ...] = ()
    metadata: bool = False

    def also(self, wanted: Wanted) -> Self:
        """Return the union with `wanted`."""
        return self.model_copy(
            update={
                "qualities": _union(self.qualities, (wanted.quality,) if wanted.media else ()),
                "thumbnail": self.thumbnail or wanted.thumbnail,
                "captions": _union(self.captions, wanted.captions),
                "metadata": self.metadata or wanted.metadata,
            }
        )


class TakeIn(_Persistent):
    """One delivery. `files`: the names that it brought."""

    dispatch_id: str
    archived_at: AwareDatetime
    files: tuple[ListedName, ...]
    provenance: Provenance


class PastLook(_Persistent):
    """Looks at the video, one after the other with the same outcome: `nothing better`, or why it could not be had.
    `first` and `last` are the times of the first and the last one, `dispatch_id` is that of the last one."""

    first: AwareDatetime
    last: AwareDatetime
    number: int = 1
    outcome: str
    dispatch_id: str = ""


class Holding(_Persistent):
    """The part of a manifest that lists what is held. The catalogue stores it. `revisit`: None where an earlier version
    archived the media."""

    video_id: str
    fixity: dict[str, ManifestEntry]
    asked: Requested = Requested()
    absent: tuple[str, ...] = ()
    revisit: Revisit | None = None

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.fixity.values())

    @field_validator("revisit", mode="wrap")
    @classmethod
    def _ignore_unreadable(cls, revisit: Any, read: ValidatorFunctionWrapHandler) -> Revisit | None:
        """It only says when to look again: one that cannot be read, of a newer version perhaps, must not make the video
        unknown."""
        try:
            return cast("Revisit | None", read(revisit))
        except ValidationError:
            return None

    @field_validator("fixity")
    @classmethod
    def _check_names(cls, fixity: dict[str, ManifestEntry]) -> dict[str, ManifestEntry]:
        """Leave out what is outside the folder: rows of the catalogue from before manifests were checked."""
        return {name: entry for name, entry in fixity.items() if is_listed_name(name)}


class Manifest(Holding):
    """`{video_id}_metadata.json`: the files that the archive holds of a video, their origin and their checksums.

    `fixity` maps names relative to the video's folder to sizes and checksums; `provenance` is that of the media;
    `absent` lists what upstream did not have at the last request; `take_ins` lists all deliveries, oldest first;
    `looks` those for something better that brought nothing. A name outside of the folder makes the manifest invalid.
    """

    version: int = 1
    metadata: VideoMetadata
    provenance: Provenance
    archived_at: AwareDatetime
    updated_at: AwareDatetime
    take_ins: tuple[TakeIn, ...] = Field(default=())
    looks: tuple[PastLook, ...] = Field(default=())

    @field_validator("fixity")
    @classmethod
    def _check_names(cls, fixity: dict[str, ManifestEntry]) -> dict[str, ManifestEntry]:
        return {_expect_listed_name(name): entry for name, entry in fixity.items()}

    @property
    def files(self) -> tuple[FileFact, ...]:
        return tuple(fact_of(name, entry) for name, entry in self.fixity.items())


def fact_of(name: str, entry: ManifestEntry) -> FileFact:
    return FileFact(name=name, role=entry.role, size=entry.size, sha256=entry.sha256, language=entry.language)


def keep_better(held: Manifest, event: DownloadCompleted, present: Iterable[str]) -> tuple[Manifest, DownloadCompleted]:
    """Prevent a delivery from replacing a video of greater height, unless `force` is set: an old job that is retried
    may request less, and what YouTube offers changes.

    Return the manifest, in which the held video counts as the requested quality, and the delivery without its video and
    without yt-dlp's info file of that. `present`: the names of the files that exist.
    """
    present = tuple(present)
    heights = {name: height for name in present if (height := _height(held, name)) is not None}
    name = max(heights, key=heights.__getitem__, default="")
    new = event.provenance.height
    brings_video = any(fact.role is FileRole.VIDEO for fact in event.files)
    if event.wanted.force or not brings_video or new is None or heights.get(name, 0) <= new:
        return held, event
    left_out = {FileRole.VIDEO}
    if not event.wanted.info and any(held.fixity[one].role is FileRole.INFO for one in present):
        left_out.add(FileRole.INFO)
    others = tuple(fact for fact in event.files if fact.role not in left_out)
    entry = held.fixity[name]
    entry = entry.model_copy(update={"asked": _union(entry.asked, (event.wanted.quality,))})
    kept = held.model_copy(update={"fixity": {**held.fixity, name: entry}})
    return kept, event.model_copy(update={"files": others})


def kept_better(manifest: Manifest, event: DownloadCompleted) -> bool:
    """Return whether the take-in of this delivery left its video out."""
    brought = next((one.files for one in reversed(manifest.take_ins) if one.dispatch_id == event.dispatch_id), ())
    names = {archive_fact(event.video_id, fact).name for fact in event.files if fact.role is FileRole.VIDEO}
    return bool(names) and names.isdisjoint(brought)


def _height(manifest: Manifest, name: str) -> int | None:
    """Return the height of a video file, from the take-in that brought it."""
    entry = manifest.fixity[name]
    brought = (one for one in manifest.take_ins if one.dispatch_id == entry.dispatch_id)
    return next((one.provenance.height for one in brought), None) if entry.role is FileRole.VIDEO else None


def merge(held: Manifest | None, event: DownloadCompleted, *, now: datetime, trace_id: str) -> Manifest:
    """Return the manifest after the take-in of `event`: its files replace those of the same name, all others stay."""
    facts = [archive_fact(event.video_id, fact) for fact in event.files]
    earlier = held.fixity if held else {}
    fixity = {**earlier, **{fact.name: _entry(fact, earlier.get(fact.name), event, now) for fact in facts}}
    provenance = event.provenance.model_copy(update={"trace_id": event.provenance.trace_id or trace_id})
    brings_media = any(fact.role in MEDIA for fact in facts)
    asked = (held.asked if held else Requested()).also(event.wanted)
    absent = _absent(held.absent if held else (), event, fixity.values())
    take_in = TakeIn(
        dispatch_id=event.dispatch_id,
        archived_at=now,
        files=tuple(fact.name for fact in facts),
        provenance=provenance,
    )
    changes: dict[str, Any] = {
        "metadata": event.metadata,
        "provenance": provenance if brings_media or held is None else held.provenance,
        "fixity": fixity,
        "asked": asked,
        "absent": absent,
        "revisit": _revisit(held, event, now, asked, absent, fixity.values()),
        "updated_at": now,
        "take_ins": (*(held.take_ins if held else ()), take_in),
    }
    if held is not None and event.wanted.look is not None and not facts:
        look = PastLook(first=now, last=now, outcome=NOTHING_BETTER, dispatch_id=event.dispatch_id)
        changes |= {"take_ins": held.take_ins, "looks": _with_look(held, look)}
    if held is not None:
        return held.model_copy(update=changes)
    return Manifest(video_id=event.video_id, archived_at=now, **changes)


def _revisit(
    held: Manifest | None,
    event: DownloadCompleted,
    now: datetime,
    asked: Requested,
    absent: Sequence[str],
    entries: Iterable[ManifestEntry],
) -> Revisit:
    entries = list(entries)
    return after_delivery(
        held.revisit if held else None,
        event,
        now,
        asked_qualities=_union(*(entry.asked for entry in entries if entry.role is FileRole.VIDEO)),
        asked_captions=asked.captions,
        held_captions={entry.language for entry in entries if entry.role is FileRole.CAPTION and entry.language},
        absent=absent,
    )


def with_failed_look(held: Manifest, why: str, *, now: datetime, key: str) -> Manifest:
    """Return the manifest after a look that YouTube refused; `key` identifies it. Again for the same one: unchanged."""
    if held.revisit is None or any(look.dispatch_id == key for look in held.looks):
        return held
    look = PastLook(first=now, last=now, outcome=why[:_LONGEST], dispatch_id=key)
    return held.model_copy(
        update={"revisit": after_failed_look(held.revisit, now), "looks": _with_look(held, look), "updated_at": now}
    )


def _with_look(held: Manifest, look: PastLook) -> tuple[PastLook, ...]:
    """Append a look; one with the outcome of the last one, and no delivery between them, becomes a part of that."""
    last = held.looks[-1] if held.looks else None
    same = last is not None and last.outcome == look.outcome
    if last is None or not same or any(taken.archived_at > last.last for taken in held.take_ins):
        return (*held.looks, look)[-_MOST_LOOKS:]
    longer = last.model_copy(update={"last": look.last, "number": last.number + 1, "dispatch_id": look.dispatch_id})
    return (*held.looks[:-1], longer)


def _entry(fact: FileFact, earlier: ManifestEntry | None, event: DownloadCompleted, now: datetime) -> ManifestEntry:
    same = earlier is not None and earlier.sha256 == fact.sha256
    asked = (event.wanted.quality,) if fact.role in MEDIA else ()
    if earlier is not None and same:
        return earlier.model_copy(update={"asked": _union(earlier.asked, asked)})
    return ManifestEntry(
        role=fact.role,
        size=fact.size,
        sha256=fact.sha256,
        language=fact.language,
        asked=asked,
        dispatch_id=event.dispatch_id,
        archived_at=now,
    )


def _absent(earlier: Sequence[str], event: DownloadCompleted, entries: Iterable[ManifestEntry]) -> tuple[str, ...]:
    """Return what upstream lacks: by this delivery for what it requested, by the previous ones for the rest, without
    what is held."""
    asked = {f"captions/{language}" for language in event.wanted.captions}
    if event.wanted.thumbnail:
        asked.add("thumbnail")
    present = {_item_name(entry) for entry in entries}
    kept = [thing for thing in earlier if thing not in asked]
    return tuple(thing for thing in _union(kept, event.absent) if thing not in present)


def _item_name(entry: ManifestEntry) -> str:
    return f"captions/{entry.language}" if entry.role is FileRole.CAPTION else str(entry.role)


def held_of(holding: Holding, *, present: Iterable[str], metadata: bool) -> Held:
    """Return what jobs decide by. `present`: the names of the files that exist; `metadata`: whether metadata/videos has
    a file."""
    entries = [holding.fixity[name] for name in present if name in holding.fixity]
    return Held(
        video_id=holding.video_id,
        qualities=_union(*(entry.asked for entry in entries)),
        thumbnail=any(entry.role is FileRole.THUMBNAIL for entry in entries),
        captions=tuple(entry.language for entry in entries if entry.role is FileRole.CAPTION and entry.language),
        metadata=metadata,
        absent=holding.absent,
        info=len(_infos(entries)) == len(_infos(holding.fixity.values())),
        bytes=sum(entry.size for entry in entries),
        revisit=_held_revisit(holding, entries),
    )


def _held_revisit(holding: Holding, present: Iterable[ManifestEntry]) -> Revisit | None:
    """Return it without the picture of a file that does not exist."""
    if holding.revisit is None or any(entry.role is FileRole.VIDEO for entry in present):
        return holding.revisit
    return holding.revisit.model_copy(update={"resolution": None})


def _infos(entries: Iterable[ManifestEntry]) -> list[ManifestEntry]:
    return [entry for entry in entries if entry.role is FileRole.INFO]


def _union(*lists: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for names in lists for text in names))
