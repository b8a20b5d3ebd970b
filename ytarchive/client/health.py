"""The health of all five services."""

import asyncio
from collections.abc import Mapping

from pydantic import Field, ValidationError

from services.common.errors import YTArchiveError
from services.common.models import HealthCheck, HealthStatus
from services.common.settings.load import Config
from services.common.web.tokens import TokenStore
from ytarchive.client.endpoints import System, configured_urls, find_system
from ytarchive.client.rest import Rest, error_of


class ExaminedService(HealthCheck):
    """`critical_errors`: of an unhealthy service, each with its remedy."""

    critical_errors: list[str] = Field(default_factory=list, exclude=True)


Answers = Mapping[str, ExaminedService | str]  # by service; a text tells why there is no answer


async def check_all(config: Config, system: System | None = None) -> Answers:
    """Check the services of the running stack (`system`, if it is known) and, for the others, the addresses of
    `[services.*]`."""
    system = system or await find_system(config)
    urls = {**configured_urls(config), **(system.services if system else {})}
    token = TokenStore(config).own()
    answers = await asyncio.gather(*(_check(name, url, token) for name, url in urls.items()))
    return dict(zip(urls, answers, strict=True))


def all_healthy(answers: Answers) -> bool:
    return all(not isinstance(a, str) and a.status is HealthStatus.HEALTHY for a in answers.values())


async def _check(name: str, url: str, token: str | None) -> ExaminedService | str:
    if url.endswith(":0"):
        return "not running"
    async with Rest.open(url, token=token) as rest:
        try:
            answer, status = await rest.request_once("health")
            if answer.data is None:
                raise error_of(answer.error, status)
            details = (answer.error.details if answer.error else None) or {}
            errors = {"critical_errors": details.get("critical_errors", [])}
            check = ExaminedService.model_validate({**answer.data, **errors})
        except YTArchiveError as error:
            return error.message
        except ValidationError:
            return f"{url} is not a service of ytarchive"
    return check if check.service == name else f"{url} is the {check.service} service"
