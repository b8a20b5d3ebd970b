"""metadata/videos/{video_id}.json: one video as its sources describe it, and the view that merges them.

Blocks (use a thread); callers hold the lock of (root, video).
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.common.events import MetadataFetched
from services.common.models import VideoMetadata


class SourceAnswer(BaseModel):
    """What one source said when it was last asked."""

    model_config = ConfigDict(extra="allow", frozen=True)

    fetched_at: AwareDatetime
    trace_id: str = ""
    metadata: VideoMetadata


class TitleChange(BaseModel):
    """A source told another title than before. Two sources may well have their own: that is no change."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: AwareDatetime
    source: str
    before: str
    title: str


class VideoFile(VideoMetadata):
    """The file: the fields of VideoMetadata (merged), when they were fetched last, and each source's own answer."""

    model_config = ConfigDict(extra="allow")

    fetched_at: AwareDatetime
    sources: dict[str, SourceAnswer]
    retitled: list[TitleChange] = Field(default_factory=list)  # oldest first


def merge_sources(held: VideoFile | None, event: MetadataFetched, trace_id: str) -> VideoFile:
    """The file after `event`: its source's answer replaces an older one of the same source. Pure."""
    sources = dict(held.sources) if held else {}
    retitled = list(held.retitled) if held else []
    known = sources.get(event.source_name)
    if known is None or known.fetched_at <= event.fetched_at:
        before, title = known.metadata.title if known else "", event.metadata.title
        if before and before != title:
            retitled.append(TitleChange(at=event.fetched_at, source=event.source_name, before=before, title=title))
        sources[event.source_name] = SourceAnswer(
            fetched_at=event.fetched_at, trace_id=trace_id, metadata=event.metadata
        )
    newest_first = sorted(sources.values(), key=lambda source: source.fetched_at, reverse=True)
    return VideoFile(
        **{**_merged(newest_first), "video_id": event.video_id},
        fetched_at=newest_first[0].fetched_at,
        sources=dict(sorted(sources.items())),
        retitled=retitled,
    )


def _merged(newest_first: list[SourceAnswer]) -> dict[str, Any]:
    """Field by field the newest answer that says something."""
    view: dict[str, Any] = {}
    for source in newest_first:
        for name, value in source.metadata.model_dump().items():
            if view.get(name) in (None, "", []):
                view[name] = value
    return view
