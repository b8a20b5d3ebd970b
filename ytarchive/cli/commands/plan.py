"""`ytarchive plan`."""

from datetime import timedelta
from typing import Annotated

import typer

from ytarchive.cli.commands.download import (
    Batch,
    Captions,
    Force,
    MetadataOnly,
    NoCaptions,
    OutputDir,
    Quality,
    Targets,
)
from ytarchive.cli.state import Invocation

# \b keeps the lines of the block that follows as they are
EPILOG = """\b
Exit codes:
    0  that is the plan
    1  nothing could be listed
    2  wrong usage, or the request would be rejected
    3  some of the playlists or channels could not be listed
"""


def plan(
    context: typer.Context,
    targets: Targets = None,
    quality: Quality = None,
    output_dir: OutputDir = None,
    captions: Captions = None,
    no_captions: NoCaptions = False,
    metadata_only: MetadataOnly = False,
    force: Force = False,
    batch: Batch = None,
    look_ups: Annotated[
        int, typer.Option("--look-ups", min=0, max=1000, help="Ask for the length of at most so many single videos.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Tell what a download would come to: videos, bytes, time, quota, disk. Nothing is fetched, no job is made.

    Takes what `download` takes. Reads the lists as a job would, and looks single videos up for their lengths.
    """
    from ytarchive.cli.console import stderr, stdout
    from ytarchive.cli.exits import Exit
    from ytarchive.cli.render import plan as render
    from ytarchive.cli.render.displays import print_json
    from ytarchive.cli.running import planning
    from ytarchive.cli.running.ask import answer
    from ytarchive.cli.running.job_request import place_order, read_batch

    invocation: Invocation = context.obj
    config = invocation.config()
    order = place_order(
        [*(targets or []), *(read_batch(batch) if batch is not None else [])],
        config,
        quality=quality,
        output_dir=output_dir,
        captions=captions,
        no_captions=no_captions,
        metadata_only=metadata_only,
        force=force,
    )
    notes = stderr()
    found = answer(
        config,
        lambda system: planning.plan(
            system,
            order,
            recheck_after=timedelta(days=config.recheck.interval_days),
            look_ups=look_ups,
            say=notes.print if notes.is_terminal else lambda _text: None,
        ),
        verbose=invocation.verbose,
        extra_roots=[order.extra_root] if order.extra_root else [],
    )
    if as_json:
        print_json(found.model_dump(mode="json"), indent=2)
    else:
        stdout().print(render.plan(found))
    raise typer.Exit(int(Exit.GAPS if any(target.error for target in found.targets) else Exit.OK))
