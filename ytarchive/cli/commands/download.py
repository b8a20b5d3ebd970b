"""`ytarchive download`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ytarchive.cli.terminal import completion
from ytarchive.cli.terminal.options import Invocation

if TYPE_CHECKING:
    from services.common.settings.load import Config
    from ytarchive.cli.jobs.result import RunResult
    from ytarchive.cli.render.displays import Display
    from ytarchive.cli.workflows.run_job import JobTask

_SHOWN_BY_DISPLAY = {"download_failed", "listing_failed"}  # log events

# \b preserves the line breaks of the block that follows
EPILOG = """\b
Exit codes:
    0  all videos are saved or were already archived
    1  the job failed
    2  wrong usage, or the request was rejected
    3  finished, but some videos, or all, are unavailable or failed; the work plan is named
    4  parked: the next scheduled retry is more than 10 minutes away
  130  interrupted (Ctrl-C, SIGTERM); the same command continues

\b
An id that begins with a dash is recognized as an id. With --json, stdout has one JSON object per line: the events of
the job as they arrive, and finally {"type": "result", "exit_code": …}.
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
    str | None, typer.Option("--output-dir", "-o", metavar="DIR", help="Archive root. [default: base_path]")
]
Captions = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="LANGS",
        help="Caption languages, as en,de; de~ also takes a machine translation. [default: en]",
    ),
]
NoCaptions = Annotated[bool, typer.Option("--no-captions", help="Do not save captions.")]
MetadataOnly = Annotated[bool, typer.Option("--metadata-only", help="Save only metadata.")]
Force = Annotated[bool, typer.Option("--force", help="Download archived videos again.")]
Batch = Annotated[
    str | None,
    typer.Option("--batch", metavar="FILE", help="Read targets from a file, one per line (# comments); - is stdin."),
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

    Attaches to the running stack, or runs one until the job has ended.
    """
    from ytarchive.cli.workflows.run_job import NewJob
    from ytarchive.planning.job_request import make_request, read_batch

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
    result = run_task(config, NewJob(request), as_json=as_json, verbose=invocation.verbose)
    raise typer.Exit(int(result.exit))


def run_task(config: "Config", task: "JobTask", *, as_json: bool, verbose: bool) -> "RunResult":
    """Run and display a job, and show the result. Raise YTArchiveError, BusError."""
    import asyncio

    from services.common.errors import InvalidRequest
    from ytarchive.cli.jobs.exit_codes import rejected
    from ytarchive.cli.terminal.console import log_to_stderr, name_configuration
    from ytarchive.cli.workflows.run_job import OneShot

    if verbose:
        name_configuration(config)
        log_to_stderr(config, "INFO")
    else:
        log_to_stderr(config, "WARNING", without=_SHOWN_BY_DISPLAY)
    display = choose_display(as_json=as_json)
    result = asyncio.run(OneShot(config, task, display).run())
    job = result.job
    if job is not None and job.error is not None and rejected(job):
        raise InvalidRequest(job.error.message, **(job.error.details or {}))
    display.finish(result)
    return result


def choose_display(*, as_json: bool) -> "Display":
    from ytarchive.cli.render.displays import Bars, JsonLines, Lines
    from ytarchive.cli.terminal.console import stderr, stdout

    if as_json:
        return JsonLines(stderr())
    out = stdout()
    return Bars(out) if out.is_terminal and not out.is_dumb_terminal else Lines(out)
