"""From messages of the bus to lines of the journal. Pure."""

from bus import Envelope
from services.common.events import LogRecorded
from services.common.settings.masking import mask
from services.logging.journal import JournalMessage


def log_message(envelope: Envelope) -> JournalMessage:
    """The records of a `log.recorded`, masked again: whoever sent them may be older than the rule."""
    records = LogRecorded.read(envelope).records
    return JournalMessage(envelope.id, envelope.timestamp, tuple(mask(dict(record)) for record in records))


def event_message(envelope: Envelope) -> JournalMessage:
    """One line that tells what was said, by whom and why, so that a trace_id tells a whole story."""
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
