"""The services that can be reached: a stack that runs on this machine, or the services that the configuration names.

An HTTP client and the services are imported when they are needed: most commands read files where nothing runs.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from bus import BusSettings
from services.common.errors import Forbidden, ServiceUnavailable, TooManyRequests, Unauthorized, YTArchiveError
from services.common.names import SERVICES
from services.common.settings.load import Config, Endpoint
from services.common.settings.retry_policy import SPEC
from services.common.web.tokens import TokenStore
from ytarchive.running_stack import StackInfo, bus_settings, find_running

if TYPE_CHECKING:
    from ytarchive.client import sse
    from ytarchive.client.rest import Rest
    from ytarchive.stack import Stack

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class System:
    """`services` maps names to REST base URLs. `pid` is that of a running stack, None for separate services.

    `own`: the stack runs in this process. `temporary`: the stack of another one-shot command, which ends with its own
    job and leaves other jobs parked. `token`: sent with every REST request. `page`: the address of the page.
    """

    bus: BusSettings
    services: Mapping[str, str]
    pid: int | None = None
    own: bool = False
    temporary: bool = False
    token: str | None = field(default=None, repr=False)
    page: str | None = None

    @classmethod
    def of_running(cls, info: StackInfo, config: Config) -> "System":
        token = TokenStore(config).own()
        bus = info.bus_settings(config)
        return cls(bus, info.services, info.pid, temporary=info.passing, token=token, page=info.web)

    @classmethod
    def of_own(cls, stack: "Stack") -> "System":
        urls = {name: service.url for name, service in stack.services.items()}
        return cls(stack.settings, urls, own=True, token=TokenStore(stack.config).own())

    def rest(self, service: str, *, answer_timeout: float = SPEC.read) -> "AbstractAsyncContextManager[Rest]":
        """Open a REST connection to a service, as Rest.open."""
        from ytarchive.client.rest import Rest

        return Rest.open(self.services[service], token=self.token, answer_timeout=answer_timeout)

    def stream(
        self,
        service: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        *,
        last_event_id: int | None = None,
    ) -> "AsyncGenerator[sse.Message, None]":
        """Yield the server-sent events of GET `path` of a service, as sse.stream."""
        from ytarchive.client import sse

        return sse.stream(self.services[service], path, query, token=self.token, last_event_id=last_event_id)


async def find_system(config: Config) -> System | None:
    """Return the stack that runs on our data directory; else, with `[nats] url`, the services of `[services.*]` when
    they answer; else None."""
    info = await asyncio.to_thread(find_running, config)
    if info is not None:
        return System.of_running(info, config)
    if config.nats.url is None:
        return None
    from ytarchive.client.rest import Rest, error_of

    urls = configured_urls(config)
    token = TokenStore(config).own()
    async with Rest.open(urls["jobs"], token=token) as jobs:
        try:
            answer, status = await jobs.request_once("health")
        except YTArchiveError:
            return None
    if status in {Unauthorized.http_status, Forbidden.http_status, TooManyRequests.http_status}:
        raise error_of(answer.error, status)
    is_jobs = isinstance(answer.data, dict) and answer.data.get("service") == "jobs"
    return System(bus_settings(config), urls, token=token) if is_jobs else None


async def require_system(config: Config) -> System:
    """Return the running system. Raise ServiceUnavailable, which tells how to start one."""
    system = await find_system(config)
    if system is None:
        raise ServiceUnavailable(
            f"No services run on {config.storage.base_data_dir}. Start `ytarchive up` or a `ytarchive download`."
        )
    return system


def configured_urls(config: Config) -> dict[str, str]:
    endpoints: dict[str, Endpoint] = {name: getattr(config.services, name) for name in SERVICES}
    return {name: _url(endpoint) for name, endpoint in endpoints.items()}


def _url(endpoint: Endpoint) -> str:
    """Return the address for a client; a service that is bound to all addresses is reached at the loopback one."""
    host = "127.0.0.1" if endpoint.is_wildcard else endpoint.host
    return f"http://{f'[{host}]' if ':' in host else host}:{endpoint.port}"


def query_of(query: BaseModel | None) -> dict[str, Any]:
    """Return a query model as the parameters of a URL, without bools, which yarl does not take."""
    values = query.model_dump(mode="json", exclude_none=True, by_alias=True) if query is not None else {}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}


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
    async with system.rest(service) as rest:
        return model.model_validate(await rest.get(path, **query_of(query)))
