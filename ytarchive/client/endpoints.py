"""The services that can be reached: a stack that runs on this machine, or the services that the configuration names."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from bus import BusSettings
from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.names import SERVICES
from services.common.settings.load import Config
from services.common.web.bound_socket import WILDCARDS
from ytarchive.client.rest import Rest, query_of
from ytarchive.stack import Stack, StackInfo, bus_settings, find_running

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class System:
    """`services` maps names to REST base URLs. `pid` is that of a running stack, None for separate services.

    `own`: the stack runs in this process. `temporary`: the stack of another one-shot command, which ends with its own
    job and leaves other jobs parked.
    """

    bus: BusSettings
    services: Mapping[str, str]
    pid: int | None = None
    own: bool = False
    temporary: bool = False

    @classmethod
    def of_running(cls, info: StackInfo, config: Config) -> "System":
        return cls(info.bus_settings(config), info.services, info.pid, temporary=info.passing)

    @classmethod
    def of_own(cls, stack: Stack) -> "System":
        urls = {name: service.url for name, service in stack.services.items()}
        return cls(stack.settings, urls, own=True)


async def find_system(config: Config) -> System | None:
    """Return the stack that runs on our data directory; else, with `[nats] url`, the services of `[services.*]` when
    they answer; else None."""
    info = await asyncio.to_thread(find_running, config)
    if info is not None:
        return System.of_running(info, config)
    if config.nats.url is None:
        return None
    urls = configured_urls(config)
    async with Rest.open(urls["jobs"]) as jobs:
        try:
            answer, _status = await jobs.request_once("health")
        except YTArchiveError:
            return None
    is_jobs = isinstance(answer.data, dict) and answer.data.get("service") == "jobs"
    return System(bus_settings(config), urls) if is_jobs else None


async def require_system(config: Config) -> System:
    """Return the running system. Raise ServiceUnavailable, which tells how to start one."""
    system = await find_system(config)
    if system is None:
        raise ServiceUnavailable(
            f"No services run on {config.storage.base_data_dir}. Start `ytarchive up` or a `ytarchive download`."
        )
    return system


def configured_urls(config: Config) -> dict[str, str]:
    endpoints = {name: getattr(config.services, name) for name in SERVICES}
    return {name: f"http://{_reachable(endpoint.host)}:{endpoint.port}" for name, endpoint in endpoints.items()}


def _reachable(host: str) -> str:
    """Return the host for a URL: a service that is bound to all addresses is reached at the loopback one."""
    host = "127.0.0.1" if host in WILDCARDS else host
    return f"[{host}]" if ":" in host else host


async def get_or_read(
    config: Config,
    service: str,
    path: str,
    model: type[M],
    offline: Callable[[], Awaitable[M]],
    query: BaseModel | None = None,
) -> M:
    """Return the data of GET `path` as `model`; where nothing runs, what `offline` returns."""
    system = await find_system(config)
    if system is None:
        return await offline()
    async with Rest.open(system.services[service]) as rest:
        return model.model_validate(await rest.get(path, **query_of(query)))
