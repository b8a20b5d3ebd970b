"""`ytarchive services`, `quota` and `cleanup`: what a running system says of itself, and what retention removes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from services.common.settings.load import Config

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def services(context: typer.Context, as_json: AsJson = False) -> None:
    """List the services that are alive, as jobs knows them."""
    from ytarchive.cli.render import cleanup as render

    found = _ask(context, "jobs", "GET", "registry/services")
    _show(found, as_json, lambda: render.services(found["services"]))


def quota(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what is left of the Data API's quota today."""
    from ytarchive.cli.render import cleanup as render

    found = _ask(context, "metadata", "GET", "metadata/quota")
    _show(found, as_json, lambda: render.quota(found))


def cleanup(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove ended jobs and logs that [retention] keeps no longer. Work plans and the archive stay.

    A running system does it by itself, at its start and daily; with nothing running only --dry-run is possible.
    """
    import asyncio

    from ytarchive.cli.render import cleanup as render

    invocation: Invocation = context.obj
    found = asyncio.run(_clean_up(invocation.config(), dry_run))
    _show(found, as_json, lambda: render.cleanup(found))


async def _clean_up(config: "Config", dry_run: bool) -> dict[str, Any]:
    from ytarchive.client.endpoints import find_system, require_system
    from ytarchive.client.rest import Rest

    if dry_run and await find_system(config) is None:
        return await _foresee(config)
    system = await require_system(config)
    async with Rest.open(system.services["jobs"]) as jobs, Rest.open(system.services["logging"]) as logging:
        said = {"dry_run": dry_run}
        return {
            "jobs": await jobs.send("POST", "jobs/cleanup", said),
            "logs": await logging.send("POST", "logs/cleanup", said),
        }


async def _foresee(config: "Config") -> dict[str, Any]:
    """What a system would remove at its start, from its files."""
    from services.jobs.offline import OfflineJobs
    from services.logging.offline import OfflineLogs

    async with OfflineJobs.open(config) as offline:
        jobs = await offline.cleanup_preview()
    logs = await OfflineLogs(config).cleanup_preview()
    return {"jobs": jobs.model_dump(mode="json"), "logs": logs.model_dump(mode="json")}


def _ask(context: typer.Context, service: str, method: str, path: str) -> Any:
    import asyncio

    from ytarchive.client.endpoints import require_system
    from ytarchive.client.rest import Rest

    invocation: Invocation = context.obj
    config = invocation.config()

    async def send() -> Any:
        system = await require_system(config)
        async with Rest.open(system.services[service]) as rest:
            return await rest.get(path) if method == "GET" else await rest.send(method, path)

    return asyncio.run(send())


def _show(data: Any, as_json: bool, view: Any) -> None:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json

    if as_json:
        print_json(data, indent=2)
    else:
        stdout().print(view())
