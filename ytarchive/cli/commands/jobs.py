"""`ytarchive jobs …`: list and show jobs, over REST where a system runs, else from jobs.db; and commands for jobs."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.common.names import JOB_FILTERS
from ytarchive.cli.commands import job_commands
from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import AsJson, Invocation, JobId, Limit, Offset, run_async
from ytarchive.cli.terminal.output import show, validated

if TYPE_CHECKING:
    from services.jobs.rest_models import JobList, JobSummary

app = typer.Typer(help="List, show and control jobs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help=f"Only this status: {', '.join(JOB_FILTERS)}; open: all that have not ended.",
            autocompletion=completion.job_filters,
        ),
    ] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from datetime import UTC, datetime

    from services.jobs.rest_models import JobQuery
    from ytarchive.cli.render.jobs import jobs_table
    from ytarchive.client.jobs import open_jobs

    query = validated(JobQuery, {"status": status, "limit": limit, "offset": offset})
    invocation: Invocation = context.obj
    config = invocation.config()

    async def read() -> "JobList":
        async with open_jobs(config) as jobs:
            return await jobs.jobs(query)

    found = run_async(read())
    show(found, lambda: jobs_table(found, datetime.now(UTC)), as_json=as_json)


@app.command("show")
def show_job(
    context: typer.Context,
    job_id: JobId,
    everything: Annotated[bool, typer.Option("--all", help="List all videos.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a job with its videos.

    Of more than 100 videos, those that run, wait for a scheduled retry, or ended without being saved: up to 50 of each.
    """
    from datetime import UTC, datetime

    from ytarchive.cli.render.jobs import job_summary
    from ytarchive.client.jobs import open_jobs

    invocation: Invocation = context.obj
    config = invocation.config()

    async def read() -> "JobSummary":
        async with open_jobs(config) as jobs:
            found = await jobs.summary((await jobs.find(job_id)).job_id)
            if everything and found.left_out:
                items = [item async for item in jobs.items(found.job.job_id)]
                return found.model_copy(update={"items": items, "left_out": 0})
            return found

    summary = run_async(read())
    show(summary, lambda: job_summary(summary, datetime.now(UTC)), as_json=as_json)


app.command("cancel")(job_commands.cancel)
app.command("pause")(job_commands.pause)
app.command("resume")(job_commands.resume)
app.command("retry")(job_commands.retry)
app.command("watch")(job_commands.watch)
