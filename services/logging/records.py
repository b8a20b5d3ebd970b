"""From messages of the bus to lines of the journal. Pure."""

from bus import Envelope
from services.common.events import LogRecorded
from services.common.settings.masking import mask
from services.logging.journal import JournalMessage


def log_message(envelope: Envelope) -> JournalMessage:
    """Return the records of a `log.recorded`, masked again: the sender may be an older version."""
    records = LogRecorded.read(envelope).records
    return JournalMessage(envelope.id, envelope.timestamp, tuple(mask(dict(record)) for record in records))


def event_message(envelope: Envelope) -> JournalMessage:
    """Return one record of the event's subject, source, cause and data."""
    record = {
        "timestamp": envelope.timestamp.isoformat(),
        "event": "event_seen",
        "subject": envelope.type,
        "trace_id": envelope.trace_id,
        "caused_by": envelope.caused_by,
        "source": envelope.source,
        "data": mask(envelope.data),
    }
    return JournalMessage(envelope.id, envelope.timestamp, (record,))
