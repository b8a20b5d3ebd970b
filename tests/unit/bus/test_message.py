"""Envelopes: the wire format, and the deterministic ids that make publishing idempotent."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bus import Envelope, Event, UnreadableMessage
from services.common.events import (
    DeadLettered,
    DownloadProgress,
    JobCreated,
    ListingPageFetched,
    SourceBlocked,
    SourceCleared,
    catalogue,
)
from services.common.models import JobOptions, JobType, Progress

CLEARED = SourceCleared(egress="home")


def wire(**changes: Any) -> bytes:
    envelope = Envelope.around(CLEARED, source="download/1", trace_id="t").model_dump(mode="json")
    return json.dumps(envelope | changes).encode()


def test_an_envelope_is_unchanged_after_serialization() -> None:
    written = Envelope.around(CLEARED, source="download/1", trace_id="t", caused_by="c")
    read = Envelope.from_bytes(written.to_bytes(), "source.cleared")
    assert read == written
    assert SourceCleared.read(read) == CLEARED
    assert json.loads(written.to_bytes())["type"] == "source.cleared"


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    read = Envelope.from_bytes(wire(data={"egress": "home", "mood": "new"}, colour="new"), "source.cleared")
    assert SourceCleared.read(read) == CLEARED


def test_a_newer_minor_version_is_read() -> None:
    assert Envelope.from_bytes(wire(version="1.9"), "source.cleared").version == "1.9"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff\x00 not json", "not an envelope"),
        (b"[]", "not an envelope"),
        (wire(version="2.0"), "version '2.0'"),
        (wire(type="source.blocked"), "does not match the subject"),
        (wire(trace_id=""), "trace_id"),
        (wire(id="x" * 129), "id"),
        (wire(timestamp="2026-01-01T00:00:00"), "timestamp"),
        (wire(data=None), "data"),
    ],
)
def test_a_malformed_envelope_is_unreadable_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(UnreadableMessage, match=reason):
        Envelope.from_bytes(raw, "source.cleared")


def test_an_event_without_a_required_field_is_unreadable_and_the_input_is_not_shown() -> None:
    with pytest.raises(UnreadableMessage, match=r"source\.blocked: until") as caught:
        SourceBlocked.read(
            Envelope.around(CLEARED, source="x", trace_id="t").model_copy(
                update={"type": "source.blocked", "data": {"egress": "secret-egress", "reason": "r"}}
            )
        )
    assert "secret-egress" not in str(caught.value)


def test_an_event_id_depends_on_the_cause_and_the_key_fields_only() -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC)
    one = SourceBlocked(egress="home", reason="bot check", until=until)
    assert one.id_after("cause") == one.model_copy(update={"reason": "another"}).id_after("cause")
    assert one.id_after("cause") != one.id_after("another cause")
    assert one.id_after("cause") != one.model_copy(update={"egress": "office"}).id_after("cause")
    assert one.id_after("cause") != CLEARED.id_after("cause")


def test_pages_of_one_listing_have_different_ids() -> None:
    def page(key: str) -> ListingPageFetched:
        return ListingPageFetched(
            job_id="j",
            root="/a",
            type=JobType.PLAYLIST_DOWNLOAD,
            options=JobOptions(),
            target_index=0,
            listing=1,
            page_key=key,
            entries=(),
        )

    assert page("1/flat/0/aa").id_after("c") != page("1/flat/100/bb").id_after("c")


def test_an_envelope_id_is_given_or_derived_from_the_cause_or_random() -> None:
    def around(event: Event, caused_by: str | None = None, id: str | None = None) -> str:
        return Envelope.around(event, source="x", trace_id="t", caused_by=caused_by, id=id).id

    assert around(CLEARED, "c") == around(CLEARED, "c") == CLEARED.id_after("c")
    assert around(CLEARED) != around(CLEARED)
    assert around(CLEARED, "c", "mine") == "mine"


def test_core_events_of_the_same_cause_have_different_ids() -> None:
    progress = DownloadProgress(
        dispatch_id="d",
        fetch_id="f",
        job_id="j",
        video_id="aaaaaaaaaaa",
        root="/a",
        progress=Progress(current=1, total=2, percentage=50, message=""),
    )
    first, second = (Envelope.around(progress, source="x", trace_id="t", caused_by="c") for _ in range(2))
    assert first.id != second.id


def test_the_key_of_an_event_must_name_existing_fields() -> None:
    with pytest.raises(TypeError, match="unknown fields"):
        type("Wrong", (Event,), {"__annotations__": {}}, subject="wrong.key", key=("nothing",))
    assert "wrong.key" not in {kind.subject for kind in catalogue()}


def test_events_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CLEARED.egress = "other"  # type: ignore[misc]  # the refusal is under test


def test_the_catalogue_lists_each_subject_once() -> None:
    subjects = [kind.subject for kind in catalogue()]
    assert len(subjects) == len(set(subjects))
    assert {JobCreated.subject, DeadLettered.subject} <= set(subjects)
