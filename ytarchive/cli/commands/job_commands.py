"""`ytarchive jobs cancel|pause|resume|retry|watch`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli import completion
from ytarchive.cli.render.text import short_id
from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from services.common.models import Item, Job
    from services.common.settings.load import Config
    from ytarchive.client.endpoints import System
    from ytarchive.client.job_commands import Kind, Outcome, Wish

JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job's id, or the beginning of it.", autocompletion=completion.job_ids)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def cancel(
    context: typer.Context,
    job_id: JobId,
    video: Annotated[str | None, typer.Option("--video", metavar="VIDEO", help="Only this video of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job for good: what is complete stays archived, what is not goes."""
    from ytarchive.client.job_commands import Kind

    _wish(context.obj, Kind.CANCEL, job_id, as_json=as_json, video=video)


def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Begin nothing more of a job; what runs of it ends."""
    from ytarchive.client.job_commands import Kind

    _wish(context.obj, Kind.PAUSE, job_id, as_json=as_json)


def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Go on with a job that is paused or was left open.

    Where nothing runs, this does the job and follows it, as `ytarchive download` does.
    """
    from ytarchive.client.job_commands import Kind

    _wish(context.obj, Kind.RESUME, job_id, as_json=as_json)


def retry(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Try the gaps of an ended job again, and only those.

    Where nothing runs, this does the job and follows it, as `ytarchive download` does.
    """
    from ytarchive.client.job_commands import Kind

    _wish(context.obj, Kind.RETRY, job_id, as_json=as_json)


def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Follow a job to its end; exit codes as of `ytarchive download`. Ctrl-C only stops watching."""
    import asyncio

    from ytarchive.cli.commands.download import choose_display
    from ytarchive.cli.console import log_to_stderr
    from ytarchive.cli.running.watch import Watch

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    display = choose_display(as_json=as_json)
    result = asyncio.run(Watch(config, job_id, display).run())
    display.finish(result)
    raise typer.Exit(int(result.exit))


# --- how a wish is carried out ------------------------------------------------------------------------------------


def _wish(invocation: Invocation, kind: "Kind", wanted: str, *, as_json: bool, video: str | None = None) -> None:
    import asyncio

    from ytarchive.cli.console import log_to_stderr
    from ytarchive.client.job_commands import Kind, has_gaps, told

    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "WARNING")
    wish, system = asyncio.run(_understood(config, kind, wanted, video))
    if kind is Kind.RETRY and not has_gaps(wish.job):
        _say_job(
            wish.job, None, f"Job {short_id(wish.job.job_id)} has no gaps: there is nothing to try again.", as_json
        )
        return
    stays = system is not None and not system.passing
    if kind in {Kind.RETRY, Kind.RESUME} and not stays:
        raise typer.Exit(_go_on(invocation, config, wish, as_json=as_json))
    outcome = asyncio.run(_fulfilled(config, wish))
    if outcome is None:
        raise typer.Exit(130)
    _say_job(outcome.job, outcome.item, told(wish, outcome), as_json)


def _say_job(job: "Job", item: "Item | None", words: str, as_json: bool) -> None:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json

    if not as_json:
        stdout().print(words)
        return
    shown = {"job": job.model_dump(mode="json"), "message": words}
    print_json(shown | ({"item": item.model_dump(mode="json")} if item else {}), indent=2)


async def _understood(config: "Config", kind: "Kind", wanted: str, video: str | None) -> tuple["Wish", "System | None"]:
    """The wish, if it makes sense, and what runs. Raises InvalidRequest, NotFound."""
    from ytarchive.client.endpoints import find_system
    from ytarchive.client.job_commands import Wish, check, checked_item
    from ytarchive.client.jobs import all_items, find_job, open_jobs

    async with open_jobs(config) as source:
        job = await find_job(source, wanted)
        check(kind, job)
        video_id = checked_item(await all_items(source, job.job_id), video).video_id if video is not None else None
    return Wish(kind, job, video_id), await find_system(config)


def _go_on(invocation: Invocation, config: "Config", wish: "Wish", *, as_json: bool) -> int:
    """Nothing runs that stays: do the job here and follow it."""
    from ytarchive.cli.commands.download import carry_out
    from ytarchive.client.job_commands import GoOn, root_beyond

    errand = GoOn(wish, root_beyond(wish.job, config))
    return int(carry_out(config, errand, as_json=as_json, verbose=invocation.verbose).exit)


async def _fulfilled(config: "Config", wish: "Wish") -> "Outcome | None":
    """None: interrupted."""
    from contextlib import AsyncExitStack

    from ytarchive.cli.running.interruption import Interrupted, Interruption
    from ytarchive.client.job_commands import fulfil

    with Interruption() as interruption:
        try:
            async with AsyncExitStack() as held:
                return await interruption.unless(fulfil(config, wish, held))
        except Interrupted:
            return None
