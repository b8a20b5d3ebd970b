"""The command tree. Command modules are light: what takes time to load they import when they are called."""

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.commands import (
    archive,
    config,
    demo,
    doctor,
    download,
    events,
    health,
    jobs,
    lookup,
    plan,
    serve,
    upkeep,
    verify,
    version,
)
from ytarchive.cli.sections import Sections
from ytarchive.cli.state import Invocation

app = typer.Typer(
    cls=Sections,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Saves YouTube videos, playlists and channels for good: media, thumbnail, captions, metadata.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ytarchive {metadata.version('ytarchive')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def entry(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The configuration to use instead of the one found.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the services log.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version_only: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and end.")
    ] = False,
) -> None:
    context.obj = Invocation(config_file, verbose, debug)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("download", epilog=download.EPILOG)(download.download)
app.command("plan", epilog=plan.EPILOG)(plan.plan)
app.command("metadata")(lookup.metadata)
app.add_typer(lookup.playlist, name="playlist")
app.add_typer(jobs.app, name="jobs")
archive.storage.command("verify")(verify.verify)
app.add_typer(archive.storage, name="storage")
app.add_typer(archive.workplan, name="workplan")
app.command("logs")(archive.logs)
app.command("trace")(archive.trace)
app.command("services")(upkeep.services)
app.command("quota")(upkeep.quota)
app.command("cleanup")(upkeep.cleanup)
app.add_typer(events.app, name="events")
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.command("up")(serve.up)
app.command("service")(serve.service)
app.command("demo")(demo.demo)
app.command("version")(version.version)
