"""`ytarchive workplan …`: videos that could not be saved, over REST where a system runs, else from the files."""

from typing import Annotated

import typer

from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import AsJson, Invocation, Limit, Offset, run_async
from ytarchive.cli.terminal.output import show, show_data

app = typer.Typer(help="Show and retry videos that could not be saved.", no_args_is_help=True, rich_markup_mode=None)

PlanId = Annotated[
    str,
    typer.Argument(metavar="ID", help="A work plan id (that of its job).", autocompletion=completion.plan_ids),
]


@app.command("list")
def list_plans(context: typer.Context, limit: Limit = 50, offset: Offset = 0, as_json: AsJson = False) -> None:
    """List work plans, newest first."""
    from services.common.web.paging import PageQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).work_plans(PageQuery(limit=limit, offset=offset)))
    show(found, lambda: render.work_plans(found), as_json=as_json)


@app.command("show")
def show_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Show the videos of a work plan and why they could not be saved."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).work_plan(plan_id))
    show(found, lambda: render.work_plan(found), as_json=as_json)


@app.command("retry")
def retry_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Retry the open entries of a work plan in a new job of a running system."""
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).retry_work_plan(plan_id))
    job_id = found["job_id"]
    show_data(found, lambda: f"Job {job_id}: `ytarchive jobs watch {job_id}` follows it.", as_json=as_json)


@app.command("delete")
def delete_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Delete a work plan on a running system. Its videos that are gone remain known as such."""
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).delete_work_plan(plan_id))
    show_data(found, lambda: f"Work plan {plan_id} was deleted.", as_json=as_json)
