"""Requests and messages of the child's operations, as models for both ends of the pipe."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.archive import FileFact, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.validation import VIDEO_ID_PATTERN


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class FormatChoice(_Message):
    """A yt-dlp format selector, the sort order of the formats, and the kind of file that results.

    `audio` None: determined by the selected streams (a raw selector). `original`: select among the uploader's own
    streams, with sound in `audio_language` or else in the original language.
    """

    selector: str
    sort: tuple[str, ...] = ()
    audio: bool | None = None
    original: bool = False
    audio_language: str = ""


class FetchRequest(_Message):
    """`directory` is the work directory, `{video_id}.part`; it is created when needed. `connections`: at most so many
    for the media."""

    video_id: str = Field(pattern=VIDEO_ID_PATTERN)
    dispatch_id: str
    wanted: Wanted
    choice: FormatChoice
    directory: str
    connections: int = 1


class MetadataFound(_Message):
    """Sent after the extraction, before anything is downloaded."""

    type: Literal["metadata"] = "metadata"
    metadata: VideoMetadata


class Downloading(_Message):
    """Bytes over all formats of the video, earlier attempts included. The first message is the starting point.

    `total` may be an estimate, and is None when unknown; `speed` is in bytes per second, `eta` in seconds.
    """

    type: Literal["downloading"] = "downloading"
    downloaded: int
    total: int | None = None
    speed: float | None = None
    eta: int | None = None


class BetterFound(_Message):
    """A look has found something better than what is archived, which is fetched now. Fields as in DownloadLooked."""

    type: Literal["better"] = "better"
    resolution: int | None = None
    longer: bool = False
    captions: tuple[str, ...] = ()


class Finishing(_Message):
    """All bytes were downloaded; streams are being merged and files hashed."""

    type: Literal["finishing"] = "finishing"


class FetchResult(_Message):
    """The requested files that exist. A caption that could not be had (it was refused, or needs a PO token) is neither
    in `files` nor in `absent`."""

    type: Literal["result"] = "result"
    files: tuple[FileFact, ...] = ()
    absent: tuple[str, ...] = ()
    provenance: Provenance
    warnings: tuple[str, ...] = ()


FetchMessage = Annotated[
    MetadataFound | BetterFound | Downloading | Finishing | FetchResult, Field(discriminator="type")
]


# --- `offer` ----------------------------------------------------------------------------------------------------------


class OfferRequest(_Message):
    """A request for the streams of a video, and for those that each named choice would select."""

    video_id: str = Field(pattern=VIDEO_ID_PATTERN)
    choices: dict[str, FormatChoice]


class Format(_Message):
    """A stream of a video. `vcodec` and `acodec` are None without picture or sound; bitrates are in kbit/s; `size` is
    in bytes."""

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
    """The streams that a quality selects and that become one file. Empty when no stream fits."""

    format_ids: tuple[str, ...] = ()
    height: int | None = None
    size: int | None = None
    size_estimated: bool = False


class Offered(_Message):
    """The streams, best last (yt-dlp's order), and the choices."""

    video_id: str
    title: str
    duration_seconds: float | None = None
    formats: tuple[Format, ...]
    choices: dict[str, Choice]
