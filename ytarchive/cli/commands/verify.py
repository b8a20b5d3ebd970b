"""`ytarchive storage verify`: compare the archived files with their manifests."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.settings.load import Config
    from services.storage.fixity.report import VerificationPage
    from ytarchive.cli.render.verification import VerificationProgress
    from ytarchive.cli.terminal.interruption import Interruption
    from ytarchive.client.endpoints import System

Action = Literal["verify", "watch", "stop"]


def verify(
    context: typer.Context,
    video_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these videos.")] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Only this archive root.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Move damaged files aside and download them again.")
    ] = True,
    watch: Annotated[
        bool, typer.Option("--watch", help="Only follow the running verification, or show the last one.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the running verification.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read all files again and compare them with their manifests. Exit code 1 when there is damage.

    With a running system, damaged files are moved aside and downloaded again; otherwise they are only reported.
    """
    from services.common.errors import InvalidRequest
    from services.common.validation import validate_video_id
    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render.verification import report
    from ytarchive.cli.terminal.output import show

    invalid = [one for one in video_ids or () if not validate_video_id(one)]
    if invalid:
        raise InvalidRequest(f"{invalid[0]!a} is not a video id: a video id has 11 characters.")
    if (watch or stop) and ((watch and stop) or video_ids or root is not None or not repair):
        raise InvalidRequest("--watch and --stop refer to the running verification and exclude all other options.")
    invocation: Invocation = context.obj
    config = invocation.config()
    action: Action = "watch" if watch else "stop" if stop else "verify"
    page, running = run_async(_verify(config, action, root, video_ids or [], repair=repair, as_json=as_json))
    if page is None:
        raise typer.Exit(Exit.INTERRUPTED)
    show(page, lambda: report(page, running=running), as_json=as_json)
    if action == "verify" and root is None and not video_ids:
        run_async(_report_other_roots(config, page))
    if page.verification is not None and (page.verification.damaged or page.verification.status == "failed"):
        raise typer.Exit(Exit.FAILED)


async def _verify(
    config: "Config", action: Action, root: str | None, video_ids: "Sequence[str]", *, repair: bool, as_json: bool
) -> "tuple[VerificationPage | None, bool]":
    """Return the findings, or None when the user interrupted; and whether a system runs."""
    from rich.text import Text

    from ytarchive.cli.render.verification import VerificationProgress
    from ytarchive.cli.terminal.console import stderr
    from ytarchive.cli.terminal.interruption import Interrupted, Interruption
    from ytarchive.client.endpoints import find_system, require_system
    from ytarchive.client.verification import verify_offline

    console = stderr()
    system = await find_system(config) if action == "verify" else await require_system(config)
    try:
        with VerificationProgress(console) as progress, Interruption() as interruption:
            if system is None:
                return await interruption.unless(verify_offline(config, root, video_ids, progress.show)), False
            page = await _verify_on(system, action, root, video_ids, progress, interruption, repair=repair)
            return page, True
    except Interrupted:
        message = (
            "Stopped. Without a running system no progress is kept: the next verification starts from the beginning."
            if system is None
            else "The verification continues. `ytarchive storage verify --watch` follows it, `--stop` stops it."
        )
        if not as_json:
            console.print(Text(message))
    return None, system is not None


async def _verify_on(
    system: "System",
    action: Action,
    root: str | None,
    video_ids: "Sequence[str]",
    progress: "VerificationProgress",
    interruption: "Interruption",
    *,
    repair: bool,
) -> "VerificationPage":
    from ytarchive.client.verification import VerificationClient

    async with VerificationClient.open(system) as client:
        if action == "stop":
            return await client.stop()
        if action == "verify":
            await client.start(root, video_ids, repair=repair)
        return await interruption.unless(client.follow(progress.show))


async def _report_other_roots(config: "Config", page: "VerificationPage") -> None:
    """Warn about videos in roots that the configuration does not name, for example those of jobs with an output_dir."""
    from rich.text import Text

    from ytarchive.cli.terminal.console import stderr
    from ytarchive.client.archive import ArchiveClient
    from ytarchive.text import count, safe_text

    read = page.verification.roots if page.verification else []
    for one in (await ArchiveClient(config).stats()).roots:
        if one.videos and one.root not in read:
            message = f"Not verified: {count(one.videos, 'video')} in {safe_text(one.root)}. Add it to [storage] roots."
            stderr().print(Text(message, style="yellow"))
