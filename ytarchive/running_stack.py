"""The stack that runs on this data directory, and how to reach it.

`run/stack.json` has the addresses of a running stack. A stack runs while the lock on `run/stack.lock` is held.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, SecretStr, ValidationError, field_serializer

from bus import BusSettings
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.infra.files import LockHeld, lock_holder, locked
from services.common.settings.load import Config


class StackInfo(BaseModel):
    """run/stack.json, mode 0600: the addresses of a running stack. `services` maps names to REST base URLs; `web` is
    the address of the page, if it is served.

    `passing`: the stack of a one-shot command, which ends with its job.
    """

    pid: int
    started_at: AwareDatetime
    nats_url: str
    nats_token: SecretStr | None = None  # of the embedded broker only
    services: dict[str, str]
    passing: bool = False
    web: str | None = None

    @field_serializer("nats_token", when_used="json")
    def _write_token(self, token: SecretStr | None) -> str | None:
        return token.get_secret_value() if token else None

    def bus_settings(self, config: Config) -> BusSettings:
        """Return the connection settings for a client of this stack. Credentials of an external broker come from the
        client's configuration."""
        if self.nats_token is None:
            return bus_settings(config, url=self.nats_url)
        return bus_settings(config, url=self.nats_url, token=self.nats_token)


def bus_settings(config: Config, *, url: str | None = None, token: SecretStr | None = None) -> BusSettings:
    """Return the settings of `[nats]` for the bus. With a `token` (of an embedded broker) others are ignored."""
    nats = config.nats
    limits = {
        "replicas": nats.replicas,
        "events_max_bytes": nats.events_max_bytes,
        "logs_max_bytes": nats.logs_max_bytes,
        "ack_wait": nats.ack_wait,
    }
    address = url or nats.url
    if address is None:
        raise ServiceUnavailable("No broker: set [nats] url, or start `ytarchive up`.")
    if token is not None:
        return BusSettings.model_validate({"url": address, "token": token, **limits})
    credentials = {key: getattr(nats, key) for key in ("user", "password", "token", "credentials_file", "ca_file")}
    return BusSettings.model_validate({"url": address, **credentials, **limits})


def find_running(config: Config) -> StackInfo | None:
    """Return the stack that runs on this data directory, None while there is none or it is not ready."""
    if lock_holder(lock_path(config)) is None:
        return None
    try:
        info = StackInfo.model_validate_json(info_path(config).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # it is starting or stopping
    return info if info.pid == lock_holder(lock_path(config)) else None


@contextmanager
def held_stopped(config: Config) -> Iterator[None]:
    """Keep stacks from starting on this data directory. Raise InvalidRequest while one runs."""
    try:
        with locked(lock_path(config)):
            yield
    except LockHeld as error:
        raise InvalidRequest(
            f"A stack (process {error.pid}) runs on {config.storage.base_data_dir}. Stop it first."
        ) from error


def lock_path(config: Config) -> Path:
    return config.storage.run_dir / "stack.lock"


def info_path(config: Config) -> Path:
    return config.storage.run_dir / "stack.json"
