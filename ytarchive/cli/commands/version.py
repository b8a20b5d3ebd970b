"""`ytarchive version`."""

from typing import Annotated

import typer


def version(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show the versions of ytarchive and of what it works with."""
    from ytarchive.cli.console import stdout
    from ytarchive.cli.doctor.versions import versions
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import versions_table

    found = versions()
    if as_json:
        print_json(found, indent=2)
    else:
        stdout().print(versions_table(found))
