"""`ytarchive metadata` and `playlist info`: what YouTube shows now. Nothing is saved."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.terminal.options import AsJson, Invocation
from ytarchive.cli.terminal.output import show, show_data

if TYPE_CHECKING:
    from services.common.domain.videos import Entry, PlaylistMetadata, VideoMetadata
    from ytarchive.client.endpoints import System

playlist = typer.Typer(help="Show playlists and channels.", no_args_is_help=True, rich_markup_mode=None)


def metadata(
    context: typer.Context,
    video: Annotated[str, typer.Argument(metavar="ID", help="A video id or URL.")],
    as_json: AsJson = False,
) -> None:
    """Show the current metadata of a video on YouTube. Exit code 1 when it is unavailable, with the reason.

    `storage show` shows the archived files.
    """
    from services.common.domain.videos import TargetKind
    from services.common.errors import InvalidRequest
    from services.common.targets import parse_target
    from ytarchive.cli.render import plan as render
    from ytarchive.cli.workflows.query import run_query
    from ytarchive.client.metadata import MetadataClient

    target = parse_target(video)
    if target.kind is not TargetKind.VIDEOS:
        raise InvalidRequest(f"{target.id} is a {target.kind}: `ytarchive playlist info {target.id}` shows it.")

    async def look_up(system: "System") -> "VideoMetadata":
        async with MetadataClient.open(system) as client:
            return await client.video(target.id)

    invocation: Invocation = context.obj
    found = run_query(invocation.config(), look_up, verbose=invocation.verbose)
    show(found, lambda: render.video(found), as_json=as_json)


@playlist.command("info")
def info(
    context: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The id or URL of a playlist or channel.")],
    entries: Annotated[bool, typer.Option("--entries", help="Also list the videos.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the current content of a playlist or channel: videos marked as gone, and the number of archived videos."""
    from services.common.domain.videos import Target, TargetKind
    from services.common.errors import InvalidRequest
    from services.common.targets import parse_target
    from ytarchive.cli.render import plan as render
    from ytarchive.cli.workflows.query import run_query
    from ytarchive.client.archive import HoldingsClient
    from ytarchive.client.metadata import TIMEOUT, MetadataClient

    parsed = parse_target(wanted)
    if parsed.kind is TargetKind.VIDEOS:
        raise InvalidRequest(f"{parsed.id} is a video: `ytarchive metadata {parsed.id}` shows it.")
    target = Target(kind=parsed.kind, id=parsed.id, tab=parsed.tab)
    invocation: Invocation = context.obj
    config = invocation.config()

    async def look_up(system: "System") -> "tuple[PlaylistMetadata, list[Entry], set[str]]":
        async with MetadataClient.open(system) as client:
            described, listed = await client.listing(target)
        async with HoldingsClient.open(system, answer_timeout=TIMEOUT) as storage:
            return described, listed, await storage.archived_ids(config, [entry.video_id for entry in listed])

    described, listed, archived = run_query(config, look_up, verbose=invocation.verbose)
    data = {
        "playlist": described.model_dump(mode="json"),
        "entries": [{**entry.model_dump(mode="json"), "held": entry.video_id in archived} for entry in listed],
    }
    show_data(data, lambda: render.playlist(described, listed, archived, with_entries=entries), as_json=as_json)
