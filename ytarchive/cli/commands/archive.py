"""`ytarchive storage …`, `workplan …`, `logs` and `trace`: over REST where something runs, else from the files."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ytarchive.cli import completion
from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pydantic import BaseModel

    Q = TypeVar("Q", bound=BaseModel)
    from services.logging.queries import LogQuery

storage = typer.Typer(help="What the archive holds.", no_args_is_help=True, rich_markup_mode=None)
workplan = typer.Typer(help="Videos that could not be saved.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]
Offset = Annotated[int, typer.Option(min=0, help="After so many.")]
PlanId = Annotated[
    str, typer.Argument(metavar="ID", help="The plan's id: that of its job.", autocompletion=completion.plan_ids)
]


class Sort(StrEnum):
    """The orders of services.storage.index.queries; `-` downwards (a test keeps them equal)."""

    TITLE = "title"
    TITLE_DOWN = "-title"
    ARCHIVED = "archived_at"
    ARCHIVED_DOWN = "-archived_at"
    UPLOAD = "upload_date"
    UPLOAD_DOWN = "-upload_date"
    DURATION = "duration"
    DURATION_DOWN = "-duration"
    BYTES = "bytes"
    BYTES_DOWN = "-bytes"


class Place(StrEnum):
    """Where words are looked for (services.storage.index.search; a test keeps them equal)."""

    TITLE = "title"
    CHANNEL = "channel"
    DESCRIPTION = "description"
    CAPTIONS = "captions"


class Status(StrEnum):
    """Of a video that is held (services.storage.index.queries; a test keeps them equal)."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    GONE = "gone"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@storage.command("list")
def list_videos(
    context: typer.Context,
    words: Annotated[str | None, typer.Argument(metavar="WORDS", help="Words of title or channel.")] = None,
    channel: Annotated[str | None, typer.Option(help="A channel, by id or name.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only these; gone: from the site.")] = None,
    sort: Annotated[Sort, typer.Option(help="The order; - downwards.")] = Sort.ARCHIVED_DOWN,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the videos that are held, the newest first."""
    from services.storage.index.queries import VideoQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    said = {"q": words, "channel": channel, "status": status, "sort": sort.value, "limit": limit, "offset": offset}
    query = _query(VideoQuery, said)
    found = _run(archive.videos(_config(context), query))
    _show(found.model_dump(mode="json"), as_json, lambda: render.videos(found))


@storage.command("search", context_settings={"ignore_unknown_options": True})
def search(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS", help='Words, all of them; "a phrase"; begin*; -without.')
    ],
    channel: Annotated[str | None, typer.Option(help="A channel, by id or name.")] = None,
    playlist: Annotated[str | None, typer.Option(help="A playlist, by id.")] = None,
    place: Annotated[Place | None, typer.Option("--in", help="Look only there.")] = None,
    language: Annotated[str | None, typer.Option(help="Only captions in it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 20,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Find words in titles, channels, descriptions and captions, with the time at which they are said."""
    from services.storage.index.search import SearchQuery
    from ytarchive.cli.arguments import as_typed
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    said = {"q": as_typed(words), "channel": channel, "playlist": playlist, "in": place, "language": language}
    query = _query(SearchQuery, {**said, "limit": limit, "offset": offset})
    found = _run(archive.search(_config(context), query))
    _show(found.model_dump(mode="json"), as_json, lambda: render.hits(found))


@storage.command("show")
def show_video(
    context: typer.Context,
    video_id: Annotated[str, typer.Argument(metavar="ID", help="A video id.", autocompletion=completion.video_ids)],
    as_json: AsJson = False,
) -> None:
    """Show what is held of a video. Exit code 1 when that is nothing."""
    from services.common.errors import InvalidRequest
    from services.common.validation import validate_video_id
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    if not validate_video_id(video_id):
        raise InvalidRequest(f"{video_id!a} is not a video id: it has 11 characters.")
    found = _run(archive.exists(_config(context), video_id))
    _show(found.model_dump(mode="json"), as_json, lambda: render.existence(found))
    if not found.exists:
        raise typer.Exit(1)


@storage.command("history")
def show_history(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="A video's id, a playlist's or a channel's.")],
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a video or a playlist, the newest last: listed, private, archived, came back."""
    from ytarchive.cli.render import history as render
    from ytarchive.client import archive

    found = _run(archive.history(_config(context), id, limit, offset))
    _show(found.model_dump(mode="json"), as_json, lambda: render.history(found))


@storage.command("stats")
def show_stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Count what is held, by root and channel."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    found = _run(archive.stats(_config(context)))
    _show(found.model_dump(mode="json"), as_json, lambda: render.stats(found))


@workplan.command("list")
def list_plans(context: typer.Context, limit: Limit = 50, offset: Offset = 0, as_json: AsJson = False) -> None:
    """List work plans, the newest first."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    found = _run(archive.plans(_config(context), limit, offset))
    _show(found.model_dump(mode="json"), as_json, lambda: render.plans(found))


@workplan.command("show")
def show_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Show which videos a plan waits for, and why."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    found = _run(archive.plan(_config(context), plan_id))
    _show(found, as_json, lambda: render.plan(found))


@storage.command("rescan")
def rescan(context: typer.Context, as_json: AsJson = False) -> None:
    """Have a running system read the archive's tree into its catalogue anew."""
    found = _run(_send(_config(context), "POST", "storage/rescan"))
    _show(found, as_json, lambda: f"Reading {', '.join(found['roots'])}. `ytarchive health` tells when it is done.")


@workplan.command("retry")
def retry_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Have a running system try what is open on a plan again, as a new job."""
    found = _run(_send(_config(context), "POST", f"storage/work-plans/{_safe(plan_id)}/retry"))
    _show(found, as_json, lambda: f"Job {found['job_id']}: `ytarchive jobs watch {found['job_id']}` follows it.")


@workplan.command("delete")
def delete_plan(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Have a running system remove a plan. What it says of videos that are gone stays known."""
    found = _run(_send(_config(context), "DELETE", f"storage/work-plans/{_safe(plan_id)}"))
    _show(found, as_json, lambda: f"Work plan {plan_id} is removed.")


def logs(
    context: typer.Context,
    service: Annotated[
        str | None, typer.Option(help="Only of this service.", autocompletion=completion.service_names)
    ] = None,
    level: Annotated[Level | None, typer.Option(help="This one and graver.")] = None,
    search: Annotated[str | None, typer.Option(help="Only with this text.")] = None,
    trace_id: Annotated[str | None, typer.Option("--trace", help="Only of this trace.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="What is logged from now on, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the services logged, the newest last. With --follow and --json: one record a line."""
    from services.logging.queries import LogQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    said = {
        "service": service,
        "level": level,
        "search": search,
        "trace_id": trace_id,
        "limit": limit,
        "offset": offset,
    }
    query = _query(LogQuery, said)
    if follow:
        raise typer.Exit(_run(_follow(_config(context), query, as_json=as_json)))
    found = _run(archive.logs(_config(context), query))
    _show(found, as_json, lambda: render.records(found["logs"][::-1]))


def trace(
    context: typer.Context,
    trace_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A trace id: of a job, or of a request.", autocompletion=completion.trace_ids
        ),
    ],
    limit: Limit = 500,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a trace: its events and records in order."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client import archive

    found = _run(archive.trace(_config(context), _safe(trace_id), limit, offset))
    _show(found, as_json, lambda: render.records(found["entries"]))


def _query(model: "type[Q]", said: dict[str, Any]) -> "Q":
    """What was said on the command line. Raises InvalidRequest, which names the option."""
    from pydantic import ValidationError

    from services.common.errors import InvalidRequest

    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "the words" if first["loc"][0] == "q" else f"--{first['loc'][0]}"
        raise InvalidRequest(f"{name}: {first['msg']}") from error


def _safe(part: str) -> str:
    """As a piece of a URL's path."""
    from urllib.parse import quote

    return quote(part, safe="")


def _config(context: typer.Context) -> Any:
    invocation: Invocation = context.obj
    return invocation.config()


def _run(asked: "Coroutine[Any, Any, Any]") -> Any:
    import asyncio

    return asyncio.run(asked)


async def _follow(config: Any, query: "LogQuery", *, as_json: bool) -> int:
    from ytarchive.cli.console import stderr, stdout
    from ytarchive.cli.exits import Exit
    from ytarchive.cli.render import archive as render
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.running.interruption import Interrupted, Interruption
    from ytarchive.client.logs import follow_logs

    out, err = stdout(), stderr()

    def show(record: dict[str, Any]) -> None:
        if as_json:
            print_json(record)
        else:
            out.print(render.records([record]))

    with Interruption() as interruption:
        try:
            await interruption.unless(follow_logs(config, query.filter, show, err.print))
        except Interrupted:
            return Exit.INTERRUPTED
    return Exit.OK


async def _send(config: Any, method: str, path: str) -> Any:
    from ytarchive.client.endpoints import require_system
    from ytarchive.client.rest import Rest

    system = await require_system(config)
    async with Rest.open(system.services["storage"]) as rest:
        return await rest.send(method, path)


def _show(data: Any, as_json: bool, view: Any) -> None:
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render.displays import print_json

    if as_json:
        print_json(data, indent=2)
    else:
        stdout().print(view())
