"""From messages of the bus to lines of the journal. Pure."""

from bus import Envelope
from services.common.events import LogRecorded
from services.common.settings.masking import mask
from services.logging.journal import Message


def of_logs(envelope: Envelope) -> Message:
    """The records of a `log.recorded`, masked again: whoever sent them may be older than the rule."""
    records = LogRecorded.read(envelope).records
    return Message(envelope.id, envelope.timestamp, tuple(mask(dict(record)) for record in records))


def of_event(envelope: Envelope) -> Message:
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
    return Message(envelope.id, envelope.timestamp, (record,))
