"""The events on the bus, as they happen."""

import asyncio
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from bus import Bus, BusError
from bus.errors import BrokerRefuses
from bus.message import Delivery, Envelope, Event
from bus.tasks import cancel_and_wait, unless
from services.common import events as e
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.settings.load import Config
from ytarchive.client.connect import connected, still_there
from ytarchive.client.endpoints import System
from ytarchive.text import safe_text

_ONLY_BY_NAME = {e.LogRecorded.subject, e.ServiceHeartbeat.subject}
_CHECK_INTERVAL = 1.0  # seconds between two checks that the stack is alive
_RESUBSCRIBE_PAUSE = 0.2  # seconds before another try to subscribe where the bus says that it is connected


def event_types(patterns: Sequence[str]) -> list[type[Event]]:
    """Return the event types whose subjects match the patterns (`download.*`); without patterns all but log records and
    heartbeats. Raise InvalidRequest for a pattern without a match."""
    kinds = [kind for kind in e.catalogue() if kind.delivery is not Delivery.REQUEST]
    if not patterns:
        return [kind for kind in kinds if kind.subject not in _ONLY_BY_NAME]
    for pattern in patterns:
        if not any(fnmatchcase(kind.subject, pattern) for kind in kinds):
            known = ", ".join(sorted(kind.subject for kind in kinds))
            raise InvalidRequest(f"--type {safe_text(pattern)}: there is no such event type. Event types: {known}.")
    return [kind for kind in kinds if any(fnmatchcase(kind.subject, pattern) for pattern in patterns)]


async def follow_events(
    system: System, config: Config, kinds: Sequence[type[Event]], job: str | None, show: Callable[[Envelope], None]
) -> None:
    """Show events until the system stops: then raise ServiceUnavailable. `job`: only events of jobs whose ids begin
    with it. Raise BusError when the broker cannot be reached."""
    async with connected(system) as bus:
        stopped = asyncio.Event()
        watching = asyncio.ensure_future(_watch(system, config, stopped))
        try:
            await unless(_follow(bus, kinds, job, show), stopped)
        finally:
            await cancel_and_wait([watching])
    raise ServiceUnavailable("The stack was stopped; its events end here.")


async def _follow(bus: Bus, kinds: Sequence[type[Event]], job: str | None, show: Callable[[Envelope], None]) -> None:
    traces: set[str] = set()
    while True:  # the subscription ends when the bus reconnects
        await bus.online.wait()
        try:
            async with bus.tail(*kinds) as envelopes:
                async for envelope in envelopes:
                    if job is None or _is_of_job(envelope, job, traces):
                        show(envelope)
        except BusError as error:
            if isinstance(error, BrokerRefuses):
                raise
            await asyncio.sleep(_RESUBSCRIBE_PAUSE)


def _is_of_job(envelope: Envelope, job: str, traces: set[str]) -> bool:
    """Return whether an event names the job, or belongs to a trace of an earlier event of the job. Update `traces`."""
    if str(envelope.data.get("job_id", "")).startswith(job):
        traces.add(envelope.trace_id)
        return True
    return envelope.trace_id in traces


async def _watch(system: System, config: Config, stopped: asyncio.Event) -> None:
    while await still_there(system, config):  # noqa: ASYNC110 - another process sends no event when it ends
        await asyncio.sleep(_CHECK_INTERVAL)
    stopped.set()
