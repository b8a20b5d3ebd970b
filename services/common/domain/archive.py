"""What the archive holds of a video: its files, their origin, what is absent."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field

from services.common.domain.videos import VideoId


class KnownGone(BaseModel, frozen=True):
    reason: str
    at: AwareDatetime


class FileRole(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    THUMBNAIL = "thumbnail"
    CAPTION = "caption"
    INFO = "info"


class FileFact(BaseModel, frozen=True):
    """A file: `name` relative to the directory of the event, size in bytes, sha256 in hex."""

    name: str
    role: FileRole
    size: int
    sha256: str
    language: str | None = Field(default=None, description="Of captions.")


class Held(BaseModel, frozen=True):
    """What the archive holds of one video in one root.

    `qualities`: what was asked for when the media that are held were fetched (a 720p video fetched as `1080p` is all
    there is, and counts as 1080p). `absent`: what upstream did not have: `thumbnail`, `captions/de`. `info`: false
    where yt-dlp's own record was held and is lost.
    """

    video_id: VideoId
    qualities: tuple[str, ...] = ()
    thumbnail: bool = False
    captions: tuple[str, ...] = ()
    metadata: bool = False
    absent: tuple[str, ...] = ()
    info: bool = True
    bytes: int = 0
    known_gone: KnownGone | None = None


class Provenance(BaseModel):
    """The origin of the files: tools, versions, formats and times."""

    source_url: str
    extractor: str = "youtube"
    format_ids: list[str] = Field(default_factory=list)
    tools: Mapping[str, str] = Field(default_factory=dict, description="Versions by name.")
    started_at: AwareDatetime
    finished_at: AwareDatetime
    trace_id: str = ""
    height: int | None = None
    duration_seconds: float | None = None
