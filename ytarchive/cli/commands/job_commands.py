"""`ytarchive jobs cancel|pause|resume|retry|watch`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation, JobId, run_async
from ytarchive.text import short_id

if TYPE_CHECKING:
    from services.common.domain.jobs import Item, Job
    from services.common.settings.load import Config
    from ytarchive.client.endpoints import System
    from ytarchive.client.job_commands import CommandOutcome, JobCommand


def cancel(
    context: typer.Context,
    job_id: JobId,
    video: Annotated[
        str | None, typer.Option("--video", metavar="VIDEO", help="Cancel only this video, by id or URL.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job: complete videos stay archived, partial downloads are removed."""
    _run_command(context.obj, "cancel", job_id, as_json=as_json, video=video)


def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job: running downloads are finished, no new ones are started."""
    _run_command(context.obj, "pause", job_id, as_json=as_json)


def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Continue a job that is paused or was left open.

    Without a running system, this runs the job and follows it, as `ytarchive download` does.
    """
    _run_command(context.obj, "resume", job_id, as_json=as_json)


def retry(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Retry the failed, unavailable and cancelled videos of an ended job.

    Without a running system, this runs the job and follows it, as `ytarchive download` does.
    """
    _run_command(context.obj, "retry", job_id, as_json=as_json)


def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Follow a job to its end; exit codes as for `ytarchive download`. Ctrl-C only stops watching."""
    from ytarchive.cli.commands.download import choose_display
    from ytarchive.cli.terminal.console import log_to_stderr
    from ytarchive.cli.workflows.watch import Watch

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    display = choose_display(as_json=as_json)
    result = run_async(Watch(config, job_id, display).run())
    display.finish(result)
    raise typer.Exit(int(result.exit))


# --- running a command --------------------------------------------------------------------------------------------


def _run_command(
    invocation: Invocation, kind: str, id_or_prefix: str, *, as_json: bool, video: str | None = None
) -> None:
    from services.common.errors import InvalidRequest
    from ytarchive.cli.render.job_commands import explain_refusal, nothing_to_retry, outcome_message
    from ytarchive.cli.terminal.console import log_to_stderr

    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "WARNING")
    command, system = run_async(_find(config, kind, id_or_prefix, video))
    try:
        outcome = run_async(_send(config, command, system))
    except InvalidRequest as error:
        if nothing_to_retry(command):
            short = short_id(command.job.job_id)
            message = f"Job {short} has no failed or unavailable videos: there is nothing to retry."
            _show(command.job, None, message, as_json)
            return
        raise explain_refusal(command, error) from error
    if command.continues_job and (system is None or system.temporary):
        raise typer.Exit(_continue_here(invocation, config, command, sent=system is not None, as_json=as_json))
    if outcome is None:
        raise typer.Exit(130)
    _show(outcome.job, outcome.item, outcome_message(command, outcome), as_json)


async def _find(
    config: "Config", kind: str, id_or_prefix: str, video: str | None
) -> "tuple[JobCommand, System | None]":
    """Return the command for the job, and the running system. Raise InvalidRequest, NotFound."""
    from services.common.targets import parse_target
    from ytarchive.client.endpoints import find_system
    from ytarchive.client.job_commands import JobCommand, JobCommandKind
    from ytarchive.client.jobs import open_jobs

    async with open_jobs(config) as jobs:
        job = await jobs.find(id_or_prefix)
    video_id = parse_target(video).id if video is not None else None
    return JobCommand(JobCommandKind(kind), job, video_id), await find_system(config)


async def _send(config: "Config", command: "JobCommand", system: "System | None") -> "CommandOutcome | None":
    """Send a command to the running system. Without one, check it first; a command that continues a job is then not
    sent. Return None when it was not sent, or the user interrupted."""
    from contextlib import AsyncExitStack

    from ytarchive.cli.terminal.console import stderr
    from ytarchive.cli.terminal.interruption import Interrupted, Interruption
    from ytarchive.client.job_commands import check_offline, send_command

    if system is None:
        await check_offline(config, command)
        if command.continues_job:
            return None
    with Interruption() as interruption:
        try:
            async with AsyncExitStack() as resources:
                return await interruption.unless(send_command(config, command, resources, stderr().print))
        except Interrupted:
            return None


def _continue_here(
    invocation: Invocation, config: "Config", command: "JobCommand", *, sent: bool, as_json: bool
) -> int:
    """No stack runs permanently: run the job in this process and follow it. Return the exit code."""
    from ytarchive.cli.commands.download import run_task
    from ytarchive.cli.workflows.run_job import ContinuedJob
    from ytarchive.client.job_commands import root_outside_configuration

    task = ContinuedJob(command, root_outside_configuration(command.job, config), sent)
    return int(run_task(config, task, as_json=as_json, verbose=invocation.verbose).exit)


def _show(job: "Job", item: "Item | None", message: str, as_json: bool) -> None:
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout

    if not as_json:
        stdout().print(message)
        return
    shown = {"job": job.model_dump(mode="json"), "message": message}
    print_json(shown | ({"item": item.model_dump(mode="json")} if item else {}), indent=2)
