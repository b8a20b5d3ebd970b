"""The control path: over plain HTTP, tests and the demo change the world, inject faults and read the request log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus

from ytarchive.emulator.site.data_api import DataApi
from ytarchive.emulator.site.router import Site
from ytarchive.emulator.site.world import Channel, Json, Playlist, Video, World, WorldError
from ytarchive.emulator.transport.fault_injection import Fault, FaultError, Faults
from ytarchive.emulator.transport.http import Answer, BadRequest, Request, json_answer
from ytarchive.emulator.transport.request_log import RequestLog

PREFIX = "/_control/"
MAX_WAIT = 60.0

Route = Callable[[Request, str], Awaitable[Json]]


class Control:
    """Routes below PREFIX; `EmulatorClient` documents them. `addresses` returns those of the emulator, `reset` renews
    its world, faults and log."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        site: Site,
        data_api: DataApi,
        log: RequestLog,
        *,
        addresses: Callable[[], dict[str, str]],
        reset: Callable[[], None],
    ) -> None:
        self._world = world
        self._injected = faults
        self._site = site
        self._data_api = data_api
        self._requests = log
        self._addresses = addresses
        self._reset_emulator = reset
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "health"): self._health,
            ("GET", "state"): self._state,
            ("GET", "log"): self._log,
            ("DELETE", "log"): self._clear_log,
            ("PUT", "videos"): self._put_video,
            ("PATCH", "videos"): self._patch_video,
            ("PUT", "playlists"): self._put_playlist,
            ("DELETE", "playlists"): self._delete_playlist,
            ("PUT", "channels"): self._put_channel,
            ("PUT", "kinds"): self._set_kind,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "expire"): self._expire,
            ("PUT", "settings"): self._settings,
            ("POST", "reset"): self._reset,
        }

    async def answer(self, request: Request) -> Answer:
        """Answer a request; errors are `{"error": text}` with 400 or 404."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        route = self._routes.get((request.method, name))
        if route is None:
            return json_answer({"error": f"no route {request.method} {request.path}"}, HTTPStatus.NOT_FOUND)
        try:
            return json_answer(await route(request, rest))
        except KeyError as error:
            return json_answer({"error": f"unknown: {error.args[0]}"}, HTTPStatus.NOT_FOUND)
        except (BadRequest, WorldError, FaultError, ValueError, TypeError) as error:
            return json_answer({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    async def _health(self, _request: Request, _rest: str) -> Json:
        return {"status": "ok"} | self._addresses()

    async def _state(self, _request: Request, _rest: str) -> Json:
        world = self._world
        return {
            "videos": {video.id: asdict(video) for video in world.videos.values()},
            "playlists": {playlist.id: asdict(playlist) for playlist in world.playlists.values()},
            "channels": {channel.id: asdict(channel) for channel in world.channels.values()},
            "kind_of_all": world.kind_of_all,
            "faults": [fault.to_json() for fault in self._injected.all()],
            "quota_left": self._data_api.quota_left,
            "url_lifetime": self._site.url_lifetime,
        }

    async def _log(self, request: Request, _rest: str) -> Json:
        query = request.query
        since, count = int(query.get("since", "0")), int(query.get("count", "1"))
        kind, video_id = query.get("kind"), query.get("video_id")
        log = self._requests
        if wait := float(query.get("wait", "0")):
            entries = await log.wait_for(
                since=since, kind=kind, video_id=video_id, count=count, timeout=min(wait, MAX_WAIT)
            )
        else:
            entries = log.entries(since=since, kind=kind, video_id=video_id)
        return {"last": log.last, "entries": [entry.to_json() for entry in entries]}

    async def _clear_log(self, _request: Request, _rest: str) -> Json:
        self._requests.clear()
        return {"last": self._requests.last}

    async def _put_video(self, request: Request, video_id: str) -> Json:
        video = Video.from_json({**request.json(), "id": video_id})
        self._world.add(video)
        return asdict(video)

    async def _patch_video(self, request: Request, video_id: str) -> Json:
        video = Video.from_json({**asdict(self._world.videos[video_id]), **request.json()})
        self._world.add(video)
        return asdict(video)

    async def _put_playlist(self, request: Request, playlist_id: str) -> Json:
        data = request.json()
        if "count" in data:
            if odd := set(data) - {"count", "channel", "title", "deleted", "private"}:
                raise WorldError(f"a playlist made by count has no field {', '.join(sorted(odd))}")
            return asdict(self._world.add_playlist_of(playlist_id, **data))
        playlist = Playlist.from_json({**data, "id": playlist_id})
        self._world.add(playlist)
        return asdict(playlist)

    async def _delete_playlist(self, _request: Request, playlist_id: str) -> Json:
        return asdict(self._world.playlists.pop(playlist_id))

    async def _put_channel(self, request: Request, channel_id: str) -> Json:
        channel = Channel.from_json({**request.json(), "id": channel_id})
        self._world.add(channel)
        return asdict(channel)

    async def _set_kind(self, request: Request, video_id: str) -> Json:
        kind = str(request.json().get("kind", "ok"))
        self._world.set_kind(video_id, kind)
        return {"video_id": video_id, "kind": kind}

    async def _faults(self, _request: Request, _rest: str) -> Json:
        return {"faults": [fault.to_json() for fault in self._injected.all()]}

    async def _add_fault(self, request: Request, _rest: str) -> Json:
        return self._injected.add(Fault.from_json(request.json())).to_json()

    async def _clear_faults(self, _request: Request, rest: str) -> Json:
        if rest and not self._injected.remove(int(rest)):
            raise KeyError(rest)
        if not rest:
            self._injected.clear()
        return {"faults": len(self._injected.all())}

    async def _expire(self, request: Request, _rest: str) -> Json:
        video_id = request.json().get("video_id")
        self._site.expire_urls(None if video_id is None else str(video_id))
        return {"expired": video_id or "*"}

    async def _settings(self, request: Request, _rest: str) -> Json:
        data = request.json()
        if odd := set(data) - {"quota_left", "url_lifetime"}:
            raise BadRequest(f"no setting {', '.join(sorted(odd))}")
        if "quota_left" in data:
            left = data["quota_left"]
            self._data_api.quota_left = None if left is None else int(left)
        if "url_lifetime" in data:
            self._site.url_lifetime = int(data["url_lifetime"])
        return data

    async def _reset(self, _request: Request, _rest: str) -> Json:
        self._reset_emulator()
        return {"status": "ok"}
