"""`ytarchive events tail`: the events on the bus, as they happen."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.commands import dead_letters
from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import Invocation, run_async

if TYPE_CHECKING:
    from bus.message import Envelope
    from services.common.settings.load import Config

app = typer.Typer(
    help="Show the events and dead letters of a running system.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(dead_letters.app, name="dead")


@app.command("tail")
def tail(
    context: typer.Context,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="TYPE", help="Only this type, such as download.progress or download.*; repeatable."
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="ID", help="Only this job, by id or prefix.", autocompletion=completion.job_ids),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Envelopes as JSON, one per line.")] = False,
) -> None:
    """Show events until Ctrl-C. Log records and heartbeats are shown only when --type matches them."""
    from ytarchive.cli.terminal.console import log_to_stderr

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    raise typer.Exit(run_async(_tail(config, types or [], job, as_json=as_json)))


async def _tail(config: "Config", types: list[str], job: str | None, *, as_json: bool) -> int:
    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render.events import envelope_line
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.cli.terminal.interruption import Interrupted, Interruption
    from ytarchive.client.endpoints import require_system
    from ytarchive.client.events import event_types, follow_events

    kinds = event_types(types)
    out = stdout()

    def show(envelope: "Envelope") -> None:
        if as_json:
            print_json(envelope.model_dump(mode="json"))
        else:
            out.print(envelope_line(envelope))

    with Interruption() as interruption:
        try:
            system = await interruption.unless(require_system(config))
            await interruption.unless(follow_events(system, config, kinds, job, show))
        except Interrupted:
            return Exit.INTERRUPTED
    return Exit.OK
