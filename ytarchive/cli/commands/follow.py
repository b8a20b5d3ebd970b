"""`ytarchive follow …`: keep channels and playlists by themselves."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ytarchive.cli.commands.download import Captions, MetadataOnly, NoCaptions, OutputDir, Quality, choose_display
from ytarchive.cli.terminal.options import AsJson, Invocation, run_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.common.domain.follows import Follow
    from services.common.rules import Rules
    from ytarchive.client.endpoints import System
    from ytarchive.client.follows import RestFollows

app = typer.Typer(help="Keep channels and playlists by themselves.", no_args_is_help=True, rich_markup_mode=None)

Target = Annotated[str, typer.Argument(metavar="TARGET", help="The id or URL of a channel or playlist.")]
Wanted = Annotated[str, typer.Argument(metavar="FOLLOW", help="Its target, its name, or the beginning of its id.")]
Kinds = Annotated[
    str | None,
    typer.Option("--kind", metavar="KINDS", help="Only these, as video,short,stream,premiere; all: no such rule."),
]
TitleInclude = Annotated[str | None, typer.Option(metavar="RE", help="Only titles that match.")]
TitleExclude = Annotated[str | None, typer.Option(metavar="RE", help="No titles that match.")]
DescriptionInclude = Annotated[str | None, typer.Option(metavar="RE", help="Only descriptions that match.")]
DescriptionExclude = Annotated[str | None, typer.Option(metavar="RE", help="No descriptions that match.")]
Since = Annotated[str | None, typer.Option(metavar="DATE", help="Published then (YYYY-MM-DD, UTC) or later.")]
MinLength = Annotated[str | None, typer.Option(metavar="TIME", help="As 90s, 2m or 1h30m.")]
MaxLength = Annotated[str | None, typer.Option(metavar="TIME", help="As 90s, 2m or 1h30m.")]
MinViews = Annotated[str | None, typer.Option(metavar="N", help="Seen so often when it is found.")]
MaxViews = Annotated[str | None, typer.Option(metavar="N", help="Seen no more often when it is found.")]
Members = Annotated[
    str | None, typer.Option("--members-only", metavar="exclude|only", help="Videos for members of the channel.")
]
Languages = Annotated[str | None, typer.Option("--language", metavar="LANGS", help="Only these, as en,pt-BR.")]
Every = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Look so often, as 1h; auto, or unset: by the channel's own rhythm."),
]
Priority = Annotated[int | None, typer.Option(min=-100, max=100, help="Of its jobs; unset: 0.")]


@app.command()
def add(
    context: typer.Context,
    target: Target,
    kind: Kinds = None,
    title_include: TitleInclude = None,
    title_exclude: TitleExclude = None,
    description_include: DescriptionInclude = None,
    description_exclude: DescriptionExclude = None,
    since: Since = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    min_views: MinViews = None,
    max_views: MaxViews = None,
    members_only: Members = None,
    language: Languages = None,
    last: Annotated[
        int | None, typer.Option(min=1, max=20_000, help="Of what is there now, only so many newest; unset: all.")
    ] = None,
    every: Every = None,
    quality: Quality = None,
    captions: Captions = None,
    no_captions: NoCaptions = False,
    metadata_only: MetadataOnly = False,
    output_dir: OutputDir = None,
    priority: Priority = None,
    as_json: AsJson = False,
) -> None:
    """Follow a channel or playlist: save what is there, and what comes.

    `ytarchive up` looks by itself; without it, `ytarchive follow run` looks now.
    """
    from ytarchive.planning.job_request import make_request

    rules = _changed_rules(None, _rule_options(locals()))
    invocation: Invocation = context.obj
    request = make_request(
        [target],
        invocation.config(),
        quality=quality,
        output_dir=output_dir,
        captions=captions,
        no_captions=no_captions,
        metadata_only=metadata_only,
    )
    options = request.options.model_dump(mode="json") | {"rules": _as_json(rules)}
    body = {"target": target, "type": request.type, "options": options, "priority": priority or 0, "last": last}
    seconds = _seconds(every)
    follow = _send(invocation, lambda rest: rest.add(body | ({"every_seconds": seconds} if seconds else {})))
    _show(follow, f"Following {_name(follow)} from now on ({follow.follow_id}). {_WHO_LOOKS}", as_json=as_json)


_WHO_LOOKS = "`ytarchive up` looks by itself, `ytarchive follow run` now."


@app.command("import")
def import_follows(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="subscriptions.csv, OPML, NewPipe's JSON, or a list.")],
    last: Annotated[
        int | None, typer.Option(min=1, max=20_000, help="Of each, only so many newest of what is there; unset: all.")
    ] = None,
    quality: Quality = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be followed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow the channels of another program: Takeout, a feed reader, NewPipe.

    What is followed already stays as it is. Exit code 3 when something in the file cannot be followed.
    """
    from ytarchive.cli.render.follows import imported_view
    from ytarchive.cli.terminal.output import show_data
    from ytarchive.cli.workflows.import_follows import add_all, examine
    from ytarchive.cli.workflows.query import run_query

    invocation: Invocation = context.obj
    config = invocation.config()
    rows, wanted = run_async(examine(config, file, last=last, quality=quality))
    if dry_run:
        rows += [{"target": body["target"], "result": "would be followed"} for body in wanted]
    elif wanted:
        rows += run_query(config, lambda system: add_all(system, wanted), verbose=invocation.verbose)
    show_data({"targets": rows}, lambda: imported_view(rows), as_json=as_json)
    if any(row["result"].startswith("refused") for row in rows):
        raise typer.Exit(3)


@app.command("list")
def list_follows(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is followed, with the next look and what was found last."""
    from ytarchive.cli.render.follows import follows_table
    from ytarchive.cli.terminal.output import show_data
    from ytarchive.client.follows import open_follows

    invocation: Invocation = context.obj

    async def read() -> "list[Follow]":
        async with open_follows(invocation.config()) as follows:
            return await follows.all()

    found = run_async(read())
    data = {"follows": [follow.model_dump(mode="json") for follow in found], "total": len(found)}
    show_data(data, lambda: follows_table(found, datetime.now(UTC)), as_json=as_json)


@app.command("show")
def show_follow(
    context: typer.Context,
    wanted: Wanted,
    left_out: Annotated[int, typer.Option(min=0, max=500, help="How many of the videos left out to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a follow: when it is looked at, what was found, and what its rules left out and why."""
    from services.common.domain.follows import FollowVideoState
    from services.jobs.rest_models import FollowVideoList, FollowVideoQuery
    from ytarchive.cli.render.follows import follow_view
    from ytarchive.cli.terminal.output import show_data
    from ytarchive.client.follows import open_follows

    invocation: Invocation = context.obj

    async def read() -> "tuple[Follow, FollowVideoList]":
        async with open_follows(invocation.config()) as follows:
            follow = await follows.find(wanted)
            query = FollowVideoQuery(state=FollowVideoState.LEFT_OUT, limit=max(1, left_out))
            return follow, await follows.videos(follow.follow_id, query)

    follow, videos = run_async(read())
    videos.videos = videos.videos[:left_out]
    data = {"follow": follow.model_dump(mode="json"), "left_out": videos.model_dump(mode="json")["videos"]}
    show_data(data, lambda: follow_view(follow, videos, datetime.now(UTC)), as_json=as_json)


@app.command()
def edit(
    context: typer.Context,
    wanted: Wanted,
    kind: Kinds = None,
    title_include: TitleInclude = None,
    title_exclude: TitleExclude = None,
    description_include: DescriptionInclude = None,
    description_exclude: DescriptionExclude = None,
    since: Since = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    min_views: MinViews = None,
    max_views: MaxViews = None,
    members_only: Members = None,
    language: Languages = None,
    every: Every = None,
    quality: Quality = None,
    captions: Captions = None,
    no_captions: NoCaptions = False,
    output_dir: OutputDir = None,
    priority: Priority = None,
    as_json: AsJson = False,
) -> None:
    """Change a follow. What is not named stays; an empty value ends a rule, as `--title-exclude ""`.

    Other rules let the next look read the whole list again: what they take now is fetched.
    """
    from services.common.errors import InvalidRequest

    invocation: Invocation = context.obj
    before = _find(invocation, wanted)
    rules = _changed_rules(before.options.rules, _rule_options(locals()))
    options = before.options.model_dump(mode="json") | {"rules": _as_json(rules)}
    options |= {} if quality is None else {"quality": quality}
    options |= {} if output_dir is None else {"output_dir": output_dir}
    if captions is not None or no_captions:
        languages = [part.strip() for part in (captions or "").split(",") if part.strip()]
        options |= {"include_captions": not no_captions} | ({"caption_languages": languages} if languages else {})
    body: dict[str, Any] = {}
    if options != before.options.model_dump(mode="json") | {"rules": _as_json(before.options.rules)}:
        body["options"] = options
    if every is not None:
        body["every_seconds"] = _seconds(every) or 0
    if priority is not None:
        body["priority"] = priority
    if not body:
        raise InvalidRequest("Nothing is to change: name an option. `ytarchive follow edit --help` lists them.")
    follow = _send(invocation, lambda rest: rest.change(before.follow_id, body))
    _show(follow, f"{_name(follow)} is changed.", as_json=as_json)


@app.command()
def pause(context: typer.Context, wanted: Wanted, as_json: AsJson = False) -> None:
    """Look no more until it is resumed."""
    _pause(context.obj, wanted, paused=True, as_json=as_json)


@app.command()
def resume(context: typer.Context, wanted: Wanted, as_json: AsJson = False) -> None:
    """Look again, as before the pause."""
    _pause(context.obj, wanted, paused=False, as_json=as_json)


def _pause(invocation: Invocation, wanted: str, *, paused: bool, as_json: bool) -> None:
    before = _find(invocation, wanted)
    follow = _send(invocation, lambda rest: rest.change(before.follow_id, {"paused": paused}))
    _show(follow, f"{_name(follow)} is {'paused' if paused else 'looked at again'}.", as_json=as_json)


@app.command()
def remove(context: typer.Context, wanted: Wanted, as_json: AsJson = False) -> None:
    """End a follow. What it has saved stays."""
    invocation: Invocation = context.obj
    before = _find(invocation, wanted)

    async def end(rest: "RestFollows") -> "Follow":
        await rest.remove(before.follow_id)
        return before

    follow = _send(invocation, end)
    _show(follow, f"{_name(follow)} is not followed any more. What was saved stays.", as_json=as_json)


@app.command()
def run(
    context: typer.Context,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="FOLLOW", help="Targets, names or ids; none: all but paused ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look now, and end when what was found is saved. Exit codes as for `ytarchive download`."""
    from ytarchive.cli.terminal.console import log_to_stderr
    from ytarchive.cli.workflows.run_follows import FollowRun

    invocation: Invocation = context.obj
    config = invocation.config()
    log_to_stderr(config, "INFO" if invocation.verbose else "ERROR")
    follows = FollowRun(config, targets or [], as_json, lambda: choose_display(as_json=as_json))
    raise typer.Exit(int(run_async(follows.run())))


@app.command("test")
def try_rules(
    context: typer.Context,
    target: Target,
    kind: Kinds = None,
    title_include: TitleInclude = None,
    title_exclude: TitleExclude = None,
    description_include: DescriptionInclude = None,
    description_exclude: DescriptionExclude = None,
    since: Since = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    min_views: MinViews = None,
    max_views: MaxViews = None,
    members_only: Members = None,
    language: Languages = None,
    as_json: AsJson = False,
) -> None:
    """Show what rules would take of the newest hundred videos, and why not the others. Nothing is saved.

    Without rules, those of the follow of this target are tried, if it is followed.
    """
    from services.common.domain.follows import RulesTrial
    from services.common.errors import NotFound
    from ytarchive.cli.render.follows import trial_view
    from ytarchive.cli.terminal.output import show
    from ytarchive.cli.workflows.query import run_query
    from ytarchive.client.metadata import TIMEOUT

    given = _rule_options(locals())
    invocation: Invocation = context.obj
    known = None
    if not given:
        try:
            known = _find(invocation, target)
        except NotFound:
            known = None
    rules = _changed_rules(known.options.rules if known else None, given)
    body = {"target": known.target if known else target, "rules": _as_json(rules)}

    async def ask(system: "System") -> RulesTrial:
        async with system.rest("metadata", answer_timeout=TIMEOUT) as rest:
            return RulesTrial.model_validate(await rest.send("POST", "metadata/rules/try", body))

    trial = run_query(invocation.config(), ask, verbose=invocation.verbose)
    show(trial, lambda: trial_view(trial), as_json=as_json)


# --- shared -------------------------------------------------------------------------------------------------------

_RULES = (
    "kind", "title_include", "title_exclude", "description_include", "description_exclude", "since", "min_length",
    "max_length", "min_views", "max_views", "members_only", "language",
)  # fmt: skip
_LISTS = {"kind": "kinds", "language": "languages"}


def _rule_options(arguments: dict[str, Any]) -> dict[str, str]:
    return {name: arguments[name] for name in _RULES if arguments[name] is not None}


def _changed_rules(before: "Rules | None", given: dict[str, str]) -> "Rules":
    """Return the rules with what was given on the command line; an empty value ends a rule. Raise InvalidRequest."""
    from pydantic import ValidationError

    from services.common.errors import InvalidRequest
    from services.common.rules import Rules
    from services.common.validation import problems_of

    fields: dict[str, Any] = before.model_dump(mode="json", exclude_defaults=True) if before is not None else {}
    for option, text in given.items():
        name = _LISTS.get(option, option)
        fields.pop(name, None)
        if not text or (option == "kind" and text == "all"):
            continue
        fields[name] = [part.strip() for part in text.split(",") if part.strip()] if option in _LISTS else text
    try:
        return Rules.model_validate(fields)
    except ValidationError as error:
        first = problems_of(error)[0]
        names = {name: option for option, name in _LISTS.items()}
        root = first.field.split(".")[0]
        option = names.get(root, root).replace("_", "-")
        raise InvalidRequest(f"--{option}: {first.text}" if option else first.text) from error


def _as_json(rules: "Rules") -> dict[str, Any]:
    return rules.model_dump(mode="json", exclude_defaults=True)


def _seconds(every: str | None) -> float | None:
    from services.common.errors import InvalidRequest
    from services.common.rules import parse_length

    if every is None or every == "auto":
        return None
    try:
        return parse_length(every)
    except ValueError as error:
        raise InvalidRequest(f"--every: {error}") from error


def _find(invocation: Invocation, wanted: str) -> "Follow":
    from ytarchive.client.follows import open_follows

    async def find() -> "Follow":
        async with open_follows(invocation.config()) as follows:
            return await follows.find(wanted)

    return run_async(find())


def _send(invocation: Invocation, work: "Callable[[RestFollows], Awaitable[Follow]]") -> "Follow":
    """Run a change on the running system, or on one that is started for it."""
    from ytarchive.cli.workflows.query import run_query
    from ytarchive.client.follows import running_follows

    async def send(system: "System") -> "Follow":
        async with running_follows(system) as rest:
            return await work(rest)

    return run_query(invocation.config(), send, verbose=invocation.verbose)


def _name(follow: "Follow") -> str:
    from ytarchive.cli.render.follows import name_of

    return name_of(follow)


def _show(follow: "Follow", message: str, *, as_json: bool) -> None:
    from rich.text import Text

    from ytarchive.cli.terminal.output import show_data

    show_data({"follow": follow.model_dump(mode="json"), "message": message}, lambda: Text(message), as_json=as_json)
