"""`ytarchive logs` and `trace`: over REST where a system runs, else from the journals."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import AsJson, Invocation, Limit, Offset, run_async
from ytarchive.cli.terminal.output import show, validated

if TYPE_CHECKING:
    from services.common.settings.load import Config
    from services.logging.queries import LogQuery


def logs(
    context: typer.Context,
    service: Annotated[
        str | None, typer.Option(help="Only this service.", autocompletion=completion.service_names)
    ] = None,
    level: Annotated[Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Minimum level.")] = None,
    search: Annotated[str | None, typer.Option(help="Only records that contain this text.")] = None,
    trace_id: Annotated[str | None, typer.Option("--trace", help="Only records of this trace.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new records until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show log records of the services, newest last. With --follow and --json: one record per line."""
    from services.logging.queries import LogQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client.logs import LogsClient

    options = {
        "service": service,
        "level": level,
        "search": search,
        "trace_id": trace_id,
        "limit": limit,
        "offset": offset,
    }
    query = validated(LogQuery, options)
    invocation: Invocation = context.obj
    config = invocation.config()
    if follow:
        raise typer.Exit(run_async(_follow(config, query, as_json=as_json)))
    found = run_async(LogsClient(config).search(query))
    show(found, lambda: render.log_records(found.logs[::-1]), as_json=as_json)


def trace(
    context: typer.Context,
    trace_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="The trace id of a job or a request.", autocompletion=completion.trace_ids),
    ],
    limit: Limit = 500,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Show the events and log records of a trace in order."""
    from services.common.web.paging import PageQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client.logs import LogsClient

    invocation: Invocation = context.obj
    query = PageQuery(limit=limit, offset=offset)
    found = run_async(LogsClient(invocation.config()).trace(trace_id, query))
    show(found, lambda: render.log_records(found.entries), as_json=as_json)


async def _follow(config: "Config", query: "LogQuery", *, as_json: bool) -> int:
    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render import archive as render
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stderr, stdout
    from ytarchive.cli.terminal.interruption import Interrupted, Interruption
    from ytarchive.client.logs import LogsClient

    out, err = stdout(), stderr()

    def show_record(record: dict[str, Any]) -> None:
        if as_json:
            print_json(record)
        else:
            out.print(render.log_records([record]))

    with Interruption() as interruption:
        try:
            await interruption.unless(LogsClient(config).follow(query.filter, show_record, err.print))
        except Interrupted:
            return Exit.INTERRUPTED
    return Exit.OK
