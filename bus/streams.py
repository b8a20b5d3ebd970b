"""The streams and durable consumers as they shall be, and the making of them (DESIGN §4)."""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from datetime import datetime

import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NotFoundError

from bus.errors import BrokerUnavailable
from bus.handlers import Consumption, Handlers
from bus.message import Delivery, Event, event_types
from bus.settings import BusSettings

log = structlog.get_logger("bus", logger_name="bus")

EVENTS = "EVENTS"
LOGS = "LOGS"
_DAY = 24 * 3600.0
_NAME_IN_USE, _NO_STORAGE = 10058, 10047
_TRIES, _PAUSE = 5, 0.2  # seconds between two tries


def stream_of(kind: type[Event]) -> str:
    """The stream that keeps a kind of event. TypeError for core events and requests: nothing keeps those."""
    if kind.delivery is Delivery.STREAM:
        return EVENTS
    if kind.delivery is Delivery.LOG:
        return LOGS
    raise TypeError(f"{kind.subject} is delivered as {kind.delivery}: no stream keeps it")


def stream_configs(settings: BusSettings, kinds: Iterable[type[Event]]) -> list[StreamConfig]:
    """Subjects are spelled out: a wildcard would store core events such as download.progress."""
    kinds = list(kinds)
    events = sorted({kind.subject for kind in kinds if kind.delivery is Delivery.STREAM})
    logs = sorted({kind.subject for kind in kinds if kind.delivery is Delivery.LOG})
    configs = [
        StreamConfig(
            name=EVENTS,
            subjects=events,
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,  # a full stream refuses loudly; it never forgets what nobody has read
            max_age=14 * _DAY,
            max_bytes=settings.events_max_bytes,
            duplicate_window=3600.0,
            num_replicas=settings.replicas,
        )
    ]
    if logs:
        configs.append(
            StreamConfig(
                name=LOGS,
                subjects=logs,
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                max_age=7 * _DAY,
                max_bytes=settings.logs_max_bytes,
                duplicate_window=120.0,
                num_replicas=settings.replicas,
            )
        )
    return configs


async def ensure_streams(js: JetStreamContext, settings: BusSettings) -> datetime | None:
    """Make or update the streams for every event class that is imported. Returns when EVENTS was created."""
    created = None
    for config in stream_configs(settings, event_types()):
        info = await _ensure_stream(js, config)
        if config.name == EVENTS:
            created = info.created
    return created


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    for number in range(1, _TRIES + 1):
        try:
            info = await js.stream_info(str(wanted.name))
        except NotFoundError:
            try:
                return await js.add_stream(wanted)
            except APIError as error:
                if error.err_code == _NO_STORAGE and number < _TRIES:
                    await asyncio.sleep(_PAUSE)  # two services make it at once: its room is reserved twice
                elif error.err_code != _NAME_IN_USE:
                    raise
                continue  # another service made it in this moment, perhaps with other subjects
        merged = merge(info.config, wanted)
        if merged == info.config:
            return info
        await js.update_stream(merged)  # and read again: another service may have updated it at the same time
    raise BrokerUnavailable(f"the stream {wanted.name} changes under our hands: do two versions fight over it?")


def merge(present: StreamConfig, wanted: StreamConfig) -> StreamConfig:
    """The present configuration with our numbers. Subjects are only added: another version may need the others."""
    return present.evolve(
        subjects=sorted({*(present.subjects or ()), *(wanted.subjects or ())}),
        discard=wanted.discard.value if wanted.discard else None,
        max_age=wanted.max_age,
        max_bytes=wanted.max_bytes,
        duplicate_window=wanted.duplicate_window,
        num_replicas=wanted.num_replicas,
    )


def consumer_config(consumption: Consumption, settings: BusSettings) -> ConsumerConfig:
    """max_deliver is unlimited: waiting for disk or for a broker is not a failure; raised exceptions are counted."""
    subjects = sorted(kind.subject for kind in consumption.events)
    return ConsumerConfig(
        name=consumption.durable,
        durable_name=consumption.durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait,
        max_deliver=-1,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
    )


async def ensure_consumer(js: JetStreamContext, consumption: Consumption, settings: BusSettings) -> None:
    """Make the durable, or change it to what it shall be."""
    await js.add_consumer(stream_of(consumption.events[0]), consumer_config(consumption, settings))


async def caught_up(js: JetStreamContext, handlers: Handlers) -> bool:
    """Whether the consumers of a service have read and acknowledged all that there is for them."""
    for consumption in handlers.consumptions:
        info = await js.consumer_info(stream_of(consumption.events[0]), consumption.durable)
        if info.num_pending or info.num_ack_pending:
            return False
    return True


async def release_held(client: Client) -> None:
    """Have the broker deliver again, now, what it counts as in somebody's hands: right when nobody can hold anything,
    because it has just been started. By itself it forgets at a restart that a message was given back, and waits for
    ack_wait. What was acked out of turn comes again too. One that cannot do it (before 2.14) waits.
    """
    js = client.jetstream()
    for stream in (EVENTS, LOGS):
        with contextlib.suppress(NotFoundError):  # a new store
            for one in await js.consumers_info(stream):
                if not one.num_ack_pending:
                    continue
                # ADR-60 of JetStream: back to what is acked without a gap
                answer = json.loads((await client.request(f"$JS.API.CONSUMER.RESET.{stream}.{one.name}")).data)
                if "error" in answer:
                    log.warning("messages_stay_held", consumer=one.name, error=answer["error"].get("description"))
