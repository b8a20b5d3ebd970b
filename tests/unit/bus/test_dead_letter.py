"""Dead letters of messages that are unreadable, truncated, hostile or contain secrets."""

import json
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.dead_letter import ERROR_LIMIT, PAYLOAD_LIMIT, dead_letter_of
from bus.message import UnreadableMessage
from services.common.events import DeadLettered
from services.common.messaging import SCHEMA

KEY = "AIza" + "k" * 35


def dead_letter(raw: bytes, error: Exception | None = None) -> DeadLettered:
    message = Msg(
        Client(), subject="job.created", reply="$JS.ACK.EVENTS.jobs-inbox.1.5.5.1700000000000000000.0", data=raw
    )
    event, _cause, _trace = dead_letter_of(message, "jobs-inbox", error or UnreadableMessage("no"), SCHEMA)
    return DeadLettered.model_validate_json(event.model_dump_json())


def message_with(**data: Any) -> bytes:
    return json.dumps({"id": "1", "trace_id": "t", "data": data}).encode()


def test_the_readable_fields_of_the_message_are_recorded() -> None:
    raw = message_with(job_id="j", video_id="v", dispatch_id="d.1", target_index=3)
    recorded = dead_letter(raw)
    assert (recorded.job_id, recorded.video_id, recorded.dispatch_id, recorded.target_index) == ("j", "v", "d.1", 3)
    assert (recorded.payload, recorded.whole, recorded.size, recorded.sequence) == (raw.decode(), True, len(raw), 5)


def test_only_an_unreadable_message_is_marked_unreadable() -> None:
    assert dead_letter(b"").unreadable
    assert not dead_letter(b"", ValueError("a bug")).unreadable


def test_all_video_ids_are_recorded_even_if_the_payload_is_truncated() -> None:
    raw = message_with(
        entries=[{"video_id": f"video{n:06d}", "title": "t" * 1_000} for n in range(100)], video_ids=["other"]
    )
    recorded = dead_letter(raw)
    assert recorded.video_ids == ("other", *(f"video{n:06d}" for n in range(100)))
    assert (len(recorded.payload), recorded.whole, recorded.size) == (PAYLOAD_LIMIT, False, len(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900, b'{"data": 7, "id": 7}',
        b'{"id": "\\ud800", "trace_id": "\\udfff", "data": {"job_id": "\\ud800", "video_ids": ["\\ud800", 1, {}]}}',
        message_with(target_index=10**30, entries=[[[]]], video_ids={"a": 1}), message_with(target_index=-1),
        b"9" * 10_000,
    ],
)  # fmt: skip
def test_a_dead_letter_can_be_made_of_any_malformed_message(raw: bytes) -> None:
    recorded = dead_letter(raw, UnreadableMessage("\ud800" + "x" * 10_000_000))
    assert len(recorded.error) <= ERROR_LIMIT
    assert recorded.target_index is None


@pytest.mark.parametrize(
    "raw",
    [
        message_with(options={"api_key": KEY}),
        message_with(options={"api_key": "short"}),
        message_with(note=f"use {KEY}"),
        b"x" * 65_530 + KEY.encode(),
    ],
)
def test_api_keys_are_masked_in_a_dead_letter(raw: bytes) -> None:
    recorded = dead_letter(raw, ValueError(f"refused: {KEY}"))
    assert "AIza" not in recorded.payload + recorded.error
    assert "short" not in recorded.payload
    assert not recorded.whole
