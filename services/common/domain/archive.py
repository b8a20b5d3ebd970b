"""What the archive holds of a video: its files, their origin, what is absent, and why it might get better."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

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


class RevisitReason(StrEnum):
    """Why an archived video might get better."""

    LOWER = "lower"  # than asked for, of a recent upload
    FORMATS_MISSING = "formats_missing"  # lower than asked for, and yt-dlp could not get all formats
    CAPTIONS_ABSENT = "captions_absent"  # of a recent upload
    CAPTIONS_REFUSED = "captions_refused"  # YouTube has them, and refused them or wants a token for them
    STREAM_ENDED = "stream_ended"  # less than a day before: its recording is still processed
    LENGTH = "length"  # another one than in the listing


class Revisit(BaseModel):
    """What is held, what was offered at the last look, and why it might get better (docs/decisions/0026).

    `resolution`, `offered`: lines of the picture, by its shorter side; `final`: more is not expected to be offered.
    `captions`: languages that were asked for, are not held, and may come; `left_out`: those of them that YouTube has or
    may have. `listed_seconds`: the length in the listing. `since`: when the reasons were found; `looked_at`: the last
    look.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    reasons: tuple[RevisitReason, ...] = ()
    resolution: int | None = None
    offered: int | None = None
    final: bool = False
    duration_seconds: float | None = None
    listed_seconds: float | None = None
    captions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    since: AwareDatetime
    looked_at: AwareDatetime | None = None


class Held(BaseModel, frozen=True):
    """What the archive holds of one video in one root.

    `qualities`: what was asked for when the media that are held were fetched (a 720p video fetched as `1080p` is all
    there is, and counts as 1080p). `absent`: what upstream did not have: `thumbnail`, `captions/de`. `info`: false
    where yt-dlp's own record was held and is lost. `next_look`: when to ask whether there is something better; None:
    not any more.
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
    revisit: Revisit | None = None
    next_look: AwareDatetime | None = None


class Provenance(BaseModel):
    """The origin of the files: tools, versions, formats and times.

    `height` and `width` are those of the selected picture, `offered` is the best resolution (lines of the shorter side)
    among all streams. `missing_formats`: warnings that streams could not be had. `stream_ended_at`: of the recording of
    a live stream."""

    source_url: str
    extractor: str = "youtube"
    format_ids: list[str] = Field(default_factory=list)
    tools: Mapping[str, str] = Field(default_factory=dict, description="Versions by name.")
    started_at: AwareDatetime
    finished_at: AwareDatetime
    trace_id: str = ""
    height: int | None = None
    width: int | None = None
    offered: int | None = None
    duration_seconds: float | None = None
    missing_formats: tuple[str, ...] = ()
    stream_ended_at: AwareDatetime | None = None

    @property
    def resolution(self) -> int | None:
        """The shorter side of the picture: 1080 for a vertical video of 1080 x 1920."""
        return self.height if self.width is None or self.height is None else min(self.width, self.height)
