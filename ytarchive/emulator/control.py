"""Control API over plain HTTP: tests and the demo change the world, inject faults and read the request log."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus

from ytarchive.emulator import situations
from ytarchive.emulator.site.data_api import EmulatedDataApi
from ytarchive.emulator.site.router import Site
from ytarchive.emulator.site.world import Channel, Json, Playlist, Video, World, WorldError
from ytarchive.emulator.transport.fault_injection import Fault, FaultError, Faults
from ytarchive.emulator.transport.http import BadRequest, Request, Response, json_response
from ytarchive.emulator.transport.request_log import RequestLog

PREFIX = "/_control/"
MAX_WAIT = 60.0

ControlRoute = Callable[[Request, str], Awaitable[Json]]


class Control:
    """Routes below PREFIX, as documented in `EmulatorClient`. `reset` restores the emulator's initial state."""

    def __init__(
        self,
        world: World,
        site: Site,
        data_api: EmulatedDataApi,
        faults: Faults,
        log: RequestLog,
        *,
        addresses: Callable[[], dict[str, str]],
        reset: Callable[[], None],
    ) -> None:
        self._world = world
        self._site = site
        self._data_api = data_api
        self._faults = faults
        self._log = log
        self._addresses = addresses
        self._reset_emulator = reset
        self._routes: dict[tuple[str, str], ControlRoute] = {
            ("GET", "health"): self._get_health,
            ("GET", "state"): self._get_state,
            ("GET", "log"): self._get_log,
            ("DELETE", "log"): self._clear_log,
            ("PUT", "videos"): self._put_video,
            ("PATCH", "videos"): self._patch_video,
            ("PUT", "playlists"): self._put_playlist,
            ("DELETE", "playlists"): self._delete_playlist,
            ("PUT", "channels"): self._put_channel,
            ("PUT", "kinds"): self._set_kind,
            ("POST", "situation"): self._begin_situation,
            ("GET", "faults"): self._get_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "expire"): self._expire_urls,
            ("PUT", "settings"): self._change_settings,
            ("POST", "reset"): self._reset,
        }

    async def respond(self, request: Request) -> Response:
        """Handle one request. Errors are `{"error": text}` with status 400 or 404."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        route = self._routes.get((request.method, name))
        if route is None:
            return json_response({"error": f"no such route: {request.method} {request.path}"}, HTTPStatus.NOT_FOUND)
        try:
            return json_response(await route(request, rest))
        except KeyError as error:
            return json_response({"error": f"unknown: {error.args[0]}"}, HTTPStatus.NOT_FOUND)
        except (BadRequest, WorldError, FaultError, ValueError, TypeError) as error:
            return json_response({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    async def _get_health(self, _request: Request, _rest: str) -> Json:
        return {"status": "ok"} | self._addresses()

    async def _get_state(self, _request: Request, _rest: str) -> Json:
        return {
            "videos": {video.id: asdict(video) for video in self._world.videos.values()},
            "playlists": {playlist.id: asdict(playlist) for playlist in self._world.playlists.values()},
            "channels": {channel.id: asdict(channel) for channel in self._world.channels.values()},
            "kind_of_all": self._world.kind_of_all,
            "faults": [fault.to_json() for fault in self._faults.all()],
            "quota_left": self._data_api.quota_left,
            "url_lifetime": self._site.url_lifetime,
        }

    async def _get_log(self, request: Request, _rest: str) -> Json:
        query = request.query
        since, count = int(query.get("since", "0")), int(query.get("count", "1"))
        kind, video_id = query.get("kind"), query.get("video_id")
        if wait := float(query.get("wait", "0")):
            entries = await self._log.wait_for(
                since=since, kind=kind, video_id=video_id, count=count, timeout=min(wait, MAX_WAIT)
            )
        else:
            entries = self._log.entries(since=since, kind=kind, video_id=video_id)
        return {"last": self._log.last, "entries": [entry.to_json() for entry in entries]}

    async def _clear_log(self, _request: Request, _rest: str) -> Json:
        self._log.clear()
        return {"last": self._log.last}

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
            if unknown := set(data) - {"count", "channel", "title", "deleted", "private"}:
                raise WorldError(f"a playlist created by count has no field {', '.join(sorted(unknown))}")
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

    async def _begin_situation(self, _request: Request, name: str) -> Json:
        return {"name": name, "summary": situations.begin(name, self._world, self._faults).summary}

    async def _get_faults(self, _request: Request, _rest: str) -> Json:
        return {"faults": [fault.to_json() for fault in self._faults.all()]}

    async def _add_fault(self, request: Request, _rest: str) -> Json:
        return self._faults.add(Fault.from_json(request.json())).to_json()

    async def _clear_faults(self, _request: Request, rest: str) -> Json:
        if rest and not self._faults.remove(int(rest)):
            raise KeyError(rest)
        if not rest:
            self._faults.clear()
        return {"faults": len(self._faults.all())}

    async def _expire_urls(self, request: Request, _rest: str) -> Json:
        video_id = request.json().get("video_id")
        self._site.expire_urls(None if video_id is None else str(video_id))
        return {"expired": video_id or "*"}

    async def _change_settings(self, request: Request, _rest: str) -> Json:
        data = request.json()
        if unknown := set(data) - {"quota_left", "url_lifetime"}:
            raise BadRequest(f"no such setting: {', '.join(sorted(unknown))}")
        if "quota_left" in data:
            left = data["quota_left"]
            self._data_api.quota_left = None if left is None else int(left)
        if "url_lifetime" in data:
            self._site.url_lifetime = int(data["url_lifetime"])
        return data

    async def _reset(self, _request: Request, _rest: str) -> Json:
        self._reset_emulator()
        return {"status": "ok"}
