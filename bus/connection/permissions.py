"""What a user of the broker must be permitted, derived from events and handler tables. Pure.

The requests to JetStream are those that the modules of this package make. A user for a service has no permission that
the service does not use: it publishes the events that declare it as their publisher, reads its own durables, receives
answers in its own inbox. nats-server has no wildcard within a token, so a rule for names that begin with a word is the
rule for all names, without those that are known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bus.handlers import Consumption, Handlers
from bus.message import Delivery, Event
from bus.schema import BusSchema
from bus.streams.configuration import EVENTS, LOGS, stream_of

_API = "$JS.API"


@dataclass(frozen=True)
class Permissions:
    """Subjects, sorted. What is denied is excluded from what is allowed. `responses`: a request that was received may
    be answered once."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    publish_denied: tuple[str, ...] = ()
    subscribe_denied: tuple[str, ...] = ()
    responses: bool = False


def of_service(table: Handlers, buckets: Iterable[str], tables: Iterable[Handlers], schema: BusSchema) -> Permissions:
    """Return the permissions of the service that serves `table` and uses these key-value buckets. `tables`: those of
    all services, whose durables it must not remove."""
    name = table.publisher
    publish = {
        *_published(name, schema),
        schema.dead_letter.subject,
        *_streams(),
        *(subject for consumption in table.consumptions for subject in _durable(consumption)),
        *(subject for bucket in buckets for subject in _bucket(bucket)),
        # what bus.streams inspects to know the room in the stream, and durables that nobody declares
        f"{_API}.CONSUMER.LIST.{EVENTS}",
        f"{_API}.STREAM.MSG.GET.{EVENTS}",
        f"{_API}.CONSUMER.DELETE.{EVENTS}.*",
    }
    if schema.stream_owner in {None, name}:
        publish |= {
            f"{_API}.STREAM.UPDATE.{EVENTS}",
            f"{_API}.STREAM.UPDATE.{LOGS}",
            f"{_API}.STREAM.PURGE.{EVENTS}",
            f"{_API}.STREAM.MSG.DELETE.{EVENTS}",  # Bus.erase
        }
    subscribe = {kind.subject for kind in (*table.core, *table.requests)} | {schema.dead_letter.subject, _inbox(name)}
    declared = {
        f"{_API}.CONSUMER.DELETE.{EVENTS}.{consumption.durable}"
        for other in tables
        for consumption in other.consumptions
        if stream_of(consumption.events[0]) == EVENTS
    }
    return Permissions(
        tuple(sorted(publish)), tuple(sorted(subscribe)), tuple(sorted(declared)), responses=bool(table.requests)
    )


def of_commands(name: str, schema: BusSchema) -> Permissions:
    """Return the permissions of commands: they publish what declares `name`, read, replay and drop dead letters (a
    replay publishes any stored event), and follow events. They receive no requests, which may carry secrets."""
    replayed = {subject for subject in schema.stored if subject != schema.dead_letter.subject}
    publish = {
        *_published(name, schema),
        *replayed,
        *_streams(),
        f"{_API}.STREAM.MSG.GET.{EVENTS}",
        f"{_API}.STREAM.MSG.GET.{LOGS}",
        f"{_API}.STREAM.MSG.DELETE.{EVENTS}",
    }
    requests = {kind.subject for kind in schema.events if kind.delivery is Delivery.REQUEST}
    return Permissions(tuple(sorted(publish)), ("*.*", _inbox(name)), subscribe_denied=("_INBOX.*", *sorted(requests)))


def _published(name: str, schema: BusSchema) -> Iterator[str]:
    for kind in schema.events:
        if name in kind.publishers:
            yield kind.subject


def _inbox(name: str) -> str:
    return f"_INBOX.{name}.>"


def _streams() -> Iterator[str]:
    """Yield what every program does when it connects: create the streams if they are missing."""
    for stream in (EVENTS, LOGS):
        yield f"{_API}.STREAM.INFO.{stream}"
        yield f"{_API}.STREAM.CREATE.{stream}"


def _durable(consumption: Consumption) -> Iterator[str]:
    stream, durable = stream_of(consumption.events[0]), consumption.durable
    yield f"{_API}.CONSUMER.CREATE.{stream}.{durable}{_filter(consumption.events)}"
    yield f"{_API}.CONSUMER.INFO.{stream}.{durable}"
    yield f"{_API}.CONSUMER.MSG.NEXT.{stream}.{durable}"
    yield f"$JS.ACK.{stream}.{durable}.>"


def _filter(events: tuple[type[Event], ...]) -> str:
    """A durable of one subject names it in the request, where the broker checks it."""
    return f".{events[0].subject}" if len(events) == 1 else ""


def _bucket(name: str) -> Iterator[str]:
    """Yield what opening, reading, writing and listing a bucket takes. Its keys are listed through a consumer with flow
    control; one with `allow_direct` is read by DIRECT.GET."""
    stream = f"KV_{name}"
    yield f"$KV.{name}.>"
    yield f"$JS.FC.{stream}.>"
    for request in ("STREAM.CREATE", "STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.CREATE"):
        yield f"{_API}.{request}.{stream}"
    for request in ("CONSUMER.INFO", "DIRECT.GET"):
        yield f"{_API}.{request}.{stream}.>"
