"""`ytarchive doctor`."""

from typing import Annotated

import typer

from ytarchive.cli.state import Invocation


def doctor(
    context: typer.Context,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the proxy (or YouTube) and, with an API key, the Data API too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Look whether all is there that ytarchive needs, and say how to mend what is not.

    Exit code 0 says that there is no problem; warnings are none. Nothing is asked of the internet without --online.
    """
    import asyncio
    import os

    from ytarchive.cli.console import stdout
    from ytarchive.cli.doctor.examination import examine
    from ytarchive.cli.doctor.finding import healthy
    from ytarchive.cli.doctor.view import lines
    from ytarchive.cli.exits import Exit
    from ytarchive.cli.render.displays import print_json

    invocation: Invocation = context.obj
    findings = asyncio.run(examine(invocation.config_file, os.environ, online=online))
    if as_json:
        shown = [finding.model_dump(mode="json") for finding in findings]
        print_json({"healthy": healthy(findings), "checks": shown}, indent=2)
    else:
        out = stdout()
        for line in lines(findings):
            out.print(line)
    raise typer.Exit(int(Exit.OK if healthy(findings) else Exit.FAILED))
