"""The services that there are to talk to: a stack that runs here, or services that the configuration names."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.settings.load import Config
from ytarchive.client.rest import Rest
from ytarchive.stack import SERVICES, Stack, StackInfo, bus_settings, find_running

if TYPE_CHECKING:
    from bus import BusSettings


@dataclass(frozen=True)
class System:
    """`services` maps names to REST base URLs. `pid` is that of a running stack, None for services on their own.

    `passing`: the stack of a one-shot, which ends with its own job and leaves other jobs parked.
    """

    bus: "BusSettings"
    services: Mapping[str, str]
    pid: int | None = None
    own: bool = False
    passing: bool = False

    @classmethod
    def of_running(cls, info: StackInfo, config: Config) -> "System":
        return cls(info.bus_settings(config), info.services, info.pid, passing=info.passing)

    @classmethod
    def of_own(cls, stack: Stack) -> "System":
        urls = {name: service.url for name, service in stack.services.items()}
        return cls(stack.settings, urls, own=True)


async def find_system(config: Config) -> System | None:
    """A stack that runs on our data directory; else, with `[nats] url`, the services of `[services.*]` if they
    answer; else None."""
    info = await asyncio.to_thread(find_running, config)
    if info is not None:
        return System.of_running(info, config)
    if config.nats.url is None:
        return None
    urls = configured_urls(config)
    async with Rest.open(urls["jobs"]) as jobs:
        try:
            answer, _status = await jobs.ask("health")
        except YTArchiveError:
            return None
    named = isinstance(answer.data, dict) and answer.data.get("service") == "jobs"
    return System(bus_settings(config), urls) if named else None


async def require_system(config: Config) -> System:
    """Raises ServiceUnavailable, saying how to start one."""
    system = await find_system(config)
    if system is None:
        raise ServiceUnavailable(
            f"Nothing runs on {config.storage.base_data_dir}. Start `ytarchive up`, or a `ytarchive download`."
        )
    return system


def configured_urls(config: Config) -> dict[str, str]:
    endpoints = {name: getattr(config.services, name) for name in SERVICES}
    return {name: f"http://{endpoint.host}:{endpoint.port}" for name, endpoint in endpoints.items()}
