"""`ytarchive events dead list|show|replay|drop`: messages that nobody could handle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from bus.dead_letter_store import DeadLetterStore, StoredDeadLetter
    from services.common.events import DeadLettered
    from services.common.settings.load import Config

    Store = DeadLetterStore[DeadLettered]
    Stored = StoredDeadLetter[DeadLettered]

app = typer.Typer(
    help="Dead letters: messages that could not be read, or that broke their handler, kept for 14 days.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The letter's number, as `list` shows it.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="ID", min=1, help="Numbers, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="Every letter that there is.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first."""
    import asyncio
    from collections import deque
    from datetime import UTC, datetime

    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.dead_letters import described, letters_table
    from ytarchive.cli.render.displays import print_json

    async def look(config: "Config") -> "tuple[list[Stored], int]":
        newest: deque[Stored] = deque(maxlen=limit)
        total = 0
        async with _opened(config) as box:
            async for letter in box.letters():
                newest.append(letter)
                total += 1
        return list(reversed(newest)), total

    found, total = asyncio.run(look(_config(context)))
    if as_json:
        print_json({"letters": [described(letter) for letter in found], "total": total}, indent=2)
    else:
        stdout().print(letters_table(found, total, datetime.now(UTC)))


@app.command("show")
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one letter with its message (the first 64 KiB of it, without secrets)."""
    import asyncio
    from datetime import UTC, datetime

    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.dead_letters import described, letter_detail
    from ytarchive.cli.render.displays import print_json

    async def look(config: "Config") -> "tuple[Stored, bool]":
        async with _opened(config) as box:
            letter = await _find(box, number)
            return letter, await box.message(letter) is not None

    letter, replayable = asyncio.run(look(_config(context)))
    if as_json:
        print_json({**described(letter, payload=True), "replayable": replayable}, indent=2)
    else:
        stdout().print(letter_detail(letter, datetime.now(UTC), replayable=replayable))


@app.command("replay")
def replay(context: typer.Context, numbers: Numbers = None, every: All = False, as_json: AsJson = False) -> None:
    """Send the messages of letters again, and take the letters off the list.

    What fails again comes back under a new number. Items that a letter has ended stay ended: `jobs retry` opens them.
    """
    import asyncio

    async def again(config: "Config") -> "list[Stored]":
        async with _opened(config) as box:
            letters = await _chosen(box, numbers, every=every)
            for letter in letters:
                await box.replay(letter)
                await box.drop(letter)
        return letters

    _tell("replayed", asyncio.run(again(_config(context))), as_json=as_json)


@app.command("drop")
def drop(context: typer.Context, numbers: Numbers = None, every: All = False, as_json: AsJson = False) -> None:
    """Forget letters for good."""
    import asyncio

    async def forget(config: "Config") -> "list[Stored]":
        async with _opened(config) as box:
            letters = await _chosen(box, numbers, every=every)
            for letter in letters:
                await box.drop(letter)
        return letters

    _tell("dropped", asyncio.run(forget(_config(context))), as_json=as_json)


# --- what they share ----------------------------------------------------------------------------------------------


def _config(context: typer.Context) -> "Config":
    from ytarchive.cli.console import log_to_stderr

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    return config


@asynccontextmanager
async def _opened(config: "Config") -> "AsyncIterator[Store]":
    """Raises ServiceUnavailable when nothing runs: the letters are in the broker's keeping."""
    from bus.dead_letter_store import DeadLetterStore
    from services.common.events import DeadLettered
    from ytarchive.client.connect import connected
    from ytarchive.client.endpoints import require_system

    async with connected(await require_system(config)) as bus:
        yield DeadLetterStore(bus, DeadLettered)


async def _find(box: "Store", number: int) -> "Stored":
    from services.common.errors import NotFound

    letter = await box.find(number)
    if letter is None:
        raise NotFound(f"There is no dead letter {number}: `ytarchive events dead list` shows those that there are.")
    return letter


async def _chosen(box: "Store", numbers: list[int] | None, *, every: bool) -> "list[Stored]":
    """All are looked up before anything is done to the first."""
    from services.common.errors import InvalidRequest

    if bool(numbers) is every:
        raise InvalidRequest("Name the letters by their numbers, or say --all.")
    if every:
        return [letter async for letter in box.letters()]
    return [await _find(box, number) for number in dict.fromkeys(numbers or ())]


def _tell(done: str, letters: "list[Stored]", *, as_json: bool) -> None:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.text import count, safe_text

    if as_json:
        print_json({done: [letter.number for letter in letters]})
        return
    out = stdout()
    for letter in letters:
        out.print(f"{letter.number}  {safe_text(letter.event.type)}")
    out.print(f"{count(len(letters), 'letter')} {done}.")
