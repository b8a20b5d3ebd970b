"""Small copies of archived thumbnails: a page of a library shows dozens, and an original has 100 to 200 KB.

They are made when they are first asked for, and kept in `{base_data_dir}/thumbnails` under the SHA-256 of the original;
the folder may be removed at any time.
"""

import asyncio
import os
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

import structlog

from services.common.domain.archive import FileFact, FileRole
from services.common.infra.no_links import open_below
from services.storage.index.queries import CatalogueQueries
from services.storage.reporting.descriptions import VideoReader

WIDTH = 320  # pixels
_AT_ONCE = 2
_TIMEOUT = 20.0  # seconds
_LARGEST = 32 * 1024**2  # bytes of an original
_log = structlog.get_logger()


class SmallThumbnails:
    """Without ffmpeg originals are shown. `ffmpeg`: the configured one."""

    def __init__(
        self, videos: VideoReader, queries: CatalogueQueries, base_data_dir: Path, ffmpeg: Path | None
    ) -> None:
        self._videos = videos
        self._queries = queries
        self._folder = base_data_dir / "thumbnails"
        self._ffmpeg = cache(partial(_find_ffmpeg, ffmpeg))
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def find(self, video_id: str, root: str | None) -> tuple[Path, Path, str] | None:
        """Return folder, path and digest of a small thumbnail, or of the original where no small one can be made; None
        for a video without one. Raise NotFound when the file is gone."""
        fact = await self._fact(video_id, root)
        if fact is None:
            return None
        small = self._folder / fact.sha256[:2] / f"{fact.sha256}.jpg"
        if await asyncio.to_thread(small.is_file):
            return self._folder, small, fact.sha256
        base, original = await self._videos.file(video_id, fact.name, root)
        ffmpeg = await asyncio.to_thread(self._ffmpeg)
        if ffmpeg is None or fact.size > _LARGEST:
            return base, original, fact.sha256
        async with self._gate:
            made = await _make(ffmpeg, base, original, small)
        return (self._folder, small, fact.sha256) if made else (base, original, fact.sha256)

    async def _fact(self, video_id: str, root: str | None) -> FileFact | None:
        for copy in (await self._queries.existence(video_id)).copies:
            if root in {None, copy.root}:
                for fact in copy.files:
                    if fact.role is FileRole.THUMBNAIL:
                        return fact
        return None


async def _make(ffmpeg: Path, base: Path, original: Path, small: Path) -> bool:
    """Scale the picture, which ffmpeg reads from its standard input: no link in the archive is followed."""
    if await asyncio.to_thread(small.is_file):
        return True
    draft: Path | None = None
    try:
        draft = await asyncio.to_thread(_new_draft, small)
        source = await asyncio.to_thread(open_below, base, original)
        try:
            ran = await asyncio.create_subprocess_exec(
                str(ffmpeg), "-v", "error", "-nostdin", "-protocol_whitelist", "pipe,file", "-i", "pipe:0",
                "-frames:v", "1", "-vf", f"scale='min({WIDTH},iw)':-2", "-q:v", "4", "-f", "mjpeg", "-y", str(draft),
                stdin=source, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(source)
        try:
            code = await asyncio.wait_for(ran.wait(), _TIMEOUT)
        except BaseException:
            ran.kill()
            await ran.wait()
            raise
        if code != 0 or await asyncio.to_thread(_is_empty, draft):
            return False
        await asyncio.to_thread(draft.replace, small)
    except (OSError, TimeoutError) as error:  # such as a full disk: the original is shown
        _log.debug("thumbnail_not_made", file=str(original), error_message=str(error))
        return False
    finally:
        if draft is not None:
            await asyncio.to_thread(shutil.rmtree, draft.parent, ignore_errors=True)
    return True


def _find_ffmpeg(configured: Path | None) -> Path | None:
    from services.common.youtube.tools import find_ffmpeg  # only a page that shows pictures needs it

    return find_ffmpeg(configured)


def _new_draft(small: Path) -> Path:
    small.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix=".new-", dir=small.parent)) / small.name


def _is_empty(path: Path) -> bool:
    return not path.is_file() or path.stat().st_size == 0
