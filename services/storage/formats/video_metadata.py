"""metadata/videos/{video_id}.json: the metadata of one video from each source, and their merged view. Pure."""

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.domain.clock import is_ahead
from services.common.domain.videos import VideoMetadata
from services.common.events import MetadataFetched


class SourceAnswer(BaseModel):
    """The last answer of one source."""

    model_config = ConfigDict(extra="allow", frozen=True)

    fetched_at: AwareDatetime
    trace_id: str = ""
    metadata: VideoMetadata


class TitleChange(BaseModel):
    """A source returned another title than before. A difference between two sources is not a change."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    source: str
    before: str
    title: str


class VideoFile(VideoMetadata):
    """The merged fields of VideoMetadata, the time of the newest answer, and the answer of each source."""

    model_config = ConfigDict(extra="allow")

    fetched_at: AwareDatetime
    sources: dict[str, SourceAnswer]
    retitled: list[TitleChange] = Field(default_factory=list)  # oldest first


def is_newer(known: SourceAnswer | None, event: MetadataFetched, now: datetime) -> bool:
    """Return whether `event` replaces the known answer of its source: one of the same time, or older, or of a time that
    has not come yet."""
    return known is None or known.fetched_at <= event.fetched_at or is_ahead(known.fetched_at, now)


def merge_sources(held: VideoFile | None, event: MetadataFetched, trace_id: str, now: datetime) -> VideoFile:
    """Return the file after `event`, whose answer replaces an older one of the same source."""
    sources = dict(held.sources) if held else {}
    retitled = list(held.retitled) if held else []
    known = sources.get(event.source_name)
    if is_newer(known, event, now):
        before, title = known.metadata.title if known else "", event.metadata.title
        if before and before != title:
            retitled.append(TitleChange(at=event.fetched_at, source=event.source_name, before=before, title=title))
        sources[event.source_name] = SourceAnswer(
            fetched_at=event.fetched_at, trace_id=trace_id, metadata=event.metadata
        )
    newest_first = sorted(
        sources.values(), key=lambda source: (not is_ahead(source.fetched_at, now), source.fetched_at), reverse=True
    )
    return VideoFile(
        **{**_merged(newest_first), "video_id": event.video_id},
        fetched_at=newest_first[0].fetched_at,
        sources=dict(sorted(sources.items())),
        retitled=retitled,
    )


def _merged(newest_first: list[SourceAnswer]) -> dict[str, Any]:
    """Merge field by field: the newest answer that has a value wins."""
    view: dict[str, Any] = {}
    for source in newest_first:
        for name, value in source.metadata.model_dump().items():
            if view.get(name) in (None, "", []):
                view[name] = value
    return view
