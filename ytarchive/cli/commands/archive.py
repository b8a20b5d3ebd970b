"""`ytarchive storage …`: the archive, over REST where a system runs, else from the files."""

from typing import Annotated

import typer

from services.common.names import SearchField, VideoSort, VideoStatus
from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import AsJson, Invocation, Limit, Offset, run_async
from ytarchive.cli.terminal.output import show, show_data, validated

app = typer.Typer(help="Show, search and verify the archive.", no_args_is_help=True, rich_markup_mode=None)

Channel = Annotated[str | None, typer.Option(help="Only this channel, by id or name.")]


@app.command("list")
def list_videos(
    context: typer.Context,
    words: Annotated[str | None, typer.Argument(metavar="WORDS", help="Words of the title or channel.")] = None,
    channel: Channel = None,
    status: Annotated[VideoStatus | None, typer.Option(help="Only this status; gone: from YouTube.")] = None,
    below_wanted: Annotated[
        bool, typer.Option("--below-wanted", help="Only videos that might get better, with reason and next look.")
    ] = False,
    sort: Annotated[VideoSort, typer.Option(help="Sort order; - for descending.")] = "-archived_at",
    limit: Limit = 50,
    offset: Offset = 0,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Continue behind a page: its `next` in --json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List archived videos, newest first."""
    from services.storage.index.queries import VideoQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.client.archive import ArchiveClient

    options = {"q": words, "channel": channel, "status": status, "below_wanted": below_wanted, "sort": sort}
    query = validated(VideoQuery, {**options, "limit": limit, "offset": offset, "after": after})
    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).videos(query))
    show(found, lambda: render.videos(found, prospects=below_wanted), as_json=as_json)


@app.command("search", context_settings={"ignore_unknown_options": True})
def search(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS", help='Words that must all occur; "a phrase"; begin*; -without.'),
    ],
    channel: Channel = None,
    playlist: Annotated[str | None, typer.Option(help="Only this playlist, by id.")] = None,
    place: Annotated[SearchField | None, typer.Option("--in", help="Search only there.")] = None,
    language: Annotated[str | None, typer.Option(help="Only captions in this language.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of results.")] = 20,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Search titles, channels, descriptions and captions; matches in captions are shown with their time."""
    from services.storage.index.search import SearchQuery
    from ytarchive.cli.render import archive as render
    from ytarchive.cli.terminal.arguments import join_query
    from ytarchive.client.archive import ArchiveClient

    options = {"q": join_query(words), "channel": channel, "playlist": playlist, "in": place, "language": language}
    query = validated(SearchQuery, {**options, "limit": limit, "offset": offset})
    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).search(query))
    show(found, lambda: render.hits(found), as_json=as_json)


@app.command("show")
def show_video(
    context: typer.Context,
    video_id: Annotated[str, typer.Argument(metavar="ID", help="A video id.", autocompletion=completion.video_ids)],
    as_json: AsJson = False,
) -> None:
    """Show the archived files of a video, and why it might get better. Exit code 1 when there are none."""
    from services.common.errors import InvalidRequest
    from services.common.validation import validate_video_id
    from ytarchive.cli.render import archive as render
    from ytarchive.client.archive import ArchiveClient

    if not validate_video_id(video_id):
        raise InvalidRequest(f"{video_id!a} is not a video id: a video id has 11 characters.")
    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).exists(video_id))
    show(found, lambda: render.existence(found), as_json=as_json)
    if not found.exists:
        raise typer.Exit(1)


@app.command("history")
def show_history(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of a video, playlist or channel.")],
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Show the history of a video or a playlist, newest last: listed, private, archived, available again."""
    from services.common.web.paging import PageQuery
    from ytarchive.cli.render import history as render
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    query = PageQuery(limit=limit, offset=offset)
    found = run_async(ArchiveClient(invocation.config()).history(id, query))
    show(found, lambda: render.history(found), as_json=as_json)


@app.command("stats")
def show_stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Show totals of the archive, by root and channel."""
    from ytarchive.cli.render import archive as render
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).stats())
    show(found, lambda: render.stats(found), as_json=as_json)


@app.command("rescan")
def rescan(context: typer.Context, as_json: AsJson = False) -> None:
    """Rebuild the catalogue of a running system from the archive tree."""
    from ytarchive.client.archive import ArchiveClient

    invocation: Invocation = context.obj
    found = run_async(ArchiveClient(invocation.config()).rescan())
    roots = ", ".join(found["roots"])
    show_data(found, lambda: f"Reading {roots}. `ytarchive health` shows when it is done.", as_json=as_json)
