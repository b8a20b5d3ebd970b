"""Files of the archive that are on this machine too: they are sent from the disk, not through the storage service."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from cachetools import TTLCache
from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.videos import VideoId
from services.common.settings.load import Config
from services.common.web.archived_file import ArchivedFileResponse
from services.common.web.routing import Call, Route
from ytarchive.web.forwarding import Forwarder
from ytarchive.web.services import Services

_BELIEVED = 10.0  # seconds that a list of files is not read again: a player asks for many ranges
_MOST = 1_000


class ArchivedFile(BaseModel):
    """`name` is relative to the folder of the video."""

    video_id: VideoId
    name: str = Field(min_length=1, max_length=300)


class RootQuery(BaseModel):
    """As of the storage service."""

    model_config = ConfigDict(extra="forbid")

    root: str | None = Field(default=None, max_length=4096)


class LocalFiles:
    """Only files that the storage service lists, with the size that it names; anything else it answers itself."""

    def __init__(self, config: Config, services: Services, forwarder: Forwarder) -> None:
        self._config = config
        self._services = services
        self._forwarder = forwarder
        self._copies: TTLCache[str, list[dict[str, Any]]] = TTLCache(_MOST, _BELIEVED)

    async def send(self, call: Call, video_id: str, name: str, root: str | None) -> web.StreamResponse:
        """Answer with a file: HEAD and ranges too. Raise ServiceUnavailable."""
        found = await self._find(video_id, name, root)
        if found is not None:
            return ArchivedFileResponse(*found)
        path = f"/api/v1/storage/videos/{quote(video_id)}/files/{quote(name)}"
        return await self._forwarder.forward(call, "storage", path, query=f"root={quote(root)}" if root else "")

    async def _find(self, video_id: str, name: str, root: str | None) -> tuple[Path, Path] | None:
        """Return the folder of all videos, and the file below it."""
        for copy in await self._held(video_id):
            if root not in {None, copy["root"]}:
                continue
            for file in copy["files"]:
                videos = self._videos_of(Path(copy["root"]))
                if file["name"] == name and videos is not None:
                    path = videos / video_id / name
                    if await asyncio.to_thread(_size_of, path) == file["size"]:
                        return videos, path
        return None

    async def _held(self, video_id: str) -> list[dict[str, Any]]:
        if video_id not in self._copies:
            system = await self._services.system()
            async with system.rest("storage") as storage:
                self._copies[video_id] = (await storage.get(f"storage/exists/{quote(video_id)}"))["copies"]
        return self._copies[video_id]

    def _videos_of(self, root: Path) -> Path | None:
        """Return the folder of the videos of a configured root, or of a folder below one."""
        storage = self._config.storage
        if not any(root.is_relative_to(one) for one in storage.all_roots):
            return None
        return storage.videos_dir if root == storage.base_path else root / "videos"


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


async def send_file(call: Call, path: ArchivedFile, query: RootQuery, files: LocalFiles) -> web.StreamResponse:
    """A file of the archive."""
    return await files.send(call, path.video_id, path.name, query.root)


# before all that is forwarded; the storage service describes it
ROUTES = tuple(
    Route(
        method, "/api/v1/storage/videos/{video_id}/files/{name:.+}", send_file, path_model=ArchivedFile,
        query=RootQuery, streams=True, quiet=True, scope="read",
    )
    for method in ("GET", "HEAD")
)  # fmt: skip
