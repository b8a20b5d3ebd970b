"""Send envelopes to the broker: to a stream until it has stored them, or to current subscribers."""

import asyncio
import contextlib
import time

import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError, BadRequestError

from bus.connection.connection_manager import API_TIMEOUT, FULL, ConnectionManager, reason
from bus.connection.refusals import PermissionViolation
from bus.errors import BrokerUnavailable, MessageTooLarge
from bus.fault_injection import fault_point
from bus.message import Delivery, Envelope, Event
from bus.streams.configuration import EVENTS, stream_of
from bus.streams.stream_gc import StreamGC

log = structlog.get_logger("bus", logger_name="bus")

PATIENCE = 30.0  # seconds that a publish waits for an unavailable broker
_LATELY = 10.0  # seconds that a refusal is remembered: longer than the pause between two tries
_HEADER_ROOM = 4096  # bytes of max_payload reserved for headers: the broker disconnects who exceeds max_payload


class Publisher:
    """Publishes envelopes over one connection."""

    def __init__(self, connection: ConnectionManager, gc: StreamGC) -> None:
        self._connection = connection
        self._gc = gc
        self._refused: tuple[float, str] | None = None  # when (monotonic seconds) and why EVENTS last did not store

    @property
    def source(self) -> str:
        return self._connection.source

    def not_storing(self) -> str | None:
        """Return why the stream EVENTS did not store an event lately; None when the last one was stored."""
        if self._refused is None or time.monotonic() - self._refused[0] > _LATELY:
            return None
        return self._refused[1]

    async def send(self, envelope: Envelope, kind: type[Event], *, patience: float | None = PATIENCE) -> None:
        """Publish an envelope as its event class declares. Return once the stream has stored it; a core event is sent
        once, and dropped while the broker is unavailable.

        An unavailable broker is retried under the same id for `patience` seconds (None: without limit), then
        BrokerUnavailable is raised. MessageTooLarge and BrokerRefuses (no permission) are raised at once.
        """
        if kind.delivery is Delivery.REQUEST:
            raise TypeError(f"{kind.subject} is a request: use request()")
        raw = self.encode(envelope)
        if kind.delivery is not Delivery.CORE:
            await self._store(envelope, kind, raw, patience)
        elif self._connection.online.is_set():
            with contextlib.suppress(nats.errors.Error):
                await self._connection.client.publish(kind.subject, raw)

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of an envelope. Raise MessageTooLarge when they exceed the broker's max_payload."""
        raw = envelope.to_bytes()
        limit = self._connection.client.max_payload
        if len(raw) > limit - _HEADER_ROOM:
            raise MessageTooLarge(f"{envelope.type} of {len(raw)} bytes; the broker's max_payload is {limit}")
        return raw

    async def _store(self, envelope: Envelope, kind: type[Event], raw: bytes, patience: float | None) -> None:
        connection = self._connection
        deadline = None if patience is None else time.monotonic() + patience
        headers = {api.Header.MSG_ID.value: envelope.id}
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                    await connection.online.wait()
                    async with connection.fail_fast():
                        await connection.js.publish(
                            kind.subject, raw, timeout=API_TIMEOUT, stream=stream_of(kind), headers=headers
                        )
                if stream_of(kind) == EVENTS:
                    self._refused = None
                fault_point(f"bus.published.{kind.subject}")
                return
            except PermissionViolation as error:
                self._refused = time.monotonic(), str(connection.refusal(error))
                raise connection.refusal(error) from error
            except BadRequestError as error:
                raise connection.refusal(error) from error
            except (nats.errors.Error, TimeoutError) as error:
                if stream_of(kind) == EVENTS and connection.online.is_set():
                    self._refused = time.monotonic(), str(connection.refusal(error))
                if connection.closing or (deadline is not None and time.monotonic() + pause >= deadline):
                    raise BrokerUnavailable(f"{kind.subject} is not stored: {reason(error)}") from error
                log.warning("publish_waits", subject=kind.subject, error=reason(error), trace_id=envelope.trace_id)
                await self._recover(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _recover(self, error: Exception) -> None:
        if isinstance(error, APIError) and error.err_code in FULL:
            if not self._gc.purges:
                return  # the service that purges looks at the stream all the time
            with contextlib.suppress(nats.errors.Error, TimeoutError):  # the next try is soon
                await self._gc.collect()
        else:
            self._connection.verify_soon()
