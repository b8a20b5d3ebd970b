"""Where the services are: those of the stack in this process, of the one on this machine, or of the configuration."""

import time

from services.common.errors import ServiceUnavailable
from services.common.names import SERVICES, ServiceName
from services.common.settings.load import Config
from ytarchive.client.endpoints import System, find_system

_BELIEVED = 5.0  # seconds that a found system is not looked for again


class Services:
    """The addresses of the five services. `own`: the system of this process, which is never looked for."""

    def __init__(self, config: Config, own: System | None = None) -> None:
        self._config = config
        self._own = own
        self._found: System | None = None
        self._found_at = 0.0

    async def system(self) -> System:
        """Return the running system. Raise ServiceUnavailable, which tells how to start one."""
        if self._own is not None:
            return self._own
        if self._found is None or time.monotonic() - self._found_at > _BELIEVED:
            self._found = await find_system(self._config)
            self._found_at = time.monotonic()
        if self._found is None:
            raise ServiceUnavailable(
                f"No services run on {self._config.storage.base_data_dir}. Start them with `ytarchive up`."
            )
        return self._found

    async def address(self, service: ServiceName) -> tuple[str, str | None]:
        """Return the base URL of a service, and the token to send. Raise ServiceUnavailable."""
        system = await self.system()
        url = system.services.get(service)
        if url is None:
            running = ", ".join(name for name in SERVICES if name in system.services)
            raise ServiceUnavailable(f"The {service} service does not run; running: {running or 'none'}.")
        return url, system.token

    def forget(self) -> None:
        """Look for the system again at the next request: what was known does not answer."""
        self._found = None
