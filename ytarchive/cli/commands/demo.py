"""`ytarchive demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.state import Invocation


def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where everything of the demo goes.")] = Path(
        "ytarchive-demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep/--fresh", help="Keep what an earlier run left there, or begin anew.")
    ] = True,
) -> None:
    """Archive a playlist from a small YouTube on this machine, to see how it all works.

    Exit code 0 says that the outcome was the expected one: ten videos saved, two gaps named.
    """
    from ytarchive.cli.commands.download import carry_out
    from ytarchive.cli.console import stdout
    from ytarchive.cli.running import demonstration
    from ytarchive.cli.running.job_request import place_order

    invocation: Invocation = context.obj
    home = directory.expanduser().absolute()
    demonstration.prepare(home, fresh=not keep)
    out = stdout()
    demonstration.introduce(out, home)
    with demonstration.loopback_youtube(home) as config:
        order = place_order([demonstration.PLAYLIST], config, captions=demonstration.CAPTIONS)
        result = carry_out(config, order, as_json=False, verbose=invocation.verbose)
    raise typer.Exit(int(demonstration.conclude(out, home, result)))
