"""`ytarchive doctor`, `update`, `config show|check`, `auth token` and `version`: this installation and its
configuration."""

from pathlib import Path
from typing import Annotated

import typer

from services.common.names import TokenScope
from ytarchive.cli.terminal.options import AsJson, Invocation, run_async
from ytarchive.cli.terminal.output import show, show_data

auth = typer.Typer(help="Control access to the REST API.", no_args_is_help=True, rich_markup_mode=None)
tokens = typer.Typer(help="Issue, list and revoke access tokens.", no_args_is_help=True, rich_markup_mode=None)
auth.add_typer(tokens, name="token")
config = typer.Typer(help="Show and check the configuration.", no_args_is_help=True, rich_markup_mode=None)
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the token, to list and revoke it.")]


@config.command("show")
def show_config(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every key with its value (secrets masked) and the origin of the value."""
    from services.common.settings.load import describe
    from ytarchive.cli.render.installation import config_table
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout

    invocation: Invocation = context.obj
    loaded = invocation.config()
    if as_json:
        print_json({"file": str(loaded.source) if loaded.source else None, "keys": describe(loaded)}, indent=2)
        return
    out = stdout()
    out.print(config_table(describe(loaded)))
    out.print(f"\nFile: {loaded.source or 'none; the values are defaults or from the environment'}")


@config.command("check")
def check_config(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Check this file instead of the default one.")
    ] = None,
) -> None:
    """Check the configuration. Exit code 2 when it is invalid, with the reasons."""
    from services.common.settings.load import load_config
    from ytarchive.cli.terminal.console import stdout

    invocation: Invocation = context.obj
    loaded = load_config(file) if file else invocation.config()
    stdout().print(f"{loaded.source or 'No file; defaults and environment'}: valid")


@tokens.command("add")
def add_token(
    context: typer.Context,
    name: TokenName,
    scope: Annotated[
        TokenScope,
        typer.Option("--scope", help="read: see everything; request: also create jobs; operate: everything."),
    ] = "read",
    as_json: AsJson = False,
) -> None:
    """Issue an access token for the REST API and print it. It is not shown again."""
    from rich.text import Text

    from services.common.web.tokens import TokenStore

    invocation: Invocation = context.obj
    token = TokenStore(invocation.config()).issue(name, scope)
    show_data({"name": name, "scope": scope, "token": token}, lambda: Text(token), as_json=as_json)


@auth.command("password")
def set_password(
    context: typer.Context,
    from_stdin: Annotated[bool, typer.Option("--stdin", help="Read it from standard input.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it: then only access tokens are accepted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the password of the page. Everybody who has logged in is logged out."""
    import sys

    from rich.text import Text

    from services.common.errors import InvalidRequest
    from ytarchive.web.sessions import Password, Sessions

    invocation: Invocation = context.obj
    config = invocation.config()
    if remove:
        Password(config).remove()
    elif from_stdin:
        Password(config).set(sys.stdin.read().rstrip("\n"))
    else:
        if not sys.stdin.isatty():
            raise InvalidRequest("There is no terminal to ask for the password: use --stdin.")
        Password(config).set(typer.prompt("Password of the page", hide_input=True, confirmation_prompt=True))
    Sessions(config).end_all()
    done = "The password is removed" if remove else "The password is set"
    show_data({"password": not remove}, lambda: Text(f"{done}. All sessions are ended."), as_json=as_json)


@tokens.command("list")
def list_tokens(context: typer.Context, as_json: AsJson = False) -> None:
    """List the issued tokens, without their secrets."""
    from services.common.web.tokens import TokenStore
    from ytarchive.cli.render.installation import tokens_table

    invocation: Invocation = context.obj
    issued = TokenStore(invocation.config()).issued()
    data = [token.model_dump(mode="json", exclude={"sha256"}) for token in issued]
    show_data({"tokens": data}, lambda: tokens_table(issued), as_json=as_json)


@tokens.command("revoke")
def revoke_token(context: typer.Context, name: TokenName, as_json: AsJson = False) -> None:
    """Revoke an issued token. Requests with it are refused from now on."""
    from rich.text import Text

    from services.common.web.tokens import TokenStore

    invocation: Invocation = context.obj
    TokenStore(invocation.config()).revoke(name)
    show_data({"revoked": name}, lambda: Text(f"The token {name} is revoked."), as_json=as_json)


def doctor(
    context: typer.Context,
    online: Annotated[
        bool,
        typer.Option("--online", help="Also check the proxy (or YouTube) and, with an API key, the Data API."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that all requirements are met and suggest fixes.

    Exit code 0 when there is no problem; warnings do not count. Without --online the internet is not used.
    """
    import asyncio
    import os

    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render.installation import finding_lines
    from ytarchive.cli.render.json_output import print_json
    from ytarchive.cli.terminal.console import stdout
    from ytarchive.doctor.examination import examine
    from ytarchive.doctor.finding import healthy

    invocation: Invocation = context.obj
    findings = asyncio.run(examine(invocation.config_file, os.environ, online=online))
    if as_json:
        checks = [finding.model_dump(mode="json") for finding in findings]
        print_json({"healthy": healthy(findings), "checks": checks}, indent=2)
    else:
        out = stdout()
        for line in finding_lines(findings):
            out.print(line)
    raise typer.Exit(int(Exit.OK if healthy(findings) else Exit.FAILED))


def update(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only show the version in use and the newest one.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Go back to the version that was in use before.")] = False,
    wanted: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="This version instead of the newest one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Update yt-dlp, which has to follow the changes of YouTube.

    pip installs it below base_data_dir; it is used only if it passes a trial, and running services need no restart.
    """
    from services.common.errors import InvalidRequest
    from ytarchive.cli.render import maintenance as render
    from ytarchive.cli.terminal.console import stderr
    from ytarchive.client.ytdlp_update import YtDlpUpdate

    invocation: Invocation = context.obj
    if check + back + (wanted is not None) > 1:
        raise InvalidRequest("--check, --back and --version exclude each other.")
    ytdlp = YtDlpUpdate(invocation.config(), stderr().print)
    found = ytdlp.back() if back else run_async(ytdlp.check() if check else ytdlp.install(wanted))
    show(found, lambda: render.ytdlp_versions(found, asked=not (check or back or wanted)), as_json=as_json)


def version(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the versions of ytarchive and of the programs that it uses."""
    from services.common.errors import ConfigError
    from services.common.youtube.ytdlp.installations import Installations
    from ytarchive.cli.render.installation import versions_table
    from ytarchive.doctor.versions import versions

    invocation: Invocation = context.obj
    try:
        config = invocation.config()
    except ConfigError:  # then neither updates of yt-dlp nor a configured ffmpeg are found
        found = versions()
    else:
        found = versions(config.download.ffmpeg)
        found["yt-dlp"] = Installations.of(config.storage).in_use().version
    show_data(found, lambda: versions_table(found), as_json=as_json)
