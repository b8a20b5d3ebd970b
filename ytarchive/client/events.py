"""Following the bus for `events tail`."""

import asyncio
import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from bus import Bus, BusError
from bus.message import Delivery, Envelope, Event
from services.common import events as e
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.messaging import connect_bus
from services.common.settings.load import Config
from ytarchive.cli.render.text import safe_text
from ytarchive.client.endpoints import System, find_system

_QUIET = {e.LogRecorded.subject, e.ServiceHeartbeat.subject}
_LOOK = 1.0  # seconds between two looks at whether the stack is there


def chosen_kinds(patterns: Sequence[str]) -> list[type[Event]]:
    """The events that the patterns name (`download.*`); without any all but logs and heartbeats.

    Raises InvalidRequest for a pattern that names none.
    """
    kinds = [kind for kind in e.catalogue() if kind.delivery is not Delivery.REQUEST]
    if not patterns:
        return [kind for kind in kinds if kind.subject not in _QUIET]
    for pattern in patterns:
        if not any(fnmatchcase(kind.subject, pattern) for kind in kinds):
            known = ", ".join(sorted(kind.subject for kind in kinds))
            raise InvalidRequest(f"--type {safe_text(pattern)}: there is no such event. There are: {known}.")
    return [kind for kind in kinds if any(fnmatchcase(kind.subject, pattern) for pattern in patterns)]


def of_job(envelope: Envelope, wanted: str, traces: set[str]) -> bool:
    """Does it name the job, or carry a trace that an earlier one of the job carried? `traces` is added to."""
    if str(envelope.data.get("job_id", "")).startswith(wanted):
        traces.add(envelope.trace_id)
        return True
    return envelope.trace_id in traces


async def tail_events(
    system: System, config: Config, kinds: Sequence[type[Event]], job: str | None, show: Callable[[Envelope], None]
) -> None:
    """Until the system goes away: then ServiceUnavailable. Raises BusError when it cannot be reached at all."""
    bus = await connect_bus(system.bus, source=f"cli/{os.getpid()}")
    try:
        listening = asyncio.ensure_future(_listen(bus, kinds, job, show))
        gone = asyncio.ensure_future(_until_gone(system, config))
        try:
            await asyncio.wait({listening, gone}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
        finally:
            for task in (listening, gone):
                task.cancel()
            await asyncio.gather(listening, gone, return_exceptions=True)
    finally:
        await bus.close()
    raise ServiceUnavailable("The stack was stopped; its events end here.")


async def _listen(bus: Bus, kinds: Sequence[type[Event]], job: str | None, show: Callable[[Envelope], None]) -> None:
    traces: set[str] = set()
    while True:  # a tail ends when the bus has to connect anew
        await bus.online.wait()
        try:
            async with bus.tail(*kinds) as envelopes:
                async for envelope in envelopes:
                    if job is None or of_job(envelope, job, traces):
                        show(envelope)
        except BusError:
            await asyncio.sleep(0.2)


async def _until_gone(system: System, config: Config) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        if system.pid is not None:
            now = await find_system(config)
            if now is None or now.pid != system.pid:
                return
