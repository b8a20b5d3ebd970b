"""`ytarchive events dead list|show|replay|drop`: messages that no handler could process."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation, run_async

if TYPE_CHECKING:
    from services.common.settings.load import Config
    from ytarchive.client.dead_letters import DeadLetter

app = typer.Typer(
    help="Dead letters: invalid messages, and messages whose handler failed, kept for 14 days.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The number of a dead letter, as `list` shows it.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="ID", min=1, help="Numbers, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@app.command("list")
def list_dead_letters(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of results.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    from datetime import UTC, datetime

    from ytarchive.cli.render import dead_letters as render
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.client.dead_letters import DeadLettersClient

    async def read(config: "Config") -> "tuple[list[DeadLetter], int]":
        async with DeadLettersClient.open(config) as client:
            return await client.newest(limit)

    found, total = run_async(read(_config(context)))
    if as_json:
        print_json({"letters": [render.as_json(letter) for letter in found], "total": total}, indent=2)
    else:
        stdout().print(render.dead_letters(found, total, datetime.now(UTC)))


@app.command("show")
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show a dead letter and its message (the first 64 KiB, without secrets)."""
    from datetime import UTC, datetime

    from ytarchive.cli.render import dead_letters as render
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.client.dead_letters import DeadLettersClient

    async def read(config: "Config") -> "tuple[DeadLetter, bool]":
        async with DeadLettersClient.open(config) as client:
            letter = await client.find(number)
            return letter, await client.replayable(letter)

    letter, replayable = run_async(read(_config(context)))
    if as_json:
        print_json({**render.as_json(letter, payload=True), "replayable": replayable}, indent=2)
    else:
        stdout().print(render.dead_letter(letter, datetime.now(UTC), replayable=replayable))


@app.command("replay")
def replay(context: typer.Context, numbers: Numbers = None, every: All = False, as_json: AsJson = False) -> None:
    """Publish the messages of dead letters again, and remove the dead letters.

    A message that fails again gets a new number. Items that a dead letter has ended stay ended: `jobs retry` reopens
    them.
    """
    from ytarchive.client.dead_letters import DeadLettersClient

    async def run(config: "Config") -> "list[DeadLetter]":
        async with DeadLettersClient.open(config) as client:
            letters = await client.select(numbers or [], every=every)
            await client.replay(letters)
        return letters

    _report("replayed", run_async(run(_config(context))), as_json=as_json)


@app.command("drop")
def drop(context: typer.Context, numbers: Numbers = None, every: All = False, as_json: AsJson = False) -> None:
    """Delete dead letters."""
    from ytarchive.client.dead_letters import DeadLettersClient

    async def run(config: "Config") -> "list[DeadLetter]":
        async with DeadLettersClient.open(config) as client:
            letters = await client.select(numbers or [], every=every)
            await client.drop(letters)
        return letters

    _report("dropped", run_async(run(_config(context))), as_json=as_json)


def _config(context: typer.Context) -> "Config":
    from ytarchive.cli.terminal.console import log_to_stderr

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    return config


def _report(action: str, letters: "list[DeadLetter]", *, as_json: bool) -> None:
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.text import count, safe_text

    if as_json:
        print_json({action: [letter.number for letter in letters]})
        return
    out = stdout()
    for letter in letters:
        out.print(f"{letter.number}  {safe_text(letter.event.type)}")
    out.print(f"{count(len(letters), 'dead letter')} {action}.")
