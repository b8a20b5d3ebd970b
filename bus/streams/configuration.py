"""The configuration of streams and durable consumers, and their creation (docs/decisions/0017)."""

import asyncio
import contextlib
import json
from collections.abc import Collection, Iterable
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
from bus.message import Delivery, Event
from bus.settings import BusSettings

log = structlog.get_logger("bus", logger_name="bus")

EVENTS = "EVENTS"
LOGS = "LOGS"
_DAY = 24 * 3600.0
_NAME_IN_USE, _NO_STORAGE = 10058, 10047
_SILENT = 5 * 10**9  # nanoseconds; the replicas of a stream exchange a heartbeat every second
_TRIES, _PAUSE = 5, 0.2  # seconds between two tries


def stream_of(kind: type[Event]) -> str:
    """Return the stream that stores an event class. Raise TypeError for core events and requests, which are not
    stored."""
    if kind.delivery is Delivery.STREAM:
        return EVENTS
    if kind.delivery is Delivery.LOG:
        return LOGS
    raise TypeError(f"{kind.subject} is delivered as {kind.delivery}: no stream stores it")


def stream_configs(settings: BusSettings, kinds: Iterable[type[Event]]) -> list[StreamConfig]:
    """Return the configurations of EVENTS and LOGS. Subjects are listed one by one: a wildcard would also store core
    events such as download.progress."""
    kinds = list(kinds)
    events = sorted({kind.subject for kind in kinds if kind.delivery is Delivery.STREAM})
    logs = sorted({kind.subject for kind in kinds if kind.delivery is Delivery.LOG})
    configs = [
        StreamConfig(
            name=EVENTS,
            subjects=events,
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,  # a full stream refuses new messages and never drops unread ones
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


async def ensure_streams(
    js: JetStreamContext, settings: BusSettings, events: Iterable[type[Event]], *, change: bool
) -> datetime | None:
    """Create the streams for these events; `change`: also adapt those that exist. Return when EVENTS was created."""
    created = None
    for config in stream_configs(settings, events):
        info = await _ensure_stream(js, config, change)
        if config.name == EVENTS:
            created = info.created
    return created


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig, change: bool) -> StreamInfo:
    for number in range(1, _TRIES + 1):
        try:
            info = await js.stream_info(str(wanted.name))
        except NotFoundError:
            try:
                return await js.add_stream(wanted)
            except APIError as error:
                if error.err_code == _NO_STORAGE and number < _TRIES:
                    await asyncio.sleep(_PAUSE)  # two services create it at the same time: its space is reserved twice
                elif error.err_code != _NAME_IN_USE:
                    raise
                continue  # another service has just created it, perhaps with other subjects
        merged = merge(info.config, wanted)
        if merged == info.config or not change:
            return info
        await js.update_stream(merged)  # and check again: another service may have updated it at the same time
    raise BrokerUnavailable(
        f"the stream {wanted.name} is changed by others at the same time: do two versions run on this broker?"
    )


def has_quorum(stream: StreamInfo) -> bool:
    """Return whether the servers that answer can store events. A leader that has lost the others reports itself as the
    leader for ten more seconds."""
    cluster = stream.cluster
    if cluster is None or not cluster.replicas:
        return True
    answering = sum(not one.offline and (one.active or 0) < _SILENT for one in cluster.replicas)
    return cluster.leader is not None and 2 * (1 + answering) > 1 + len(cluster.replicas)


def merge(present: StreamConfig, wanted: StreamConfig) -> StreamConfig:
    """Return the present configuration with our limits. Subjects are only added: another version may need the
    others."""
    return present.evolve(
        subjects=sorted({*(present.subjects or ()), *(wanted.subjects or ())}),
        discard=wanted.discard.value if wanted.discard else None,
        max_age=wanted.max_age,
        max_bytes=wanted.max_bytes,
        duplicate_window=wanted.duplicate_window,
        num_replicas=wanted.num_replicas,
    )


def consumer_config(consumption: Consumption, settings: BusSettings) -> ConsumerConfig:
    """Return the configuration of a durable. max_deliver is unlimited, because waiting for a disk or the broker is not
    a failure; exceptions are counted instead."""
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
    """Create the durable, or update its configuration."""
    await js.add_consumer(stream_of(consumption.events[0]), consumer_config(consumption, settings))


async def caught_up(js: JetStreamContext, handlers: Handlers, kinds: Collection[type[Event]] = ()) -> bool:
    """Return whether the consumers of a service have acknowledged all their messages. `kinds`: only the consumers of
    these events."""
    for consumption in handlers.consumptions:
        if kinds and not set(kinds).intersection(consumption.events):
            continue
        info = await js.consumer_info(stream_of(consumption.events[0]), consumption.durable)
        if info.num_pending or info.num_ack_pending:
            return False
    return True


async def reset_consumers(client: Client) -> None:
    """Make the broker redeliver unacknowledged messages at once instead of after ack_wait. Correct only when no client
    can hold any, right after the broker was started: a restarted broker has forgotten which messages were given back.
    Messages acknowledged out of order are redelivered too. Servers before 2.14 cannot do it and wait.
    """
    js = client.jetstream()
    for stream in (EVENTS, LOGS):
        with contextlib.suppress(NotFoundError):  # a new store
            for one in await js.consumers_info(stream):
                if not one.num_ack_pending:
                    continue
                # JetStream ADR-60: reset to the ack floor
                answer = json.loads((await client.request(f"$JS.API.CONSUMER.RESET.{stream}.{one.name}")).data)
                if "error" in answer:
                    log.warning("messages_stay_held", consumer=one.name, error=answer["error"].get("description"))
