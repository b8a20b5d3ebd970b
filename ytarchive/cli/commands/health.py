"""`ytarchive health`."""

from typing import Annotated

import typer

from ytarchive.cli.state import Invocation


def health(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Ask all services how they are; exit code 0 only if all are healthy."""
    import asyncio

    from services.common.models import HealthCheck
    from ytarchive.cli.console import stdout
    from ytarchive.cli.exits import Exit
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.render.tables import health_table
    from ytarchive.client.health import ask_all, well

    invocation: Invocation = context.obj
    answers = asyncio.run(ask_all(invocation.config()))
    if as_json:
        told = {
            name: answer.model_dump(mode="json") if isinstance(answer, HealthCheck) else {"error": answer}
            for name, answer in answers.items()
        }
        print_json({"healthy": well(answers), "services": told}, indent=2)
    else:
        stdout().print(health_table(answers))
    raise typer.Exit(int(Exit.OK if well(answers) else Exit.FAILED))
