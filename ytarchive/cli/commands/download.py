"""`ytarchive download`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli import completion
from ytarchive.cli.state import Invocation

if TYPE_CHECKING:
    from services.common.settings.load import Config
    from ytarchive.cli.render.displays import Display
    from ytarchive.cli.running.result import Result
    from ytarchive.cli.running.task import Errand

_TOLD_ANYWAY = {"download_failed", "listing_failed"}  # the display says it better

# \b keeps the lines of the block that follows as they are
EPILOG = """\b
Exit codes:
    0  all is saved, or was there already
    1  the job failed
    2  wrong usage, or the request was rejected
    3  finished with gaps: some videos are unavailable or failed; the work plan is named
    4  parked: only timers more than 10 minutes away are left
  130  interrupted (Ctrl-C, SIGTERM); the same command again goes on

\b
An id that begins with a dash is taken for an id. With --json, stdout carries one JSON object a line: the events of the
job as they come, at last {"type": "result", "exit_code": …}.
"""


Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", help="Ids or URLs of videos, playlists and channels.", show_default=False),
]
Quality = Annotated[
    str | None,
    typer.Option(
        "--quality",
        "-q",
        autocompletion=completion.qualities,
        help="best, 2160p … 144p, audio, or a yt-dlp format selector. [default: 1080p]",
    ),
]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", "-o", metavar="DIR", help="Archive root. [default: base_path]")
]
Captions = Annotated[str | None, typer.Option("--captions", metavar="LANGS", help="Languages, as en,de. [default: en]")]
NoCaptions = Annotated[bool, typer.Option("--no-captions", help="Leave captions out.")]
MetadataOnly = Annotated[bool, typer.Option("--metadata-only", help="Save only the metadata.")]
Force = Annotated[bool, typer.Option("--force", help="Fetch again what is there already.")]
Batch = Annotated[
    str | None, typer.Option("--batch", metavar="FILE", help="Targets, one a line (# comments); - is stdin.")
]


def download(
    context: typer.Context,
    targets: Targets = None,
    quality: Quality = None,
    output_dir: OutputDir = None,
    captions: Captions = None,
    no_captions: NoCaptions = False,
    metadata_only: MetadataOnly = False,
    force: Force = False,
    batch: Batch = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Save videos, playlists and channels.

    Uses the stack that runs here, or becomes one until its job is done.
    """
    from ytarchive.cli.running.job_request import place_order, read_batch

    invocation: Invocation = context.obj
    config = invocation.config()
    named = [*(targets or []), *(read_batch(batch) if batch is not None else [])]
    order = place_order(
        named,
        config,
        quality=quality,
        output_dir=output_dir,
        captions=captions,
        no_captions=no_captions,
        metadata_only=metadata_only,
        force=force,
    )
    result = carry_out(config, order, as_json=as_json, verbose=invocation.verbose)
    raise typer.Exit(int(result.exit))


def carry_out(config: "Config", errand: "Errand", *, as_json: bool, verbose: bool) -> "Result":
    """Do it, show it, and say how it ended. Raises YTArchiveError, BusError."""
    import asyncio

    from services.common.errors import InvalidRequest
    from ytarchive.cli.console import log_to_stderr
    from ytarchive.cli.exits import rejected
    from ytarchive.cli.running.run_job import OneShot

    if verbose:
        log_to_stderr(config, "INFO")
    else:
        log_to_stderr(config, "WARNING", without=_TOLD_ANYWAY)
    display = choose_display(as_json=as_json)
    result = asyncio.run(OneShot(config, errand, display).run())
    job = result.job
    if job is not None and job.error is not None and rejected(job):
        raise InvalidRequest(job.error.message, **(job.error.details or {}))
    display.finish(result)
    return result


def choose_display(*, as_json: bool) -> "Display":
    from ytarchive.cli.console import stderr, stdout
    from ytarchive.cli.render.displays import Bars, JsonLines, Lines

    if as_json:
        return JsonLines(stderr())
    out = stdout()
    return Bars(out) if out.is_terminal and not out.is_dumb_terminal else Lines(out)
