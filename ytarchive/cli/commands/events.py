"""`ytarchive events tail`: what happens on the bus, as it happens."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli import completion
from ytarchive.cli.commands import dead_letters
from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from bus.message import Envelope
    from services.common.settings.load import Config

app = typer.Typer(help="Look at the events of a running system.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dead_letters.app, name="dead")


@app.command("tail")
def tail(
    context: typer.Context,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only this type, as download.progress or download.*; repeatable."),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="ID", help="Only of this job (or beginning).", autocompletion=completion.job_ids),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The envelopes, one a line.")] = False,
) -> None:
    """Show events until Ctrl-C. Log records and heartbeats only when --type names them."""
    import asyncio

    from ytarchive.cli.console import log_to_stderr

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    raise typer.Exit(asyncio.run(_tail(config, types or [], job, as_json=as_json)))


async def _tail(config: "Config", types: list[str], job: str | None, *, as_json: bool) -> int:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.exits import Exit
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import envelope_line
    from ytarchive.cli.running.interruption import Interrupted, Interruption
    from ytarchive.client.endpoints import require_system
    from ytarchive.client.events import chosen_kinds, tail_events

    kinds = chosen_kinds(types)
    out = stdout()

    def show(envelope: "Envelope") -> None:
        if as_json:
            print_json(envelope.model_dump(mode="json"))
        else:
            out.print(envelope_line(envelope))

    with Interruption() as interruption:
        try:
            system = await interruption.unless(require_system(config))
            await interruption.unless(tail_events(system, config, kinds, job, show))
        except Interrupted:
            return Exit.INTERRUPTED
    return Exit.OK
