"""Requests of people about follows: they become events, which the queue applies."""

from uuid import uuid4

from bus import Bus
from bus.message import Event
from services.common import events as e
from services.common.domain.follows import Follow
from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.models import JobOptions
from services.common.targets import follow_id_of
from services.jobs.adapters.follow_reader import FollowReader
from services.jobs.adapters.store import Store
from services.jobs.domain.state_machine import Accepted, Rejected
from services.jobs.job_queue import JobQueue
from services.jobs.job_validator import JobValidator
from services.jobs.rest_models import FollowPatch, NewFollow

_VALIDATION_TIMEOUT = 20.0  # seconds


class FollowDesk:
    """Creates, changes and removes follows, and asks for looks."""

    def __init__(self, bus: Bus, store: Store, validator: JobValidator, queue: JobQueue) -> None:
        self._bus = bus
        self._validator = validator
        self._queue = queue
        self.reader = FollowReader(store)

    async def create(self, body: NewFollow, trace_id: str) -> Follow:
        """Raise InvalidRequest for what cannot be followed, and for what is followed already."""
        follow_id = follow_id_of(body.target)
        if (known := await self.reader.find(follow_id)) is not None:
            raise InvalidRequest(
                f"{body.target} is followed already, since {known.created_at:%Y-%m-%d}: change that follow, or remove"
                " it first.",
                follow_id=follow_id,
            )
        options = body.options.model_copy(update={"api_key": None})
        root = await self._validated(body.target, options)
        await self._apply(
            e.FollowCreated(
                follow_id=follow_id,
                change_id=str(uuid4()),
                target=body.target,
                type=body.type,
                options=options,
                root=root,
                priority=body.priority,
                every_seconds=body.every_seconds,
                last=body.last,
            ),
            trace_id,
        )
        return await self.reader.get(follow_id)

    async def change(self, follow_id: str, body: FollowPatch, trace_id: str) -> Follow:
        """Raise NotFound, InvalidRequest."""
        follow = await self.reader.get(follow_id)
        root = options = None
        if body.options is not None:
            options = body.options.model_copy(update={"api_key": None})
            root = await self._validated(follow.target, options)
        changed = e.FollowChanged(
            follow_id=follow_id,
            change_id=str(uuid4()),
            options=options,
            root=root,
            priority=body.priority,
            every_seconds=body.every_seconds,
            paused=body.paused,
        )
        await self._apply(changed, trace_id)
        return await self.reader.get(follow_id)

    async def look(self, follow_id: str, trace_id: str) -> Follow:
        """Ask for a look now. Raise NotFound."""
        await self.reader.get(follow_id)
        await self._apply(e.FollowLookRequested(follow_id=follow_id, change_id=str(uuid4())), trace_id)
        return await self.reader.get(follow_id)

    async def remove(self, follow_id: str, trace_id: str) -> None:
        """Raise NotFound."""
        await self.reader.get(follow_id)
        await self._apply(e.FollowRemoved(follow_id=follow_id, change_id=str(uuid4())), trace_id)

    async def _apply(self, event: Event, trace_id: str) -> None:
        await self._queue.take([await self._bus.publish(event, trace_id=trace_id)])

    async def _validated(self, target: str, options: JobOptions) -> str:
        """Return the archive root. The rules of a job hold."""
        as_job = e.JobCreated(job_id=f"check-{uuid4()}", targets=(target,), options=options)
        verdict = await self._validator.verdict(as_job, _VALIDATION_TIMEOUT)
        match verdict:
            case Accepted():
                return verdict.root
            case Rejected():
                raise InvalidRequest(verdict.error.message, **(verdict.error.details or {}))
            case _:
                raise ServiceUnavailable("output_dir could not be checked in time: its file system does not answer.")
