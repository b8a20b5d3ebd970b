"""What travels on the bus: an Event is a fact or a wish, an Envelope is the sheet of paper it is written on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from uuid import NAMESPACE_URL, uuid4, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

ENVELOPE_VERSION = "1.0"
_IDS = uuid5(NAMESPACE_URL, "urn:ytarchive:event")
# a clock may be wrong; beyond these, arithmetic with the time of a message would overflow somewhere
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


class Delivery(StrEnum):
    """How a subject is carried."""

    STREAM = "stream"  # kept in the stream EVENTS, delivered at least once
    LOG = "log"  # kept in the stream LOGS, oldest dropped first
    CORE = "core"  # to whoever listens now; nothing is kept
    REQUEST = "request"  # core, and the sender waits for one answer


class UnreadableMessage(Exception):
    """A message that is not one of ours: not JSON, not an envelope, an unknown type or a foreign version."""


class Event(BaseModel):
    """Base of every message. A subclass names its subject, who may publish it and how it is delivered:

        class JobQueued(Event, subject="job.queued", publishers={"jobs"}, key=("job_id", "listing")): ...

    `key` lists the fields which tell two messages of one subject apart that have one cause; the deterministic
    id is made of them. Unknown fields are ignored, so that an older reader understands a newer writer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: ClassVar[str] = ""
    publishers: ClassVar[frozenset[str]] = frozenset()
    delivery: ClassVar[Delivery] = Delivery.STREAM
    key: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **_words: Any) -> None:
        super().__init_subclass__()  # the words of a subclass are for the hook below, which sees the fields too

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        subject: str = "",
        publishers: set[str] | None = None,
        delivery: Delivery = Delivery.STREAM,
        key: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not subject:
            return  # an abstract base that only shares fields
        missing = set(key) - set(cls.model_fields)
        if missing:
            raise TypeError(f"{cls.__name__}: key names unknown fields {sorted(missing)}")
        cls.subject = subject
        cls.publishers = frozenset(publishers or ())
        cls.delivery = delivery
        cls.key = key

    @classmethod
    def read(cls, envelope: "Envelope") -> Self:
        """The event inside an envelope, checked. Raises UnreadableMessage."""
        try:
            return cls.model_validate(envelope.data)
        except ValidationError as error:
            raise UnreadableMessage(f"{envelope.type}: {_first(error)}") from error

    def id_after(self, cause: str) -> str:
        """The id of this event when it is caused by message `cause`: the same on every retry (RFC 9562 uuid5)."""
        matter = "|".join(str(getattr(self, name)) for name in self.key)
        return str(uuid5(_IDS, f"{cause}|{self.subject}|{matter}"))


def event_types(root: type[Event] = Event) -> Iterator[type[Event]]:
    """Every concrete event class that has been imported."""
    for cls in root.__subclasses__():
        if cls.subject:
            yield cls
        yield from event_types(cls)


class DeadLettered(Event, subject="dead.lettered", publishers={"bus"}, key=("consumer", "sequence")):
    """A message that could not be handled: unreadable, or its handler raised six times. Nothing retries it by itself.

    `payload` is the first 64 KiB as text, without secrets; `whole` says that it is the message as it was, `size` is
    that of the message in bytes. `job_id` and what follows is set where the message could be read that far;
    `video_ids` are all that it names.
    """

    type: str
    consumer: str
    sequence: int
    error: str
    payload: str
    size: int = 0
    whole: bool = False
    unreadable: bool = False  # not one of ours; else its handler raised
    job_id: str | None = None
    video_id: str | None = None
    dispatch_id: str | None = None
    target_index: int | None = None
    video_ids: tuple[str, ...] = ()


class Envelope(BaseModel):
    """One message as it is written on the wire (UTF-8 JSON).

    `type` equals the subject; `trace_id` names the story (one per job), `caused_by` the id of the message
    that led to this one; `source` is `service/instance`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, max_length=128)
    version: str = ENVELOPE_VERSION
    type: str
    trace_id: str = Field(min_length=1, max_length=128)
    caused_by: str | None = None
    timestamp: Annotated[AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST)]
    source: str
    data: dict[str, Any]

    @classmethod
    def around(
        cls, event: Event, *, source: str, trace_id: str, caused_by: str | None = None, id: str | None = None
    ) -> Self:
        """Wrap an event. Without an `id` one for the stream EVENTS gets the deterministic one of its cause; others,
        which may be many alike and are never read twice, a random one."""
        if id is None:
            repeatable = caused_by and event.delivery is Delivery.STREAM
            id = event.id_after(caused_by) if repeatable and caused_by else str(uuid4())
        return cls(
            id=id,
            type=event.subject,
            trace_id=trace_id,
            caused_by=caused_by,
            timestamp=datetime.now(UTC),
            source=source,
            data=event.model_dump(mode="json"),
        )

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, raw: bytes, subject: str) -> Self:
        """Read a message that arrived on `subject`. Raises UnreadableMessage, which says what is wrong."""
        try:
            envelope = cls.model_validate_json(raw)
        except ValidationError as error:
            raise UnreadableMessage(f"not an envelope: {_first(error)}") from error
        if envelope.type != subject:
            raise UnreadableMessage(f"type {envelope.type!r} does not match the subject {subject!r}")
        if envelope.version.split(".")[0] != ENVELOPE_VERSION.split(".")[0]:
            raise UnreadableMessage(f"envelope version {envelope.version!r}, this reader knows {ENVELOPE_VERSION}")
        return envelope


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
