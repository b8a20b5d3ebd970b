"""`ytarchive notify …`: news for people."""

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation

app = typer.Typer(help="News for people: mail, chat, push.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def entry() -> None:
    """News for people: mail, chat, push."""


@app.command()
def test(context: typer.Context, as_json: AsJson = False) -> None:
    """Send a message to every address of `[notify] urls`. Exit code 1 when one does not take it."""
    from rich.text import Text

    from services.common.errors import InvalidRequest
    from ytarchive.cli.render.table import table
    from ytarchive.cli.terminal.output import show_data
    from ytarchive.client.logs import send_test

    invocation: Invocation = context.obj
    urls = invocation.config().notify.urls
    if not urls:
        raise InvalidRequest(
            'There is no address: set [notify] urls, as ["ntfy://a-topic-of-your-own"]. The documentation of Apprise'
            " lists the services."
        )
    sent = send_test(urls)
    data = {"addresses": [{"name": one.name, "ok": one.ok} for one in sent]}
    words = {True: Text("sent", style="green"), False: Text("not sent: check the address", style="red")}
    show_data(data, lambda: table("address", "", rows=((one.name, words[one.ok]) for one in sent)), as_json=as_json)
    if not all(one.ok for one in sent):
        raise typer.Exit(1)
