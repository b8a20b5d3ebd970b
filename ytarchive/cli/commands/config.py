"""`ytarchive config show|check`."""

from pathlib import Path
from typing import Annotated

import typer

from ytarchive.cli.state import Invocation

app = typer.Typer(help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show every key, its value (secrets masked), and where that comes from."""
    from services.common.settings.load import describe
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import config_table

    invocation: Invocation = context.obj
    config = invocation.config()
    if as_json:
        print_json({"file": str(config.source) if config.source else None, "keys": describe(config)}, indent=2)
        return
    out = stdout()
    out.print(config_table(describe(config)))
    out.print(f"\nFile: {config.source or 'none; these are the defaults and the environment'}")


@app.command("check")
def check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file to check instead of the one found.")
    ] = None,
) -> None:
    """Check the configuration; exit code 2 says that it is wrong, and why."""
    from services.common.settings.load import load_config
    from ytarchive.cli.console import stdout

    invocation: Invocation = context.obj
    config = load_config(file or invocation.config_file)
    stdout().print(f"{config.source or 'No file; defaults and environment'}: all right")
