"""`ytarchive demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.terminal.options import Invocation


def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="The folder of the demo.")] = Path(
        "ytarchive-demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep/--fresh", help="Keep the results of an earlier run, or start from scratch.")
    ] = True,
) -> None:
    """Archive a playlist from a YouTube emulator on this machine, to show how ytarchive works.

    Exit code 0 when the outcome is the expected one: ten videos saved, two listed as unavailable.
    """
    from ytarchive.cli.commands.download import run_task
    from ytarchive.cli.jobs.job_request import make_request
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.cli.workflows import demo as workflow
    from ytarchive.cli.workflows.run_job import NewJob

    invocation: Invocation = context.obj
    home = directory.expanduser().absolute()
    workflow.prepare(home, fresh=not keep)
    out = stdout()
    workflow.introduce(out, home)
    with workflow.loopback_youtube(home) as config:
        request = make_request([workflow.PLAYLIST], config, captions=workflow.CAPTIONS)
        result = run_task(config, NewJob(request), as_json=False, verbose=invocation.verbose)
    raise typer.Exit(int(workflow.conclude(out, home, result)))
