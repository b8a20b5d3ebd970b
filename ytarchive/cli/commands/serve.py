"""`ytarchive up`, `ytarchive service NAME` and `ytarchive web`: services and the page, in the foreground."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.names import SERVICES, ServiceName
from ytarchive.cli.terminal.options import Invocation

if TYPE_CHECKING:
    from ytarchive.stack import Stack


def up(context: typer.Context) -> None:
    """Run all services and the page until Ctrl-C or SIGTERM."""
    _serve(context.obj, SERVICES)


def service(
    context: typer.Context,
    name: Annotated[ServiceName, typer.Argument(metavar="NAME", help="jobs, metadata, download, storage or logging.")],
) -> None:
    """Run one service until Ctrl-C or SIGTERM, with the broker of [nats] url or of the stack on this machine."""
    _serve(context.obj, [name])


def web(context: typer.Context) -> None:
    """Serve the page alone, for services that run elsewhere or were started without it, until Ctrl-C or SIGTERM."""
    import asyncio

    from ytarchive.cli.terminal.console import log_to_stderr, name_configuration
    from ytarchive.web.server import run

    invocation: Invocation = context.obj
    config = invocation.config()
    name_configuration(config)
    log_to_stderr(config, "DEBUG" if invocation.verbose else config.general.log_level)
    asyncio.run(run(config, on_ready=_print_page))


def _serve(invocation: Invocation, names: Sequence[ServiceName]) -> None:
    import asyncio

    from ytarchive.cli.terminal.console import log_to_stderr, name_configuration
    from ytarchive.stack import run_services

    config = invocation.config()
    name_configuration(config)
    log_to_stderr(config, "DEBUG" if invocation.verbose else config.general.log_level)
    if names == SERVICES:
        beside = page_of if config.web.enabled else None
        asyncio.run(run_services(names, config, on_ready=_up_is_ready, beside=beside))
    else:
        asyncio.run(run_services(names, config, on_ready=_print_addresses))


@asynccontextmanager
async def page_of(stack: "Stack") -> AsyncIterator[None]:
    """Serve the page of a stack. Where its port is taken, the services run without it, and it is said."""
    from services.common.errors import ConfigError
    from ytarchive.cli.terminal.console import stderr
    from ytarchive.client.endpoints import System
    from ytarchive.web.server import serving

    async with AsyncExitStack() as resources:
        try:
            server = await resources.enter_async_context(serving(stack.config, System.of_own(stack)))
        except ConfigError as error:
            stderr().print(f"The page is not served. {error}", style="yellow")
        else:
            await stack.publish_page(server.url)
        yield


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
    if stack.info is not None and stack.info.web is not None:
        out.print(f"{'page':<9} {stack.info.web}")
    out.print("Ready. Ctrl-C stops.")
    out.file.flush()


def _print_page(url: str) -> None:
    from ytarchive.cli.terminal.console import stdout

    out = stdout()
    out.print(f"page      {url}")
    out.print("Ready. Ctrl-C stops.")
    out.file.flush()
