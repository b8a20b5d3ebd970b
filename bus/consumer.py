"""One durable pull consumer at work: fetch, handle, publish what was caused, acknowledge; or try again, or bury."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from structlog.contextvars import bound_contextvars

from bus.dead_letter import last_words
from bus.errors import BrokerUnavailable, NotNow
from bus.fault_injection import fault_point
from bus.handlers import Consumption, Handlers, handling_of
from bus.in_flight import Hand, Hands
from bus.message import DeadLettered, Delivery, Envelope, Event, UnreadableMessage
from bus.streams import stream_of
from bus.tasks import end

if TYPE_CHECKING:
    from bus.jetstream import Bus

log = structlog.get_logger("bus", logger_name="bus")

FETCH_TIMEOUT = 2.0  # seconds; the fetch that is in flight when a server restarts is lost, so it must not be long
_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds after a fetch that failed
_LOOK_AGAIN = 1.0  # seconds until `slots` is asked again while all are taken
_TURNS = 10  # of the loop; nats-py takes about five from a message's arrival to its pull
_SETTLED = 1.0  # seconds for the broker to read that nobody pulls any more


class Consumer:
    """Runs one Consumption of a service until it is stopped."""

    def __init__(self, bus: "Bus", handlers: Handlers, consumption: Consumption) -> None:
        self.consumption = consumption
        self._bus = bus
        self._handlers = handlers
        self._stream = stream_of(consumption.events[0])
        self._kinds = {kind.subject: kind for kind in consumption.events}
        self._hands = Hands(bus.online)
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._stopping = False

    async def start(self) -> None:
        """Bind to the durable, which exists, and begin to pull."""
        await self.bind()
        alive = self._hands.keep_alive(self._bus.settings.ack_wait / 4)
        self._loops = [asyncio.create_task(self._pull()), asyncio.create_task(alive)]

    async def bind(self) -> None:
        """Take a fresh subscription: at the start, and on a new connection."""
        self._subscription = await self._bus.js.pull_subscribe_bind(
            durable=self.consumption.durable, stream=self._stream
        )

    def forget(self) -> None:
        """The store was lost: what is in hand is no longer there to be acked."""
        self._hands.forget()

    # --- stopping -------------------------------------------------------------------------------------------------

    async def stop_pulling(self) -> None:
        """Fetch no more, and give back what is on its way: what an orphaned pull eats would wait for ack_wait."""
        self._stopping = True
        subscription = self._subscription
        if subscription is None:
            return
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            # not unsubscribe(): it drops what comes before the broker has read it
            await self._bus.link.client._send_unsubscribe(subscription._sub._id)
            async with asyncio.timeout(_SETTLED):
                await self._bus.link.settle()
        for _ in range(_TURNS):  # what has come by now reaches the pull before the pull is cancelled
            await asyncio.sleep(0)
        await end(self._loops[:1])
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            while subscription.pending_msgs:  # arrived, and not handed out yet
                await self._give_back(await subscription.fetch(1, timeout=0.01))
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def _give_back(self, messages: list[Msg]) -> None:
        for message in messages:
            with contextlib.suppress(nats.errors.Error):  # while the broker is away ack_wait does it
                await message.nak()

    async def finish(self, patience: float) -> None:
        """Wait for the handlers in hand, up to `patience` seconds; cancel the rest and give their messages back."""
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await end(self._loops)
        await self._hands.put_back_all()

    # --- the loops ------------------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                free = await self._room()
                await self._bus.online.wait()
                asked = time.monotonic()
                messages = await self._fetch(free)
                failures = 0
                if not messages and time.monotonic() - asked < _PAUSE:
                    await asyncio.sleep(_PAUSE)  # an error that looks like "nothing there" must not spin
            except (nats.errors.Error, OSError) as error:
                failures += 1
                log.warning("fetch_failed", consumer=self.consumption.durable, error=str(error), failures=failures)
                await asyncio.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**failures))
                self._bus.link.suspect()  # the stream or the durable may be gone
            except Exception:  # `slots` and `ready` are the service's code: the loop outlives whatever they raise
                failures += 1
                log.exception("consumer_not_ready", consumer=self.consumption.durable)
                await asyncio.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**failures))
            else:
                await self._take(messages)

    async def _room(self) -> int:
        """Wait for a free slot and for the service to be ready. Returns how many messages to ask for."""
        while True:
            slots = self.consumption.slots()
            busy = len(self._work)
            if self.consumption.inbox is not None and not busy and slots > 0:
                free = slots  # one batch after the other keeps their order
                break
            if self.consumption.handler is not None and busy < slots:
                free = 1
                break
            if busy:
                await asyncio.wait(self._work, timeout=_LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(_LOOK_AGAIN)
        if self.consumption.ready is not None:
            await self.consumption.ready()
        return free

    async def _fetch(self, count: int) -> list[Msg]:
        assert self._subscription is not None, "start() binds before it pulls"  # noqa: S101 - for the type checker
        try:
            async with self._bus.link.impatient():
                return await self._subscription.fetch(count, timeout=FETCH_TIMEOUT)
        except TimeoutError:
            return []

    async def _take(self, messages: list[Msg]) -> None:
        if self._stopping:
            await self._give_back(messages)
            return
        hands = self._hands.take(messages)
        if not hands:
            return
        if self.consumption.inbox is not None:
            self._spawn(self._handle_batch(hands))
        else:
            for hand in hands:
                self._spawn(self._handle_one(hand, self._react))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("consumer_broke", consumer=self.consumption.durable, exc_info=error)

    # --- handling -------------------------------------------------------------------------------------------------

    async def _handle_batch(self, hands: list[Hand]) -> None:
        opened: list[tuple[Hand, Envelope]] = []
        for hand in hands:
            try:
                opened.append((hand, self._open(hand.message)))
            except UnreadableMessage as error:
                await self._bury(hand, error)
        if len(opened) > 1 and await self._handled_together(opened):
            return
        for hand, _envelope in opened:  # one by one, so that only the poisonous one is counted
            await self._handle_one(hand, self._deliver)

    async def _handled_together(self, opened: list[tuple[Hand, Envelope]]) -> bool:
        inbox = self.consumption.inbox
        assert inbox is not None, "only an inbox gets batches"  # noqa: S101 - for the type checker
        try:
            await inbox([envelope for _hand, envelope in opened])
        except BrokerUnavailable as error:
            log.warning("inbox_waits_for_broker", consumer=self.consumption.durable, error=str(error))
            for hand, _envelope in opened:
                await self._hands.put_back(hand, self._delay(1))
        except Exception:  # the boundary between the bus and a service: whatever it raises
            log.warning("inbox_batch_failed", consumer=self.consumption.durable, size=len(opened), exc_info=True)
            return False
        else:
            for hand, _envelope in opened:
                await self._acknowledge(hand)
        return True

    async def _handle_one(self, hand: Hand, act: Callable[[Hand, Envelope], Coroutine[Any, Any, None]]) -> None:
        trace: dict[str, str] = {}
        try:
            envelope = self._open(hand.message)
            trace["trace_id"] = envelope.trace_id
            with bound_contextvars(trace_id=envelope.trace_id), handling_of(envelope):
                await act(hand, envelope)
        except UnreadableMessage as error:
            await self._bury(hand, error)
        except BrokerUnavailable as error:
            log.warning("handler_waits_for_broker", consumer=self.consumption.durable, error=str(error), **trace)
            await self._hands.put_back(hand, self._delay(1))
        except NotNow as error:
            log.debug("not_now", consumer=self.consumption.durable, error=str(error), again_in=error.delay, **trace)
            await self._hands.put_back(hand, error.delay)
        except Exception as error:  # noqa: BLE001 - the boundary between the bus and a service: whatever it raises
            await self._failed(hand, error, trace)
        else:
            await self._acknowledge(hand)

    def _open(self, message: Msg) -> Envelope:
        fault_point(f"bus.taken.{message.subject}")
        if message.subject not in self._kinds:
            raise UnreadableMessage(f"{message.subject}: this consumer does not know the subject")
        return Envelope.from_bytes(message.data, message.subject)

    async def _deliver(self, _hand: Hand, envelope: Envelope) -> None:
        assert self.consumption.inbox is not None, "only an inbox delivers"  # noqa: S101 - for the type checker
        await self.consumption.inbox([envelope])

    async def _react(self, hand: Hand, envelope: Envelope) -> None:
        assert self.consumption.handler is not None, "only a handler reacts"  # noqa: S101 - for the type checker
        event = self._kinds[envelope.type].read(envelope)
        reaction = self.consumption.handler(event)
        if not isinstance(reaction, AsyncIterator):
            await reaction
            return
        try:
            async for fact in reaction:
                self._handlers.check_publishes(fact)
                await self._publish(hand, fact, envelope)
        finally:
            close = getattr(reaction, "aclose", None)  # a generator's `finally` must run now, not when it is collected
            if close is not None:
                await close()

    async def _publish(self, hand: Hand, fact: Event, cause: Envelope) -> None:
        """A fact that the broker does not take now is offered again under the same id, for as long as it takes."""
        made = Envelope.around(fact, source=self._bus.source, trace_id=cause.trace_id, caused_by=cause.id)
        if fact.delivery is Delivery.STREAM:
            before = hand.facts.setdefault(made.id, fact)
            if before is not fact:
                log.error(
                    "two_facts_one_id",
                    subject=fact.subject,
                    id=made.id,
                    same=before == fact,
                    remedy="the key of the event must tell apart what one handler yields; the second was not published",
                )
                return
        await self._bus.send(made, type(fact), patience=None)

    async def _failed(self, hand: Hand, error: Exception, trace: dict[str, str]) -> None:
        times = self._hands.raised(hand)
        log.error(
            "handler_failed",
            consumer=self.consumption.durable,
            subject=hand.message.subject,
            sequence=hand.sequence,
            times=times,
            exc_info=error,
            **trace,
        )
        if times >= self._bus.settings.max_exceptions:
            await self._bury(hand, error)
        else:
            await self._hands.put_back(hand, self._delay(max(1, times)))

    def _delay(self, times: int) -> float:
        """1, 2, 4, 8, 16 seconds with the usual ack_wait of a minute."""
        return float(self._bus.settings.ack_wait / 60 * 2 ** (times - 1))

    # --- the end of a message -------------------------------------------------------------------------------------

    async def _acknowledge(self, hand: Hand) -> None:
        fault_point(f"bus.handled.{hand.message.subject}")
        await self._hands.ack(hand)

    async def _bury(self, hand: Hand, error: Exception) -> None:
        letter, cause, trace_id = last_words(hand.message, self.consumption.durable, error)
        log.error(
            "dead_lettered",
            consumer=letter.consumer,
            subject=letter.type,
            sequence=letter.sequence,
            error=letter.error,
            trace_id=trace_id,
        )
        if letter.type != DeadLettered.subject:  # a dead letter about a dead letter would never end
            made = Envelope.around(
                letter, source=self._bus.source, trace_id=trace_id, caused_by=cause, id=letter.id_after(cause)
            )
            await self._bus.send(made, DeadLettered, patience=None)
        await self._hands.term(hand)
