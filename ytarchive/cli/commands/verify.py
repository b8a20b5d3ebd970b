"""`ytarchive storage verify`: are the files still what was archived?"""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.settings.load import Config
    from services.storage.fixity.report import VerificationPage


def verify(
    context: typer.Context,
    video_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these videos.")] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Only this archive root.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Set damaged files aside and fetch them again.")
    ] = True,
    watch: Annotated[
        bool, typer.Option("--watch", help="Only follow the verification that runs, or show the last.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the verification that runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Read all files again and compare them with their records. Exit code 1 when something is damaged.

    Beside a running system damaged files are set aside and fetched again; where nothing runs they are only reported.
    """
    import asyncio

    from services.common.errors import InvalidRequest
    from services.common.validation import validate_video_id
    from ytarchive.cli.exits import Exit

    wrong = [one for one in video_ids or () if not validate_video_id(one)]
    if wrong:
        raise InvalidRequest(f"{wrong[0]!a} is not a video id: it has 11 characters.")
    if (watch or stop) and ((watch and stop) or video_ids or root is not None or not repair):
        raise InvalidRequest("--watch and --stop go alone: they are about the verification that runs.")
    invocation: Invocation = context.obj
    config = invocation.config()
    way = "watch" if watch else "stop" if stop else "verify"
    page, running = asyncio.run(_verify(config, way, root, video_ids or [], repair=repair, as_json=as_json))
    if page is None:
        raise typer.Exit(Exit.INTERRUPTED)
    _show(page, running=running, as_json=as_json)
    if way == "verify" and root is None and not video_ids:
        asyncio.run(_tell_what_is_elsewhere(config, page))
    if page.verification is not None and (page.verification.damaged or page.verification.status == "failed"):
        raise typer.Exit(Exit.FAILED)


async def _verify(
    config: "Config", way: str, root: str | None, video_ids: "Sequence[str]", *, repair: bool, as_json: bool
) -> "tuple[VerificationPage | None, bool]":
    """What came of it, None when the user has seen enough; and whether something runs."""
    from rich.text import Text

    from ytarchive.cli.console import stderr
    from ytarchive.cli.render.verification import Meter
    from ytarchive.cli.running.interruption import Interrupted
    from ytarchive.client import verification
    from ytarchive.client.endpoints import find_system

    console = stderr()
    running = await find_system(config) is not None
    try:
        with Meter(console) as meter:
            match way:
                case "stop":
                    return await verification.stop(config), True
                case "watch":
                    return await verification.watch(config, meter.show), True
            return await verification.verify(config, root, video_ids, meter.show, repair=repair), running
    except verification.StillRuns:
        if not as_json:
            console.print(Text("It goes on. `ytarchive storage verify --watch` follows it again, `--stop` ends it."))
    except Interrupted:
        if not as_json:
            console.print(Text("Stopped. Where nothing runs, nothing is remembered: the next time begins anew."))
    return None, running


async def _tell_what_is_elsewhere(config: "Config", page: "VerificationPage") -> None:
    """What is held in roots that the configuration does not name, say by jobs with an output_dir of their own."""
    from rich.text import Text

    from ytarchive.cli.console import stderr
    from ytarchive.cli.render.text import count, safe_text
    from ytarchive.client import archive

    read = page.verification.roots if page.verification else []
    for one in (await archive.stats(config)).roots:
        if one.videos and one.root not in read:
            words = f"Not read: {count(one.videos, 'video')} in {safe_text(one.root)}. Add it to [storage] roots."
            stderr().print(Text(words, style="yellow"))


def _show(page: "VerificationPage", *, running: bool, as_json: bool) -> None:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.verification import outcome

    if as_json:
        print_json(page.model_dump(mode="json"), indent=2)
    else:
        stdout().print(outcome(page, running=running))
