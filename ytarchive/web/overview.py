"""What the page needs to know about the system as a whole: which services run, their health, the configuration."""

from typing import Any

from pydantic import BaseModel

from services.common.infra.logs import VERSION
from services.common.models import HealthCheck
from services.common.settings.load import Config, describe
from services.common.web.routing import Call, Route
from ytarchive.client.health import check_all
from ytarchive.web.services import Services


class ServiceState(BaseModel):
    """`health` null: the service does not answer; `problem` tells why. `errors`: what is critical, with remedies."""

    name: str
    url: str | None
    health: HealthCheck | None
    problem: str | None
    errors: list[str]


class SystemState(BaseModel):
    """`temporary`: the system of a command that ends with its own job."""

    version: str
    temporary: bool
    services: list[ServiceState]


async def show_system(_call: Call, config: Config, services: Services) -> SystemState:
    """The health of all five services."""
    system = await services.system()
    answers = await check_all(config, system)
    return SystemState(
        version=VERSION,
        temporary=system.temporary,
        services=[
            ServiceState(name=name, url=system.services.get(name), health=None, problem=answer, errors=[])
            if isinstance(answer, str)
            else ServiceState(
                name=name,
                url=system.services.get(name),
                health=answer,
                problem=None,
                errors=answer.critical_errors,
            )
            for name, answer in answers.items()
        ],
    )


class Setting(BaseModel):
    """`origin`: the file or the variable that set it, or `default`."""

    key: str
    value: Any
    origin: str


class Settings(BaseModel):
    """Secrets are masked. `file`: the configuration file, if there is one."""

    file: str | None
    settings: list[Setting]


async def show_settings(_call: Call, config: Config) -> Settings:
    """Every key of the configuration, with its value and where it came from."""
    return Settings(
        file=str(config.source) if config.source else None,
        settings=[Setting(key=key, **described) for key, described in describe(config).items()],
    )


ROUTES = (
    Route("GET", "/api/v1/system", show_system, "The health of all services", response=SystemState, quiet=True),
    Route("GET", "/api/v1/settings", show_settings, "The configuration", response=Settings, scope="operate"),
)
