"""`ytarchive up` and `ytarchive service NAME`: services in the foreground."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from ytarchive.stack import Stack


class Name(StrEnum):
    """The services of ytarchive.stack.SERVICES (a test keeps them equal)."""

    JOBS = "jobs"
    METADATA = "metadata"
    DOWNLOAD = "download"
    STORAGE = "storage"
    LOGGING = "logging"


def up(context: typer.Context) -> None:
    """Run all services until Ctrl-C or SIGTERM."""
    from ytarchive.stack import SERVICES

    _serve(context.obj, list(SERVICES))


def service(
    context: typer.Context,
    name: Annotated[Name, typer.Argument(metavar="NAME", help="jobs, metadata, download, storage or logging.")],
) -> None:
    """Run one service until Ctrl-C or SIGTERM: on [nats] url, or on the stack that runs here."""
    _serve(context.obj, [name.value])


def _serve(invocation: Invocation, names: list[str]) -> None:
    import asyncio

    from ytarchive.cli.console import log_to_stderr
    from ytarchive.stack import run_services

    config = invocation.config()
    log_to_stderr(config, "DEBUG" if invocation.verbose else config.general.log_level)
    asyncio.run(run_services(names, config, on_ready=_ready))


def _ready(stack: "Stack") -> None:
    from ytarchive.cli.console import stdout

    out = stdout()
    for name, service in stack.services.items():
        out.print(f"{name:<9} {service.url}")
    out.print("Ready. Ctrl-C stops.")
    out.file.flush()
