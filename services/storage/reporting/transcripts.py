"""What is said in an archived video, line by line, from its caption files."""

import asyncio
from pathlib import Path

from pydantic import BaseModel

from services.common.domain.archive import FileRole
from services.common.errors import NotFound
from services.common.infra.no_links import NotAFile, read_below
from services.storage.formats.captions import CaptionsUnreadable, parse_vtt
from services.storage.formats.layout import file_name
from services.storage.reporting.descriptions import VideoReader


class TranscriptLine(BaseModel):
    start_seconds: float
    text: str


class Transcript(BaseModel):
    """Each line once, also of automatic captions, which show it several times."""

    video_id: str
    language: str
    lines: list[TranscriptLine]


class TranscriptReader:
    def __init__(self, videos: VideoReader) -> None:
        self._videos = videos

    async def read(self, video_id: str, language: str, root: str | None) -> Transcript:
        """Raises NotFound, also for a file that is not valid WebVTT."""
        name = file_name(video_id, FileRole.CAPTION, language)
        base, path = await self._videos.file(video_id, name, root)
        return await asyncio.to_thread(_read, base, path, video_id, language)


def _read(base: Path, path: Path, video_id: str, language: str) -> Transcript:
    try:
        lines = parse_vtt(read_below(base, path).decode("utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError, NotAFile, CaptionsUnreadable) as error:
        raise NotFound(f"The captions of {video_id} in {language} cannot be read: {error}") from error
    return Transcript(
        video_id=video_id,
        language=language,
        lines=[TranscriptLine(start_seconds=line.start / 1000, text=line.text) for line in lines],
    )
