"""The bus as services see it: publish, request, tail, serve. The NATS JetStream adapter (DESIGN §4)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError
from pydantic import BaseModel, ValidationError

from bus import stream_gc
from bus.connection.connection_manager import API_TIMEOUT, FULL, Hook, Link, reason
from bus.consumer import Consumer
from bus.core_subscriptions import ERROR_HEADER, Callback, answering, cover, envelopes, hearing
from bus.errors import BrokerUnavailable, MessageTooLarge, NoAnswer
from bus.fault_injection import fault_point
from bus.handlers import Handlers
from bus.message import Delivery, Envelope, Event, UnreadableMessage
from bus.settings import BusSettings
from bus.streams import EVENTS, caught_up, ensure_consumer, stream_of
from bus.tasks import end

log = structlog.get_logger("bus", logger_name="bus")

M = TypeVar("M", bound=BaseModel)

PATIENCE = 30.0  # seconds that a publish waits for a broker that is away
_HEADER_ROOM = 4096  # bytes of max_payload left to headers: for a message above it the broker hangs up
_TAIL_LIMIT = 10_000  # messages that wait in a tail; what comes on top is dropped


class Bus:
    """One connection to the broker, of one instance of one service (or of a CLI)."""

    def __init__(self, link: Link) -> None:
        """Use `Bus.connect`."""
        self._link = link
        self._consumers: list[Consumer] = []
        self._listeners: list[tuple[str, str, Callback]] = []  # subject, queue group, callback
        self._subscriptions: list[Subscription] = []
        self._janitor: asyncio.Task[None] | None = None
        link.rebind.append(self._listen_anew)

    @classmethod
    async def connect(cls, settings: BusSettings, *, source: str) -> Self:
        """Connect and make or update the streams. `source` is `service/instance`.

        Raises BrokerUnavailable within about `settings.connect_timeout` seconds; its text names the remedy.
        """
        link = Link(settings, source)
        try:
            await link.open()
        except BaseException:
            await link.close(drain=False)
            raise
        return cls(link)

    @property
    def settings(self) -> BusSettings:
        return self._link.settings

    @property
    def link(self) -> Link:
        """For the bus's own parts."""
        return self._link

    @property
    def source(self) -> str:
        return self._link.source

    @property
    def js(self) -> JetStreamContext:
        """For what is not events: key-value buckets."""
        return self._link.js

    @property
    def online(self) -> asyncio.Event:
        """Set while connected to a broker whose streams were looked at since."""
        return self._link.online

    @property
    def connected(self) -> bool:
        """The TCP connection is up now."""
        return self._link.client.is_connected

    @property
    def store_created(self) -> datetime | None:
        """When the broker's stream EVENTS was made: another time is another store."""
        return self._link.created

    @property
    def on_reconnect(self) -> list[Hook]:
        """Awaited after each reconnection."""
        return self._link.on_reconnect

    @property
    def on_store_lost(self) -> list[Hook]:
        """Awaited, before those, when the broker came back without what it had stored."""
        return self._link.on_store_lost

    async def reachable(self) -> bool:
        """The stream EVENTS answers within 2 s."""
        try:
            async with asyncio.timeout(2.0):
                await self.js.stream_info(EVENTS)
        except (nats.errors.Error, TimeoutError):
            return False
        return True

    async def caught_up(self, handlers: Handlers) -> bool:
        """Whether nothing is left to do for these handlers, in this instance or another. False while the broker is
        away."""
        try:
            return await caught_up(self.js, handlers)
        except (nats.errors.Error, TimeoutError):
            return False

    # --- sending --------------------------------------------------------------------------------------------------

    async def publish(
        self,
        event: Event,
        *,
        trace_id: str,
        caused_by: str | None = None,
        id: str | None = None,
        patience: float | None = PATIENCE,
    ) -> Envelope:
        """Publish an event the way its class says; returns once the stream has stored it (core events: once sent).

        While the broker is away it is sent again under the same id for `patience` seconds (None: for ever), then
        BrokerUnavailable is raised. MessageTooLarge is raised at once.
        """
        envelope = Envelope.around(event, source=self.source, trace_id=trace_id, caused_by=caused_by, id=id)
        await self.send(envelope, type(event), patience=patience)
        return envelope

    async def send(self, envelope: Envelope, kind: type[Event], *, patience: float | None = PATIENCE) -> None:
        """Publish an envelope made earlier (an outbox): the same bytes under the same id. Errors as in publish()."""
        if kind.delivery is Delivery.REQUEST:
            raise TypeError(f"{kind.subject} is a request: use request()")
        raw = self._written(envelope)
        if kind.delivery is not Delivery.CORE:
            await self._store(envelope, kind, raw, patience)
        elif self.online.is_set():  # core events are about now: one that cannot be sent now is dropped
            with contextlib.suppress(nats.errors.Error):
                await self._link.client.publish(kind.subject, raw)

    async def erase(self, envelope: Envelope) -> None:
        """Overwrite a stored message, and every copy of it, in the stream EVENTS: it holds a secret. Consumers that
        have not read it pass over it. Raises BrokerUnavailable."""
        following: int | None = 1
        try:
            while following is not None:
                following = await self._erase_next(envelope, following)
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(f"{envelope.type} is not erased: {reason(error)}") from error

    async def _erase_next(self, envelope: Envelope, sequence: int) -> int | None:
        try:
            found = await self.js.get_msg(EVENTS, sequence, subject=envelope.type, next=True)
        except NotFoundError:
            return None
        assert found.seq is not None, "a stored message has a sequence"  # noqa: S101 - for the type checker
        with contextlib.suppress(UnreadableMessage):
            if Envelope.from_bytes(found.data or b"", envelope.type).id == envelope.id:
                await self.js.delete_msg(EVENTS, found.seq)
        return found.seq + 1

    async def request(
        self,
        event: Event,
        reply: type[M],
        *,
        trace_id: str,
        timeout: float,  # noqa: ASYNC109 - what happens at its end is ours: NoAnswer
    ) -> M:
        """Ask, and wait for one answer up to `timeout` seconds. Raises NoAnswer."""
        if event.delivery is not Delivery.REQUEST:
            raise TypeError(f"{event.subject} is delivered as {event.delivery}, not as a request")
        raw = self._written(Envelope.around(event, source=self.source, trace_id=trace_id))
        try:
            async with asyncio.timeout(timeout):
                message = await self._ask(event.subject, raw, timeout)
        except (nats.errors.Error, TimeoutError) as error:
            raise NoAnswer(f"{event.subject}: {str(error) or f'nothing within {timeout:g} s'}") from error
        fault_point(f"bus.answered.{event.subject}")
        if message.headers and ERROR_HEADER in message.headers:
            raise NoAnswer(f"{event.subject}: the answering service failed: {message.headers[ERROR_HEADER]}")
        try:
            return reply.model_validate_json(message.data)
        except ValidationError as error:
            raise NoAnswer(f"{event.subject}: the answer is not a {reply.__name__}") from error

    async def _ask(self, subject: str, raw: bytes, patience: float) -> Msg:
        while True:
            await self.online.wait()
            try:
                async with self._link.impatient():
                    return await self._link.client.request(subject, raw, timeout=patience)
            except TimeoutError:
                if self.online.is_set():
                    raise  # else the connection was lost: ask again when it is back

    def _written(self, envelope: Envelope) -> bytes:
        raw = envelope.to_bytes()
        limit = self._link.client.max_payload
        if len(raw) > limit - _HEADER_ROOM:
            raise MessageTooLarge(f"{envelope.type} of {len(raw)} bytes; the broker's max_payload is {limit}")
        return raw

    async def _store(self, envelope: Envelope, kind: type[Event], raw: bytes, patience: float | None) -> None:
        deadline = None if patience is None else time.monotonic() + patience
        headers = {api.Header.MSG_ID.value: envelope.id}
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                    await self.online.wait()
                    async with self._link.impatient():
                        await self.js.publish(
                            kind.subject, raw, timeout=API_TIMEOUT, stream=stream_of(kind), headers=headers
                        )
                fault_point(f"bus.published.{kind.subject}")
                return
            except BadRequestError as error:
                raise self._link.refusal(error) from error
            except (nats.errors.Error, TimeoutError) as error:
                if self._link.closing or (deadline is not None and time.monotonic() + pause >= deadline):
                    raise BrokerUnavailable(f"{kind.subject} is not stored: {reason(error)}") from error
                log.warning("publish_waits", subject=kind.subject, error=reason(error), trace_id=envelope.trace_id)
                await self._help_out(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _help_out(self, error: Exception) -> None:
        if isinstance(error, APIError) and error.err_code in FULL:
            await stream_gc.sweep(self.js)
        else:
            self._link.suspect()

    # --- listening ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def tail(self, *kinds: type[Event]) -> AsyncIterator[AsyncIterator[Envelope]]:
        """What is published from now on, stored or not, in the broker's order; each once; unreadable ones left out.

        A reader that is 10,000 messages behind loses the newest. The iterator ends when the bus is closed. Requests are
        nobody's to overhear, they may carry secrets: TypeError.
        """
        if any(kind.delivery is Delivery.REQUEST for kind in kinds):
            raise TypeError("a tail hears events, not requests")
        try:
            subscription = await self._link.client.subscribe(cover(kinds), pending_msgs_limit=_TAIL_LIMIT)
            await self._link.settle()  # from here on nothing is missed
        except nats.errors.Error as error:
            raise self._link.refusal(error) from error
        try:
            yield envelopes(subscription, {kind.subject for kind in kinds})
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    # --- serving --------------------------------------------------------------------------------------------------

    async def serve(self, handlers: Handlers, *parts: object) -> None:
        """Start the consumers, core subscriptions and request handlers of a service. `parts` are the objects that the
        handlers' parameters are filled from, by type. Returns once the broker has registered all of them.

        Raises TypeError when a part is missing, BrokerUnavailable when the broker refuses or, being connected, does not
        answer within about 30 s.
        """
        handlers = handlers.bind(*parts)
        try:
            for consumption in handlers.consumptions:
                await self._link.patiently(partial(ensure_consumer, self.js, consumption, self.settings))
                consumer = Consumer(self, handlers, consumption)
                self._consumers.append(consumer)
                self._link.bound.append(consumer)
                await consumer.start()
            for heard, ear in handlers.ears.items():
                await self._listen(heard.subject, "", hearing(heard, ear))
            for asked, answer in handlers.answers.items():
                group = "" if asked in handlers.answered_by_all else handlers.publisher
                await self._listen(asked.subject, group, self._soon(answering(asked, answer)))
            await self._link.patiently(self._link.settle)
        except (nats.errors.Error, TimeoutError) as error:
            raise self._link.refusal(error) from error
        if self._janitor is None and handlers.consumptions:
            self._janitor = asyncio.create_task(self._sweep_now_and_then())

    async def stop_pulling(self) -> None:
        """Fetch no more, while handlers in hand go on. Before they are told to end: what they say at their end may
        bring the next message, which then has to find no pull of ours."""
        await asyncio.gather(*(consumer.stop_pulling() for consumer in self._consumers))

    async def stop_serving(self, timeout: float) -> None:  # noqa: ASYNC109 - at its end handlers are stopped, not us
        """Fetch and hear no more, wait up to `timeout` seconds for the handlers in hand, give the rest back."""
        if self._janitor is not None:
            await end([self._janitor])
            self._janitor = None
        await self.stop_pulling()
        self._listeners.clear()
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        self._subscriptions.clear()
        await asyncio.gather(*(consumer.finish(timeout) for consumer in self._consumers))
        self._consumers.clear()
        self._link.bound.clear()

    async def close(self) -> None:
        """Stop serving if that was not done, send what is still to be sent, and hang up. Never raises for a broker
        that is away; may be called twice."""
        if self._link.closing:
            return
        await self.stop_serving(timeout=0.0)
        await self._link.close()

    async def _listen(self, subject: str, queue: str, callback: Callback) -> None:
        self._listeners.append((subject, queue, callback))
        self._subscriptions.append(await self._link.client.subscribe(subject, queue=queue, cb=callback))

    async def _listen_anew(self) -> None:
        listeners, self._listeners, self._subscriptions = self._listeners, [], []
        for listener in listeners:
            await self._listen(*listener)

    def _soon(self, respond: Callback) -> Callback:
        """A slow answer must not hold up the next one."""

        async def spawn(message: Msg) -> None:
            self._link.spawn(_finished(respond, message))

        return spawn

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(stream_gc.INTERVAL)
            if self.online.is_set():
                await stream_gc.sweep(self.js)


async def _finished(callback: Callback, message: Msg) -> None:
    await callback(message)
