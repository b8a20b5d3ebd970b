"""Messages: an `Event` is a typed domain event or command, an `Envelope` is its wire format (id, trace id, causation
id, payload)."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

ENVELOPE_VERSION = "1.0"
# A clock may be wrong. Beyond these limits arithmetic with the time of a message could overflow.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


class Delivery(StrEnum):
    """How a subject is delivered."""

    STREAM = "stream"  # stored in the stream EVENTS, delivered at least once
    LOG = "log"  # stored in the stream LOGS, which drops the oldest first
    CORE = "core"  # delivered to current subscribers, not stored
    REQUEST = "request"  # core; the sender waits for one answer


class UnreadableMessage(Exception):
    """The message is not JSON, not an envelope, or of an unknown type or envelope version."""


class Event(BaseModel):
    """Base class of all messages. A subclass declares its subject, its publishers and its delivery:

        class JobQueued(Event, subject="job.queued", publishers={"jobs"}, key=("job_id", "listing")): ...

    `key` lists the fields that distinguish messages of one subject with the same cause; the deterministic id is
    derived from them, within `namespace`. Unknown fields are ignored, so that an older reader accepts a newer writer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    namespace: ClassVar[UUID] = uuid5(NAMESPACE_URL, "urn:bus:event")
    subject: ClassVar[str] = ""
    publishers: ClassVar[frozenset[str]] = frozenset()
    delivery: ClassVar[Delivery] = Delivery.STREAM
    key: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **_words: Any) -> None:
        super().__init_subclass__()  # the keywords are for the hook below, which runs when the fields are known

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
            return  # an abstract base class that only shares fields
        missing = set(key) - set(cls.model_fields)
        if missing:
            raise TypeError(f"{cls.__name__}: key names unknown fields {sorted(missing)}")
        cls.subject = subject
        cls.publishers = frozenset(publishers or ())
        cls.delivery = delivery
        cls.key = key

    @classmethod
    def read(cls, envelope: "Envelope") -> Self:
        """Return the validated event of an envelope. Raise UnreadableMessage when it does not fit."""
        try:
            return cls.model_validate(envelope.data)
        except ValidationError as error:
            raise UnreadableMessage(f"{envelope.type}: {_first(error)}") from error

    def id_after(self, cause: str) -> str:
        """Return the id of this event when message `cause` caused it: the same on every retry (RFC 9562 UUIDv5)."""
        matter = "|".join(str(getattr(self, name)) for name in self.key)
        return str(uuid5(self.namespace, f"{cause}|{self.subject}|{matter}"))


class DeadLetter(Event):
    """A message that could not be handled: it is unreadable, or its handler raised six times. It is not retried
    automatically. The application subclasses it, which gives it a subject.

    `payload` is the first 64 KiB of the message as text, with secrets masked; `whole` means that the message is no
    longer than that and held no secret. `size` is that of the message in bytes, `sequence` its position in the stream.
    """

    type: str
    consumer: str
    sequence: int
    error: str
    payload: str
    size: int = 0
    whole: bool = False
    unreadable: bool = False  # False: its handler raised


class Envelope(BaseModel):
    """The wire format of a message (UTF-8 JSON).

    `type` equals the subject. `trace_id` is shared by all messages of one operation (a job, say), `caused_by` is the id
    of the message that caused this one, `source` is `service/instance`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

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
        """Wrap an event. Unless `id` is given, an event of the stream EVENTS gets the deterministic id derived from its
        cause; all others, which may repeat and are never redelivered, get a random one."""
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
        """Parse a message received on `subject`. Raise UnreadableMessage, which names the problem."""
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
