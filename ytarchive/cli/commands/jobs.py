"""`ytarchive jobs …`: list and show jobs, over REST where a system runs, else from jobs.db; and commands for jobs."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.common.names import JOB_FILTERS
from ytarchive.cli.commands import job_commands
from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import AsJson, Invocation, JobId, Limit, Offset, run_async
from ytarchive.cli.terminal.output import show, show_data, validated

if TYPE_CHECKING:
    from services.common.domain.jobs import Item, Job
    from services.jobs.rest_models import JobList

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
def show_job(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job with all its videos."""
    from datetime import UTC, datetime

    from ytarchive.cli.render.jobs import job_detail
    from ytarchive.client.jobs import open_jobs

    invocation: Invocation = context.obj
    config = invocation.config()

    async def read() -> "tuple[Job, list[Item]]":
        async with open_jobs(config) as jobs:
            job = await jobs.find(job_id)
            return job, [item async for item in jobs.items(job.job_id)]

    job, items = run_async(read())
    data = {"job": job.model_dump(mode="json"), "items": [item.model_dump(mode="json") for item in items]}
    show_data(data, lambda: job_detail(job, items, datetime.now(UTC)), as_json=as_json)


app.command("cancel")(job_commands.cancel)
app.command("pause")(job_commands.pause)
app.command("resume")(job_commands.resume)
app.command("retry")(job_commands.retry)
app.command("watch")(job_commands.watch)
