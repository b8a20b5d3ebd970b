"""`ytarchive services`, `health`, `quota`, `cleanup`, `backup` and `restore`: a running system, and its state."""

from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation, run_async
from ytarchive.cli.terminal.output import show, show_data


def services(context: typer.Context, as_json: AsJson = False) -> None:
    """List the live service instances in the registry of jobs."""
    from ytarchive.cli.render import maintenance as render
    from ytarchive.client import maintenance

    invocation: Invocation = context.obj
    found = run_async(maintenance.live_services(invocation.config()))
    show(found, lambda: render.services(found), as_json=as_json)


def health(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the health of all services. Exit code 0 only when all are healthy."""
    from services.common.models import HealthCheck
    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render.installation import health_table
    from ytarchive.client.health import all_healthy, check_all

    invocation: Invocation = context.obj
    answers = run_async(check_all(invocation.config()))
    data = {
        name: answer.model_dump(mode="json") if isinstance(answer, HealthCheck) else {"error": answer}
        for name, answer in answers.items()
    }
    healthy = all_healthy(answers)
    show_data({"healthy": healthy, "services": data}, lambda: health_table(answers), as_json=as_json)
    raise typer.Exit(int(Exit.OK if healthy else Exit.FAILED))


def quota(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the remaining quota of the Data API for today."""
    from ytarchive.cli.render import maintenance as render
    from ytarchive.client import maintenance

    invocation: Invocation = context.obj
    found = run_async(maintenance.quota(invocation.config()))
    show(found, lambda: render.quota(found), as_json=as_json)


def cleanup(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove ended jobs and logs that are older than [retention] allows. Work plans and the archive stay.

    A running system does this at its start and daily. Without a running system only --dry-run is possible.
    """
    from ytarchive.cli.render import maintenance as render
    from ytarchive.client import maintenance

    invocation: Invocation = context.obj
    found = run_async(maintenance.clean_up(invocation.config(), dry_run=dry_run))
    show(found, lambda: render.cleanup(found), as_json=as_json)


def backup(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A new folder. Default: a folder in base_data_dir/backups.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up jobs, catalogue and work plans, also while services run.

    The archive, logs and the broker's store are not part of it; the configuration is, without secrets.
    """
    from ytarchive.cli.render import maintenance as render
    from ytarchive.client import maintenance

    invocation: Invocation = context.obj
    written = run_async(maintenance.back_up(invocation.config(), directory))
    show(written, lambda: render.backup(written), as_json=as_json)


def restore(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `ytarchive backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Restore a backup while no services run. The files that it replaces are kept beside the new ones.

    The next start finds jobs again that were created since the backup, and downloads nothing that is archived.
    """
    from ytarchive.cli.render import maintenance as render
    from ytarchive.client import maintenance

    invocation: Invocation = context.obj
    restored = run_async(maintenance.restore(invocation.config(), directory))
    show(restored, lambda: render.restored(restored), as_json=as_json)
