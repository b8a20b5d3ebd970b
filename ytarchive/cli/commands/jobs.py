"""`ytarchive jobs list|show`: over REST where something runs, else from jobs.db. The wishes hang on the same `app`."""

from enum import StrEnum
from typing import Annotated

import typer

from ytarchive.cli.commands import job_commands
from ytarchive.cli.state import Invocation

app = typer.Typer(help="Look at jobs, running or not; change your mind.", no_args_is_help=True, rich_markup_mode=None)


class Status(StrEnum):
    """The statuses of services.common.models.JobStatus (a test keeps them equal), and `open`: all that did not end."""

    OPEN = "open"
    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRYING = "retrying"


AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only these; open is all that did not end.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="After so many of the newest.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    import asyncio
    from datetime import UTC, datetime

    from services.jobs.rest_models import JobList
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import jobs_table
    from ytarchive.client.jobs import open_jobs

    invocation: Invocation = context.obj
    config = invocation.config()

    async def ask() -> JobList:
        async with open_jobs(config) as source:
            return await source.jobs(status.value if status else None, limit, offset)

    found = asyncio.run(ask())
    if as_json:
        print_json(found.model_dump(mode="json"), indent=2)
    else:
        stdout().print(jobs_table(found.jobs, found.total, datetime.now(UTC)))


@app.command("show")
def show_job(
    context: typer.Context,
    job_id: job_commands.JobId,
    as_json: AsJson = False,
) -> None:
    """Show one job with all its videos."""
    import asyncio
    from datetime import UTC, datetime

    from services.common.models import Item, Job
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import job_detail
    from ytarchive.client.jobs import all_items, find_job, open_jobs

    invocation: Invocation = context.obj
    config = invocation.config()

    async def ask() -> tuple[Job, list[Item]]:
        async with open_jobs(config) as source:
            job = await find_job(source, job_id)
            return job, await all_items(source, job.job_id)

    job, items = asyncio.run(ask())
    if as_json:
        told = {"job": job.model_dump(mode="json"), "items": [item.model_dump(mode="json") for item in items]}
        print_json(told, indent=2)
    else:
        stdout().print(job_detail(job, items, datetime.now(UTC)))


app.command("cancel")(job_commands.cancel)
app.command("pause")(job_commands.pause)
app.command("resume")(job_commands.resume)
app.command("retry")(job_commands.retry)
app.command("watch")(job_commands.watch)
