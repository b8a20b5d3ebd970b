"""The command tree. Command modules import slow modules only when a command is called."""

from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.commands import (
    archive,
    demo,
    download,
    events,
    follow,
    installation,
    jobs,
    logs,
    lookup,
    maintenance,
    notify,
    plan,
    serve,
    verify,
    workplans,
)
from ytarchive.cli.help_sections import Sections
from ytarchive.cli.terminal.options import Invocation

app = typer.Typer(
    cls=Sections,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Archives YouTube videos, playlists and channels: media, thumbnails, captions, metadata.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"ytarchive {metadata.version('ytarchive')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def entry(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The configuration file to use.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show log records of the services.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version_only: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Invocation(config_file, verbose, debug)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("download", epilog=download.EPILOG)(download.download)
app.command("plan", epilog=plan.EPILOG)(plan.plan)
app.command("metadata")(lookup.metadata)
app.add_typer(lookup.playlist, name="playlist")
app.add_typer(follow.app, name="follow")
app.add_typer(jobs.app, name="jobs")
archive.app.command("verify")(verify.verify)
app.add_typer(archive.app, name="storage")
app.add_typer(workplans.app, name="workplan")
app.command("logs")(logs.logs)
app.command("trace")(logs.trace)
app.command("services")(maintenance.services)
app.command("quota")(maintenance.quota)
app.command("cleanup")(maintenance.cleanup)
app.command("backup")(maintenance.backup)
app.command("restore")(maintenance.restore)
app.add_typer(events.app, name="events")
app.command("health")(maintenance.health)
app.command("doctor")(installation.doctor)
app.command("update")(installation.update)
app.add_typer(notify.app, name="notify")
app.add_typer(installation.config, name="config")
app.add_typer(installation.auth, name="auth")
app.command("up")(serve.up)
app.command("service")(serve.service)
app.command("web")(serve.web)
app.command("demo")(demo.demo)
app.command("version")(installation.version)
