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
from ytarchive.cli.terminal.options import AsJson, Invocation
from ytarchive.cli.terminal.output import show

# \b preserves the line breaks of the block that follows
EPILOG = """\b
Exit codes:
    0  all targets were listed
    1  no target could be listed
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
        int,
        typer.Option("--look-ups", min=0, max=1000, help="Maximum number of single videos whose length is looked up."),
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Estimate a download: videos, bytes, time, quota, disk. Nothing is downloaded and no job is created.

    Takes the options of `download`. Lists the targets as a job would, and looks up the lengths of single videos.
    """
    from ytarchive.cli.jobs.exit_codes import Exit
    from ytarchive.cli.render import plan as render
    from ytarchive.cli.terminal.console import stderr
    from ytarchive.cli.workflows.query import run_query
    from ytarchive.planning.job_request import make_request, read_batch
    from ytarchive.planning.planner import plan_download

    invocation: Invocation = context.obj
    config = invocation.config()
    request = make_request(
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
    planned = run_query(
        config,
        lambda system: plan_download(
            system,
            request,
            recheck_after=timedelta(days=config.recheck.interval_days),
            lookups=look_ups,
            notify=notes.print if notes.is_terminal else lambda _text: None,
        ),
        verbose=invocation.verbose,
        extra_roots=[request.extra_root] if request.extra_root else [],
    )
    found = planned.plan
    show(found, lambda: render.plan(found), as_json=as_json)
    raise typer.Exit(int(Exit.INCOMPLETE if any(target.error for target in found.targets) else Exit.OK))
