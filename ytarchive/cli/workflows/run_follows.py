"""`ytarchive follow run`: look now, and stay until what was found is saved."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from bus import Bus, BusError
from services.common.domain.follows import Follow
from services.common.events import FollowLooked
from services.common.settings.load import Config
from ytarchive.cli.jobs.exit_codes import Exit
from ytarchive.cli.render.displays import Display
from ytarchive.cli.render.follows import name_of
from ytarchive.cli.render.json_output import print_json
from ytarchive.cli.terminal.console import stderr, stdout
from ytarchive.cli.terminal.interruption import Interrupted, Interruption
from ytarchive.cli.workflows.watch import Watch
from ytarchive.client.connect import connected, reach
from ytarchive.client.endpoints import System
from ytarchive.client.follows import FollowsClient, RestFollows, running_follows
from ytarchive.text import count, safe_text

_ASK_AGAIN = 2.0  # seconds, in case that an event was missed


@dataclass
class FollowRun:
    """One `follow run`. `targets` empty: everything that is followed and not paused."""

    config: Config
    targets: Sequence[str]
    as_json: bool
    display: Callable[[], Display]

    async def run(self) -> Exit:
        """Return the exit code: the worst of the jobs, 1 when no look succeeded, 3 when some did not."""
        with Interruption() as interruption:
            try:
                async with AsyncExitStack() as resources:
                    system = await interruption.unless(
                        reach(
                            self.config,
                            resources,
                            extra_roots=[],
                            on_own_stack=lambda _stack: None,
                            notify=stderr().print,
                            downloads=True,
                        )
                    )
                    looked = await interruption.unless(self._look(system))
                    return await self._fetch(looked)
            except Interrupted:
                return Exit.INTERRUPTED

    async def _look(self, system: System) -> list[tuple[Follow, Follow]]:
        """Look at all of them. Return each as it was before, and after."""
        async with running_follows(system) as rest, connected(system) as bus:
            client = FollowsClient(rest)
            if self.targets:
                chosen = [await client.find(text) for text in self.targets]
            else:
                chosen = [follow for follow in await client.all() if not follow.paused]
            if not chosen and not self.as_json:
                stdout().print("Nothing is followed. `ytarchive follow add CHANNEL` keeps a channel by itself.")
            looked = []
            for before in chosen:
                after = await _look_at(bus, rest, before)
                self._tell(before, after)
                looked.append((before, after))
            return looked

    def _tell(self, before: Follow, after: Follow) -> None:
        found = after.taken - before.taken if after.job_id != before.job_id else 0
        left_out = max(0, after.left_out - before.left_out)
        if self.as_json:
            told: dict[str, Any] = {"type": "look", "found": found, "left_out": left_out}
            print_json(told | {"follow": after.model_dump(mode="json")})
            return
        if after.error is not None:
            stderr().print(f"{name_of(after)}: {safe_text(after.error.message, 1000)}", style="red", markup=False)
            return
        more = f", {left_out:,} left out by its rules" if left_out else ""
        stdout().print(f"{name_of(after)}: {count(found, 'new video')}{more}", markup=False)

    async def _fetch(self, looked: Sequence[tuple[Follow, Follow]]) -> Exit:
        worst = Exit.OK
        failed = sum(after.error is not None for _before, after in looked)
        if failed:
            worst = Exit.FAILED if failed == len(looked) else Exit.INCOMPLETE
        for before, after in looked:
            if after.job_id is None or after.job_id == before.job_id:
                continue
            display = self.display()
            result = await Watch(self.config, after.job_id, display).run()
            display.finish(result)
            if result.exit is Exit.INTERRUPTED:
                return Exit.INTERRUPTED
            worst = min((worst, result.exit), key=_ORDER.index)
        return worst


_ORDER = (Exit.FAILED, Exit.REFUSED, Exit.INCOMPLETE, Exit.PARKED, Exit.OK)  # the worst first


async def _look_at(bus: Bus, rest: RestFollows, before: Follow) -> Follow:
    """Ask for a look and return the follow when it is over; a look that runs already will do."""
    async with bus.tail(FollowLooked) as looked:
        events = looked.__aiter__()
        asked = await rest.look(before.follow_id)
        wanted = asked.looks if asked.looking else asked.looks + 1
        while True:
            now = await rest.get(before.follow_id)
            if now.looks >= wanted and not now.looking:
                return now
            with suppress(TimeoutError, BusError, StopAsyncIteration):
                async with asyncio.timeout(_ASK_AGAIN):
                    await anext(events)
