"""`ytarchive metadata` and `playlist info`: what YouTube says now. Nothing is saved."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from services.common.models import Entry, PlaylistMetadata, VideoMetadata
    from ytarchive.client.endpoints import System

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

playlist = typer.Typer(help="Look at playlists and channels.", no_args_is_help=True, rich_markup_mode=None)


def metadata(
    context: typer.Context,
    video: Annotated[str, typer.Argument(metavar="ID", help="A video's id or URL.")],
    as_json: AsJson = False,
) -> None:
    """Show what YouTube says of a video now. Exit code 1 when it is gone, with the reason.

    What the archive holds of it is told by `storage show`.
    """
    from services.common.errors import InvalidRequest
    from services.common.models import TargetKind
    from services.common.targets import parse_target
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render import plan
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.running.ask import answer
    from ytarchive.client import youtube
    from ytarchive.client.rest import Rest

    target = parse_target(video)
    if target.kind is not TargetKind.VIDEOS:
        raise InvalidRequest(f"{target.id} is a {target.kind}: `ytarchive playlist info {target.id}` tells of it.")

    async def ask(system: "System") -> "VideoMetadata":
        async with Rest.open(system.services["metadata"], patience=youtube.PATIENCE) as rest:
            return await youtube.video(rest, target.id)

    invocation: Invocation = context.obj
    found = answer(invocation.config(), ask, verbose=invocation.verbose)
    if as_json:
        print_json(found.model_dump(mode="json"), indent=2)
    else:
        stdout().print(plan.video(found))


@playlist.command("info")
def info(
    context: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The id or URL of a playlist or channel.")],
    entries: Annotated[bool, typer.Option("--entries", help="List its videos too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in a playlist or channel now, what of it is marked as gone, and how many videos are held."""
    from services.common.errors import InvalidRequest
    from services.common.models import Target, TargetKind
    from services.common.targets import parse_target
    from ytarchive.cli.console import stdout
    from ytarchive.cli.render import plan
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.running.ask import answer
    from ytarchive.client import youtube
    from ytarchive.client.rest import Rest

    parsed = parse_target(wanted)
    if parsed.kind is TargetKind.VIDEOS:
        raise InvalidRequest(f"{parsed.id} is a video: `ytarchive metadata {parsed.id}` tells of it.")
    target = Target(kind=parsed.kind, id=parsed.id)
    invocation: Invocation = context.obj
    config = invocation.config()

    async def ask(system: "System") -> "tuple[PlaylistMetadata, list[Entry], set[str]]":
        async with Rest.open(system.services["metadata"], patience=youtube.PATIENCE) as rest:
            described, lines = await youtube.listing(rest, target)
        async with Rest.open(system.services["storage"]) as rest:
            return described, lines, await youtube.held_anywhere(rest, config, [line.video_id for line in lines])

    described, lines, held = answer(config, ask, verbose=invocation.verbose)
    if as_json:
        told = [{**line.model_dump(mode="json"), "held": line.video_id in held} for line in lines]
        print_json({"playlist": described.model_dump(mode="json"), "entries": told}, indent=2)
    else:
        stdout().print(plan.playlist(described, lines, held, lines=entries))
