"""`ytarchive demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.terminal.options import Invocation

if TYPE_CHECKING:
    from services.common.settings.load import Config


def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="The folder of the demo.")] = Path(
        "ytarchive-demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep/--fresh", help="Keep the results of an earlier run, or start from scratch.")
    ] = True,
    serve: Annotated[
        bool, typer.Option("--serve", help="Then serve the page of the demo's archive, until Ctrl-C.")
    ] = False,
) -> None:
    """Archive a playlist from a YouTube emulator on this machine, to show how ytarchive works.

    Exit code 0 when the outcome is the expected one: ten videos saved, two listed as unavailable.
    """
    from ytarchive.cli.commands.download import run_task
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.cli.workflows import demo as workflow
    from ytarchive.cli.workflows.run_job import NewJob
    from ytarchive.planning.job_request import make_request

    invocation: Invocation = context.obj
    home = directory.expanduser().absolute()
    workflow.prepare(home, fresh=not keep)
    out = stdout()
    workflow.introduce(out, home)
    with workflow.loopback_youtube(home) as config:
        request = make_request([workflow.PLAYLIST], config, captions=workflow.CAPTIONS)
        result = run_task(config, NewJob(request), as_json=False, verbose=invocation.verbose)
        code = int(workflow.conclude(out, home, result))
        if serve and code == 0:
            _serve(config)
    raise typer.Exit(code)


def _serve(config: "Config") -> None:
    """Run the services and the page while the emulator runs, so that more can be fetched."""
    import asyncio

    from services.common.names import SERVICES
    from ytarchive.cli.commands.serve import page_of
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.stack import Stack, run_services

    def ready(stack: Stack) -> None:
        out = stdout()
        address = (stack.info and stack.info.web) or ""
        out.print(f"The page of the demo: {address}\nCtrl-C stops it.")
        out.file.flush()
        if address and out.is_terminal:
            typer.launch(address)

    asyncio.run(run_services(SERVICES, config, beside=page_of, on_ready=ready))
