"""`ytarchive up` and `ytarchive service NAME`: services in the foreground."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.names import SERVICES, ServiceName
from ytarchive.cli.terminal.options import Invocation

if TYPE_CHECKING:
    from ytarchive.stack import Stack


def up(context: typer.Context) -> None:
    """Run all services until Ctrl-C or SIGTERM."""
    _serve(context.obj, SERVICES)


def service(
    context: typer.Context,
    name: Annotated[ServiceName, typer.Argument(metavar="NAME", help="jobs, metadata, download, storage or logging.")],
) -> None:
    """Run one service until Ctrl-C or SIGTERM, with the broker of [nats] url or of the stack on this machine."""
    _serve(context.obj, [name])


def _serve(invocation: Invocation, names: Sequence[ServiceName]) -> None:
    import asyncio

    from ytarchive.cli.terminal.console import log_to_stderr, name_configuration
    from ytarchive.stack import run_services

    config = invocation.config()
    name_configuration(config)
    log_to_stderr(config, "DEBUG" if invocation.verbose else config.general.log_level)
    on_ready = _up_is_ready if names == SERVICES else _print_addresses
    asyncio.run(run_services(names, config, on_ready=on_ready))


def _up_is_ready(stack: "Stack") -> None:
    """Also ask daily for the newest yt-dlp, so that a block can name it."""
    from functools import partial

    from services.common.youtube.ytdlp.release import ask_daily

    config = stack.config
    if config.updates.check:
        ask = partial(ask_daily, config.updates.releases_url, config.storage.run_dir)
        stack.services["download"].spawn(ask, "newest yt-dlp")
    _print_addresses(stack)


def _print_addresses(stack: "Stack") -> None:
    from ytarchive.cli.terminal.console import stdout

    out = stdout()
    for name, service in stack.services.items():
        out.print(f"{name:<9} {service.url}")
    out.print("Ready. Ctrl-C stops.")
    out.file.flush()
