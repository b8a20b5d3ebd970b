"""`ytarchive follow import`: what a file would let be followed, and following it. A row is {target, result}."""

from collections.abc import Sequence
from typing import Any

from services.common.errors import InvalidRequest, YTArchiveError
from services.common.settings.load import Config
from services.common.targets import follow_id_of
from ytarchive.client.endpoints import System
from ytarchive.client.follows import open_follows, running_follows
from ytarchive.planning.job_request import make_request
from ytarchive.planning.subscriptions import read_subscriptions

Row = dict[str, str]


async def examine(
    config: Config, file: str, *, last: int | None, quality: str | None
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Return the rows of what is not to be followed, and the requests for the others. Raise InvalidRequest."""
    async with open_follows(config) as follows:
        there = {follow.follow_id for follow in await follows.all()}
    rows, wanted = list[Row](), list[dict[str, Any]]()
    for target in read_subscriptions(file):
        try:
            request = make_request([target], config, quality=quality)
            follow_id = follow_id_of(target)
        except InvalidRequest as error:
            rows.append({"target": target, "result": f"refused: {error.message}"})
            continue
        if follow_id in there:
            rows.append({"target": target, "result": "followed already"})
            continue
        there.add(follow_id)
        options = request.options.model_dump(mode="json")
        wanted.append({"target": target, "type": request.type, "options": options, "last": last})
    return rows, wanted


async def add_all(system: System, wanted: Sequence[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    async with running_follows(system) as rest:
        for body in wanted:
            try:
                await rest.add(body)
                rows.append({"target": body["target"], "result": "followed"})
            except YTArchiveError as error:
                rows.append({"target": body["target"], "result": f"refused: {error.message}"})
    return rows
