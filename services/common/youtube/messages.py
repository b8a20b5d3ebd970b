"""What `fetch` is asked and what it tells, as models for both ends of the pipe."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.models import FileFact, Provenance, VideoMetadata, Wanted
from services.common.validation import VIDEO_ID_PATTERN


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class FormatChoice(_Message):
    """A yt-dlp selector, the order in which it sees the formats, and what kind of file comes of it.

    `audio` None: as the selected streams have it (a raw selector).
    """

    selector: str
    sort: tuple[str, ...] = ()
    audio: bool | None = None


class FetchRequest(_Message):
    """`directory` is the work directory, `{video_id}.part`; it is made when there is something to put in."""

    video_id: str = Field(pattern=VIDEO_ID_PATTERN)
    dispatch_id: str
    wanted: Wanted
    choice: FormatChoice
    directory: str


class MetadataFound(_Message):
    """Right after the extraction, before anything is downloaded."""

    type: Literal["metadata"] = "metadata"
    metadata: VideoMetadata


class Downloading(_Message):
    """Bytes over all formats of the video, those of earlier attempts included. The first one says where it starts.

    `total` may be an estimate, and is None where not even that is known; `speed` is bytes a second, `eta` seconds.
    """

    type: Literal["downloading"] = "downloading"
    downloaded: int
    total: int | None = None
    speed: float | None = None
    eta: int | None = None


class Finishing(_Message):
    """All bytes are here; streams are merged and files are hashed."""

    type: Literal["finishing"] = "finishing"


class FetchResult(_Message):
    """All that was wanted and is to be had. A caption that failed to arrive is neither in `files` nor in `absent`."""

    type: Literal["result"] = "result"
    files: tuple[FileFact, ...] = ()
    absent: tuple[str, ...] = ()
    provenance: Provenance
    warnings: tuple[str, ...] = ()


FetchMessage = Annotated[MetadataFound | Downloading | Finishing | FetchResult, Field(discriminator="type")]


# --- `offer` ----------------------------------------------------------------------------------------------------------


class OfferRequest(_Message):
    """What there is of a video, and what each of these choices (by name) would take of it."""

    video_id: str = Field(pattern=VIDEO_ID_PATTERN)
    choices: dict[str, FormatChoice]


class Format(_Message):
    """A stream that is offered. `vcodec` and `acodec` are None where it has no picture, no sound; bitrates are
    kbit/s; `size` is in bytes, and an estimate where `size_estimated` says so."""

    format_id: str
    ext: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    dynamic_range: str | None = None
    vcodec: str | None = None
    acodec: str | None = None
    bitrate: float | None = None
    size: int | None = None
    size_estimated: bool = False
    language: str | None = None
    note: str | None = None


class Choice(_Message):
    """What a quality takes: the streams that become one file. Empty when there is nothing that fits."""

    format_ids: tuple[str, ...] = ()
    height: int | None = None
    size: int | None = None
    size_estimated: bool = False


class Offered(_Message):
    """The streams, the best last (yt-dlp's order), and what is chosen of them."""

    video_id: str
    title: str
    duration_seconds: float | None = None
    formats: tuple[Format, ...]
    choices: dict[str, Choice]
