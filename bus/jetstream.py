"""The bus as services use it: publish, request, tail, serve. The NATS JetStream adapter (docs/decisions/0017)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import BadRequestError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ValidationError

from bus.connection.connection_manager import ConnectionManager, Hook, reason
from bus.connection.refusals import PermissionViolation
from bus.consumer import Consumer
from bus.core_subscriptions import ERROR_HEADER, Callback, core_callback, cover, envelopes, request_callback
from bus.errors import BrokerUnavailable, NoAnswer
from bus.fault_injection import fault_point
from bus.handlers import Handlers
from bus.message import Delivery, Envelope, Event, UnreadableMessage
from bus.publisher import PATIENCE, Publisher
from bus.schema import BusSchema
from bus.settings import BusSettings
from bus.streams.configuration import EVENTS, caught_up, ensure_consumer, has_quorum
from bus.streams.stream_gc import StreamGC
from bus.streams.stream_room import StreamRoom
from bus.tasks import cancel_and_wait

log = structlog.get_logger("bus", logger_name="bus")

M = TypeVar("M", bound=BaseModel)

_PATIENCE = 2.0  # seconds for the broker to describe a stream
_TAIL_LIMIT = 10_000  # messages buffered for a tail; more are dropped


class Bus:
    """One connection to the broker, of one service instance or one CLI process."""

    def __init__(self, connection: ConnectionManager) -> None:
        """Use `Bus.connect`."""
        self._connection = connection
        self._gc = StreamGC(connection.schema, lambda: connection.js, purges=connection.owns_streams)
        self._publisher = Publisher(connection, self._gc)
        self._consumers: list[Consumer] = []
        self._callbacks: list[tuple[str, str, Callback]] = []  # subject, queue group, callback
        self._subscriptions: list[Subscription] = []
        self._collecting: asyncio.Task[None] | None = None
        connection.rebind.append(self._subscribe_again)

    @classmethod
    async def connect(cls, settings: BusSettings, *, source: str, schema: BusSchema) -> Self:
        """Connect, and create or update the streams. `source` is `service/instance`.

        Raise BrokerUnavailable, which names the remedy, within about `settings.connect_timeout` seconds.
        """
        connection = ConnectionManager(settings, source, schema)
        try:
            await connection.open()
        except BaseException:
            await connection.close(drain=False)
            raise
        return cls(connection)

    @property
    def settings(self) -> BusSettings:
        return self._connection.settings

    @property
    def connection(self) -> ConnectionManager:
        """For parts of the bus itself."""
        return self._connection

    @property
    def schema(self) -> BusSchema:
        return self._connection.schema

    @property
    def source(self) -> str:
        return self._connection.source

    @property
    def js(self) -> JetStreamContext:
        """For key-value buckets."""
        return self._connection.js

    @property
    def online(self) -> asyncio.Event:
        """Set while connected to a broker whose streams were verified since."""
        return self._connection.online

    @property
    def connected(self) -> bool:
        """Whether the TCP connection is open."""
        return self._connection.client.is_connected

    @property
    def store_created(self) -> datetime | None:
        """When the stream EVENTS was created; a different time means a different store."""
        return self._connection.created

    @property
    def on_reconnect(self) -> list[Hook]:
        """Coroutine functions to call after each reconnection."""
        return self._connection.on_reconnect

    @property
    def on_store_lost(self) -> list[Hook]:
        """Coroutine functions to call, before those, when the broker has lost its store."""
        return self._connection.on_store_lost

    @property
    def room(self) -> StreamRoom:
        """The room in the stream EVENTS, a few seconds ago at most while handlers are served."""
        return self._gc.room

    @property
    def undeclared_durables(self) -> Mapping[str, int]:
        """Durables of EVENTS that no service reads any more, with the number of their open messages."""
        return self._gc.undeclared.found

    @property
    def away(self) -> str | None:
        """Why nothing can be sent, with the remedy; None while the TCP connection is open."""
        if self.connected:
            return None
        return f"the broker at {self._connection.place} is away: start it, or correct [nats] url"

    async def problem(self, *, new_work: bool = False) -> str | None:
        """Return why events cannot be stored, with the remedy; None when they can. With `new_work` also when the rest
        of the room is kept for the events of running work. Takes about 2 s at most."""
        connection = self._connection
        if self.away is not None:
            return self.away
        try:
            async with asyncio.timeout(_PATIENCE):
                stream = await self.js.stream_info(EVENTS)
                room = await self._gc.look(stream) if has_quorum(stream) else None
        except (nats.errors.Error, TimeoutError) as error:
            return str(connection.refusal(error))
        if room is None:
            return (
                f"the broker at {connection.place} has no quorum for the stream {EVENTS}:"
                " start the missing servers of its cluster"
            )
        if (room.full or new_work) and (problem := room.problem()):
            return problem
        refused = connection.client.refusals.recent()
        return str(connection.refusal(refused)) if refused else self._publisher.not_storing()

    async def reachable(self) -> bool:
        """Return whether events can be stored."""
        return await self.problem() is None

    async def caught_up(self, handlers: Handlers, kinds: Collection[type[Event]] = ()) -> bool:
        """Return whether these handlers have no messages left, in any instance. `kinds`: only those of these events.
        False while the broker is unavailable."""
        try:
            return await caught_up(self.js, handlers, kinds)
        except (nats.errors.Error, TimeoutError):
            return False

    async def bucket(self, name: str, *, description: str, ttl: float, max_bytes: int) -> KeyValue:
        """Open a key-value bucket; the first caller creates it. `ttl`: seconds that a value is kept. One that exists
        with other limits, an operator's or those of another version, is used as it is. Raise the errors of nats-py."""
        wanted = KeyValueConfig(
            bucket=name, description=description, ttl=ttl, max_bytes=max_bytes, replicas=self.settings.replicas
        )
        try:
            return await self.js.create_key_value(wanted)
        except BadRequestError:
            return await self.js.key_value(name)

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
        """Wrap an event and send() it. Return the envelope."""
        envelope = Envelope.around(event, source=self.source, trace_id=trace_id, caused_by=caused_by, id=id)
        await self.send(envelope, type(event), patience=patience)
        return envelope

    async def send(self, envelope: Envelope, kind: type[Event], *, patience: float | None = PATIENCE) -> None:
        """Publish an envelope, as Publisher.send."""
        await self._publisher.send(envelope, kind, patience=patience)

    async def erase(self, envelope: Envelope) -> None:
        """Overwrite a message that holds a secret, and every copy of it, in the stream EVENTS. Consumers skip it then.
        Raise BrokerUnavailable."""
        try:
            async for sequence, raw in self.messages(EVENTS, envelope.type):
                with contextlib.suppress(UnreadableMessage):
                    if Envelope.from_bytes(raw, envelope.type).id == envelope.id:
                        await self.js.delete_msg(EVENTS, sequence)
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(f"{envelope.type} is not erased: {reason(error)}") from error

    async def stored(self, *kinds: type[Event]) -> AsyncIterator[Envelope]:
        """Yield the readable messages of these kinds that the stream EVENTS has, kind by kind, oldest first: a request
        to the broker for each. Raise BrokerUnavailable."""
        try:
            for kind in kinds:
                async for _sequence, raw in self.messages(EVENTS, kind.subject):
                    with contextlib.suppress(UnreadableMessage):
                        yield Envelope.from_bytes(raw, kind.subject)
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(f"{EVENTS} cannot be read: {reason(error)}") from error

    async def messages(self, stream: str, subject: str, start: int = 1) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield sequence and bytes of the messages on a subject, from a sequence to the present last one, with a
        request to the broker for each. Raise the errors of nats-py."""
        last = (await self.js.stream_info(stream)).state.last_seq
        sequence = max(1, start)
        while sequence <= last:
            try:
                found = await self.js.get_msg(stream, sequence, subject=subject, next=True)
            except NotFoundError:
                return
            assert found.seq is not None, "a stored message has a sequence"  # noqa: S101 - for the type checker
            yield found.seq, found.data or b""
            sequence = found.seq + 1

    async def request(
        self,
        event: Event,
        reply: type[M],
        *,
        trace_id: str,
        timeout: float,  # noqa: ASYNC109 - at its end NoAnswer is raised
    ) -> M:
        """Send a request and wait up to `timeout` seconds for one answer. Raise NoAnswer."""
        if event.delivery is not Delivery.REQUEST:
            raise TypeError(f"{event.subject} is delivered as {event.delivery}, not as a request")
        raw = self._publisher.encode(Envelope.around(event, source=self.source, trace_id=trace_id))
        try:
            async with asyncio.timeout(timeout):
                message = await self._ask(event.subject, raw, timeout)
        except PermissionViolation as error:
            raise NoAnswer(f"{event.subject}: {self._connection.refusal(error)}") from error
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
                async with self._connection.fail_fast():
                    return await self._connection.client.request(subject, raw, timeout=patience)
            except TimeoutError:
                if self.online.is_set():
                    raise  # otherwise the connection was lost: ask again on the next one

    # --- subscribing ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def tail(self, *kinds: type[Event]) -> AsyncIterator[AsyncIterator[Envelope]]:
        """Iterate over the events published from now on, stored or not, in the broker's order, without duplicates and
        unreadable messages.

        A reader that is 10,000 messages behind loses the newest. The iterator ends when the bus is closed. Raise
        TypeError for requests, which may carry secrets; BrokerRefuses without the permission.
        """
        if any(kind.delivery is Delivery.REQUEST for kind in kinds):
            raise TypeError("a tail reads events, not requests")
        try:
            subscription = await self._connection.client.subscribe(cover(kinds), pending_msgs_limit=_TAIL_LIMIT)
            await self._connection.flush_subscriptions()  # from here on nothing is missed
            self._connection.check_subscribed(cover(kinds))
        except nats.errors.Error as error:
            raise self._connection.refusal(error) from error
        try:
            yield envelopes(subscription, {kind.subject for kind in kinds})
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    # --- serving --------------------------------------------------------------------------------------------------

    async def serve(self, handlers: Handlers, *parts: object) -> None:
        """Start the consumers, core handlers and request handlers of a service. `parts` are the objects that the
        handlers' parameters are filled from, by type. Returns once the broker has registered all of them.

        Raises TypeError when a part is missing, BrokerUnavailable when the broker refuses or, being connected, does not
        answer within about 30 s.
        """
        handlers = handlers.bind(*parts)
        self._gc.serves(handlers)
        try:
            for consumption in handlers.consumptions:
                await self._connection.retry(partial(ensure_consumer, self.js, consumption, self.settings))
                consumer = Consumer(self._connection, self._publisher, handlers, consumption)
                self._consumers.append(consumer)
                self._connection.bound.append(consumer)
                await consumer.start()
            for kind, handler in handlers.core.items():
                await self._subscribe(kind.subject, "", core_callback(kind, handler))
            for kind, answer in handlers.requests.items():
                group = "" if kind in handlers.answered_by_all else handlers.publisher
                await self._subscribe(kind.subject, group, self._concurrent(request_callback(kind, answer)))
            await self._connection.retry(self._connection.flush_subscriptions)
            self._connection.check_subscribed(*(kind.subject for kind in (*handlers.core, *handlers.requests)))
        except (nats.errors.Error, TimeoutError) as error:
            raise self._connection.refusal(error) from error
        if self._collecting is None and handlers.consumptions:
            self._collecting = asyncio.create_task(self._gc.run(self.online))

    async def stop_pulling(self) -> None:
        """Stop fetching while running handlers go on. Call it before they are stopped: an event that they publish at
        their end may release the next message, which must not be delivered here."""
        await asyncio.gather(*(consumer.stop_pulling() for consumer in self._consumers))

    async def stop_serving(self, timeout: float) -> None:  # noqa: ASYNC109 - it cancels handlers
        """Stop fetching and unsubscribe, wait up to `timeout` seconds for running handlers, give the remaining messages
        back."""
        await self.stop_pulling()  # first: what is published from now on is for another instance
        if self._collecting is not None:
            await cancel_and_wait([self._collecting])
            self._collecting = None
        self._callbacks.clear()
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        self._subscriptions.clear()
        await asyncio.gather(*(consumer.finish(timeout) for consumer in self._consumers))
        self._consumers.clear()
        self._connection.bound.clear()

    async def close(self, *, drain: bool = True) -> None:
        """Stop serving, send what is buffered (with `drain`, which takes 15 s when the broker does not answer), and
        disconnect. Idempotent; does not raise when the broker is unavailable."""
        if self._connection.closing:
            return
        await self.stop_serving(timeout=0.0)
        await self._connection.close(drain)

    async def _subscribe(self, subject: str, queue: str, callback: Callback) -> None:
        self._callbacks.append((subject, queue, callback))
        self._subscriptions.append(await self._connection.client.subscribe(subject, queue=queue, cb=callback))

    async def _subscribe_again(self) -> None:
        callbacks, self._callbacks, self._subscriptions = self._callbacks, [], []
        for subject, queue, callback in callbacks:
            await self._subscribe(subject, queue, callback)

    def _concurrent(self, respond: Callback) -> Callback:
        """Answer in a task of its own: a slow answer must not delay the next one."""

        async def spawn(message: Msg) -> None:
            self._connection.spawn(_finished(respond, message))

        return spawn


async def _finished(callback: Callback, message: Msg) -> None:
    await callback(message)
