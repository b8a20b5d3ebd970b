"""Media for players that do not log in, such as VLC or mpv: addresses that are signed, and end after a day."""

import asyncio
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from services.common.domain.videos import VideoId
from services.common.errors import ConfigError, Forbidden, NotFound
from services.common.infra.files import locked, write_atomically
from services.common.settings.load import Config
from services.common.web.routing import Call, Route
from ytarchive.web.local_files import ArchivedFile, LocalFiles
from ytarchive.web.services import Services
from ytarchive.web.sessions import MEDIA_KEY

LASTS = 24 * 3600  # seconds
_MEDIA = ("video", "audio")


class MediaPath(BaseModel):
    video_id: VideoId


class MediaLink(BaseModel):
    """`url`: the film, or its sound where only that is held, for any player. `playlist`: a file that opens in a player.
    Both are good until `expires` (seconds since 1970)."""

    url: str
    playlist: str
    expires: int


class SignedQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires: int = Field(ge=0, le=10**11)
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Signatures:
    """Signs paths with a key that the data folder keeps, until somebody logs out everywhere."""

    def __init__(self, config: Config) -> None:
        self._file = config.storage.base_data_dir / "auth" / MEDIA_KEY

    def sign(self, path: str, expires: int) -> str:
        """Raise ConfigError when there is no key and none can be written."""
        return hmac.new(_key_of(self._file), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def expect(self, path: str, query: SignedQuery) -> None:
        """Raise Forbidden for another path, or after its time."""
        if not hmac.compare_digest(self.sign(path, query.expires), query.signature) or query.expires < time.time():
            raise Forbidden("This address is no longer good: open the video on the page, and take a new one.")


def _key_of(file: Path) -> bytes:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(file.parent / "lock"):
            if not file.exists():
                write_atomically(file, secrets.token_hex(32) + "\n", mode=0o600)
            return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"The key of media addresses cannot be kept in {file} ({error.strerror}).") from error


async def link(call: Call, path: MediaPath, services: Services, signatures: Signatures) -> MediaLink:
    """An address of the film of a video that a player can open without a login, for a day."""
    system = await services.system()
    async with system.rest("storage") as storage:
        held = await storage.get(f"storage/exists/{quote(path.video_id)}")
    files = [file for copy in held["copies"] for file in copy["files"] if file["role"] in _MEDIA]
    if not files:
        raise NotFound(f"Neither picture nor sound of {path.video_id} is held.", video_id=path.video_id)
    name = min(files, key=lambda file: _MEDIA.index(file["role"]))["name"]
    expires = int(time.time()) + LASTS
    signature = await asyncio.to_thread(signatures.sign, f"{path.video_id}/{name}", expires)
    origin = call.raw.url.origin()
    base = f"{origin}/media/{quote(path.video_id)}/{quote(name)}"
    query = f"expires={expires}&signature={signature}"
    return MediaLink(url=f"{base}?{query}", playlist=f"{base}.m3u?{query}", expires=expires)


async def signed_file(
    call: Call, path: ArchivedFile, query: SignedQuery, files: LocalFiles, signatures: Signatures
) -> web.StreamResponse:
    """A signed file; with `.m3u` after its name, a playlist of it."""
    as_playlist = path.name.endswith(".m3u")
    name = path.name.removesuffix(".m3u")
    await asyncio.to_thread(signatures.expect, f"{path.video_id}/{name}", query)
    if as_playlist:
        target = call.raw.url.with_path(call.raw.path.removesuffix(".m3u")).with_query(
            expires=str(query.expires), signature=query.signature
        )
        headers = {"Content-Disposition": f'attachment; filename="{path.video_id}.m3u"'}
        return web.Response(text=f"#EXTM3U\n{target}\n", content_type="audio/x-mpegurl", headers=headers)
    return await files.send(call, path.video_id, name, None)


ROUTES = (
    Route(
        "GET", "/api/v1/media/{video_id}/link", link, "An address of a film for other players",
        path_model=MediaPath, response=MediaLink, quiet=True,
    ),
)  # fmt: skip
SIGNED = tuple(
    Route(
        method, "/media/{video_id}/{name:.+}", signed_file, path_model=ArchivedFile, query=SignedQuery,
        streams=True, quiet=True, public=True,
    )
    for method in ("GET", "HEAD")
)  # fmt: skip
