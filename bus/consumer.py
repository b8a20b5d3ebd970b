"""Run one durable pull consumer: fetch, handle, publish the events that the handler yields, acknowledge; or retry, or
dead-letter."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from structlog.contextvars import bound_contextvars

from bus.connection.connection_manager import ConnectionManager
from bus.connection.nats_client import envelope_of, send_unsubscribe
from bus.dead_letter import dead_letter_of
from bus.errors import BrokerUnavailable, NotNow
from bus.fault_injection import fault_point
from bus.handlers import Consumption, Handlers, handling_of
from bus.in_flight import InFlight, InFlightMessage
from bus.message import Delivery, Envelope, Event, UnreadableMessage
from bus.publisher import Publisher
from bus.streams.configuration import stream_of
from bus.tasks import cancel_and_wait

Act = Callable[[InFlightMessage, Envelope], Coroutine[Any, Any, None]]

log = structlog.get_logger("bus", logger_name="bus")

# Seconds of one fetch, longer while nothing comes. A fetch in progress ends when the connection does, and the broker
# reports when a cluster moves the durable; whatever loses it otherwise costs at most so long.
FETCH_TIMEOUT, _LONGEST_FETCH = 2.0, 16.0
_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds after a fetch that failed
_RECHECK = 1.0  # seconds until `slots` is called again while all are taken
_TURNS = 10  # of the event loop; nats-py takes about five from the arrival of a message to its pull
_UNSUBSCRIBED = 1.0  # seconds for the broker to process the unsubscription


class Consumer:
    """Runs one Consumption of a service until it is stopped."""

    def __init__(
        self, connection: ConnectionManager, publisher: Publisher, handlers: Handlers, consumption: Consumption
    ) -> None:
        self.consumption = consumption
        self._connection = connection
        self._publisher = publisher
        self._handlers = handlers
        self._stream = stream_of(consumption.events[0])
        self._kinds = {kind.subject: kind for kind in consumption.events}
        self._in_flight = InFlight(connection.online)
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._stopping = False

    async def start(self) -> None:
        """Bind to the existing durable and start to pull."""
        await self.bind()
        alive = self._in_flight.extend_deadlines(self._connection.settings.ack_wait / 4)
        self._loops = [asyncio.create_task(self._pull()), asyncio.create_task(alive)]

    async def bind(self) -> None:
        """Subscribe, at start-up and on each new connection."""
        self._subscription = await self._connection.js.pull_subscribe_bind(
            durable=self.consumption.durable, stream=self._stream
        )

    def invalidate(self) -> None:
        """Handle the loss of the broker's store: in-flight messages can no longer be acknowledged."""
        self._in_flight.invalidate()

    # --- stopping -------------------------------------------------------------------------------------------------

    async def stop_pulling(self) -> None:
        """Stop fetching and give back what is on its way: a message delivered to an abandoned pull would be redelivered
        only after ack_wait."""
        self._stopping = True
        subscription = self._subscription
        if subscription is None:
            return
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await send_unsubscribe(self._connection.client, subscription)
            async with asyncio.timeout(_UNSUBSCRIBED):
                await self._connection.flush_subscriptions()
        for _ in range(_TURNS):  # what has arrived by now reaches the pull before the pull is cancelled
            await asyncio.sleep(0)
        await cancel_and_wait(self._loops[:1])
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            while subscription.pending_msgs:  # arrived and not fetched yet
                await self._give_back(await subscription.fetch(1, timeout=0.01))
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def _give_back(self, messages: list[Msg]) -> None:
        for message in messages:
            with contextlib.suppress(nats.errors.Error):  # without a broker it is redelivered after ack_wait
                await message.nak()

    async def finish(self, patience: float) -> None:
        """Wait up to `patience` seconds for running handlers, then cancel them and give their messages back."""
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await cancel_and_wait(self._loops)
        await self._in_flight.nak_all()

    # --- the loops ------------------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        failures, patience = 0, FETCH_TIMEOUT
        while not self._stopping:
            try:
                free = await self._room()
                await self._connection.online.wait()
                asked = time.monotonic()
                messages = await self._fetch(free, patience)
                failures, patience = 0, FETCH_TIMEOUT if messages else min(2 * patience, _LONGEST_FETCH)
                if not messages and time.monotonic() - asked < _PAUSE:
                    await asyncio.sleep(_PAUSE)  # an error that looks like an empty stream must not cause a busy loop
            except (nats.errors.Error, OSError) as error:
                failures += 1
                log.warning("fetch_failed", consumer=self.consumption.durable, error=str(error), failures=failures)
                await asyncio.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**failures))
                self._connection.verify_soon()  # the stream or the durable may be missing
            except Exception:  # `slots` and `ready` are code of the service: whatever they raise, the loop goes on
                failures += 1
                log.exception("consumer_not_ready", consumer=self.consumption.durable)
                await asyncio.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**failures))
            else:
                await self._take(messages)

    async def _room(self) -> int:
        """Wait for a free slot and for the service to be ready. Return the number of messages to fetch."""
        while True:
            slots = self.consumption.slots()
            busy = len(self._work)
            if self.consumption.inbox is not None and not busy and slots > 0:
                free = slots  # one batch at a time keeps the order
                break
            if self.consumption.handler is not None and busy < slots:
                free = 1
                break
            if busy:
                await asyncio.wait(self._work, timeout=_RECHECK, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(_RECHECK)
        if self.consumption.ready is not None:
            await self.consumption.ready()
        return free

    async def _fetch(self, count: int, patience: float) -> list[Msg]:
        assert self._subscription is not None, "start() binds before it pulls"  # noqa: S101 - for the type checker
        try:
            refusals = self._connection.client.refusals
            pull = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.consumption.durable}"
            async with self._connection.fail_fast(), refusals.watch(pull):
                return await self._subscription.fetch(count, timeout=patience)
        except TimeoutError:
            return []

    async def _take(self, messages: list[Msg]) -> None:
        if self._stopping:
            await self._give_back(messages)
            return
        fresh = self._in_flight.add(messages)
        if not fresh:
            return
        if self.consumption.inbox is not None:
            self._spawn(self._handle_batch(fresh))
        else:
            for message in fresh:
                self._spawn(self._handle_one(message, self._react))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("consumer_broke", consumer=self.consumption.durable, exc_info=error)

    # --- handling -------------------------------------------------------------------------------------------------

    async def _handle_batch(self, messages: list[InFlightMessage]) -> None:
        opened: list[tuple[InFlightMessage, Envelope]] = []
        for in_flight in messages:
            try:
                opened.append((in_flight, self._open(in_flight.message)))
            except UnreadableMessage as error:
                await self._dead_letter(in_flight, error)
        if len(opened) > 1 and await self._handled_together(opened):
            return
        for in_flight, _envelope in opened:  # one by one, so that only the failing one is counted
            await self._handle_one(in_flight, self._deliver)

    async def _handled_together(self, opened: list[tuple[InFlightMessage, Envelope]]) -> bool:
        inbox = self.consumption.inbox
        assert inbox is not None, "only an inbox gets batches"  # noqa: S101 - for the type checker
        try:
            await inbox([envelope for _in_flight, envelope in opened])
        except BrokerUnavailable as error:
            log.warning("inbox_waits_for_broker", consumer=self.consumption.durable, error=str(error))
            for in_flight, _envelope in opened:
                await self._in_flight.nak(in_flight, self._delay(1))
        except NotNow as error:  # of one of them: the others go on
            log.debug("not_now", consumer=self.consumption.durable, error=str(error))
            return False
        except Exception:  # the boundary between the bus and a service: whatever the handler raises
            log.warning("inbox_batch_failed", consumer=self.consumption.durable, size=len(opened), exc_info=True)
            return False
        else:
            for in_flight, _envelope in opened:
                await self._acknowledge(in_flight)
        return True

    async def _handle_one(self, in_flight: InFlightMessage, act: Act) -> None:
        trace: dict[str, str] = {}
        try:
            envelope = self._open(in_flight.message)
            trace["trace_id"] = envelope.trace_id
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                await act(in_flight, envelope)
        except UnreadableMessage as error:
            await self._dead_letter(in_flight, error)
        except BrokerUnavailable as error:
            log.warning("handler_waits_for_broker", consumer=self.consumption.durable, error=str(error), **trace)
            await self._in_flight.nak(in_flight, self._delay(1))
        except NotNow as error:
            log.debug("not_now", consumer=self.consumption.durable, error=str(error), again_in=error.delay, **trace)
            await self._in_flight.nak(in_flight, error.delay)
        except Exception as error:  # noqa: BLE001 - the boundary between the bus and a service: whatever it raises
            await self._failed(in_flight, error, trace)
        else:
            await self._acknowledge(in_flight)

    def _open(self, message: Msg) -> Envelope:
        fault_point(f"bus.taken.{message.subject}")
        if message.subject not in self._kinds:
            raise UnreadableMessage(f"{message.subject}: this consumer does not handle the subject")
        return envelope_of(message)

    async def _deliver(self, _in_flight: InFlightMessage, envelope: Envelope) -> None:
        assert self.consumption.inbox is not None, "only an inbox delivers"  # noqa: S101 - for the type checker
        await self.consumption.inbox([envelope])

    async def _react(self, in_flight: InFlightMessage, envelope: Envelope) -> None:
        assert self.consumption.handler is not None, "only a handler reacts"  # noqa: S101 - for the type checker
        event = self._kinds[envelope.type].read(envelope)
        reaction = self.consumption.handler(event)
        if not isinstance(reaction, AsyncIterator):
            await reaction
            return
        try:
            async for fact in reaction:
                self._handlers.check_publishes(fact)
                await self._publish(in_flight, fact, envelope)
        finally:
            close = getattr(reaction, "aclose", None)  # run the generator's `finally` now, not at garbage collection
            if close is not None:
                await close()

    async def _publish(self, in_flight: InFlightMessage, fact: Event, cause: Envelope) -> None:
        """Publish a yielded event. It is retried under the same id until the broker has stored it."""
        made = Envelope.around(fact, source=self._publisher.source, trace_id=cause.trace_id, caused_by=cause.id)
        if fact.delivery is Delivery.STREAM:
            before = in_flight.facts.setdefault(made.id, fact)
            if before is not fact:
                log.error(
                    "two_facts_one_id",
                    subject=fact.subject,
                    id=made.id,
                    same=before == fact,
                    remedy="the key of the event must tell apart what one handler yields; the second was not published",
                )
                return
        await self._publisher.send(made, type(fact), patience=None)

    async def _failed(self, in_flight: InFlightMessage, error: Exception, trace: dict[str, str]) -> None:
        times = self._in_flight.count_exception(in_flight)
        log.error(
            "handler_failed",
            consumer=self.consumption.durable,
            subject=in_flight.message.subject,
            sequence=in_flight.sequence,
            times=times,
            exc_info=error,
            **trace,
        )
        if times >= self._connection.settings.max_exceptions:
            await self._dead_letter(in_flight, error)
        else:
            await self._in_flight.nak(in_flight, self._delay(max(1, times)))

    def _delay(self, times: int) -> float:
        """Return the back-off: 1, 2, 4, 8, 16 seconds with the default ack_wait of a minute."""
        return float(self._connection.settings.ack_wait / 60 * 2 ** (times - 1))

    # --- settling ---------------------------------------------------------------------------------------------------

    async def _acknowledge(self, in_flight: InFlightMessage) -> None:
        fault_point(f"bus.handled.{in_flight.message.subject}")
        await self._in_flight.ack(in_flight)

    async def _dead_letter(self, in_flight: InFlightMessage, error: Exception) -> None:
        schema = self._connection.schema
        letter, cause, trace_id = dead_letter_of(in_flight.message, self.consumption.durable, error, schema)
        log.error(
            "dead_lettered",
            consumer=letter.consumer,
            subject=letter.type,
            sequence=letter.sequence,
            error=letter.error,
            trace_id=trace_id,
        )
        if letter.type != letter.subject:  # a dead letter about a dead letter would never end
            made = Envelope.around(
                letter, source=self._publisher.source, trace_id=trace_id, caused_by=cause, id=letter.id_after(cause)
            )
            await self._publisher.send(made, schema.dead_letter, patience=None)
        await self._in_flight.term(in_flight)
