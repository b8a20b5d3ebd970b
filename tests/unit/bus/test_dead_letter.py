"""What a dead letter says of a message that could hardly be read."""

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


def letter(raw: bytes, error: Exception | None = None) -> DeadLettered:
    message = Msg(
        Client(), subject="job.created", reply="$JS.ACK.EVENTS.jobs-inbox.1.5.5.1700000000000000000.0", data=raw
    )
    said, _cause, _trace = dead_letter_of(message, "jobs-inbox", error or UnreadableMessage("no"), SCHEMA)
    return DeadLettered.model_validate_json(said.model_dump_json())


def of(**data: Any) -> bytes:
    return json.dumps({"id": "1", "trace_id": "t", "data": data}).encode()


def test_what_can_be_read_is_said() -> None:
    raw = of(job_id="j", video_id="v", dispatch_id="d.1", target_index=3)
    said = letter(raw)
    assert (said.job_id, said.video_id, said.dispatch_id, said.target_index) == ("j", "v", "d.1", 3)
    assert (said.payload, said.whole, said.size, said.sequence) == (raw.decode(), True, len(raw), 5)


def test_only_what_could_not_be_read_counts_as_unreadable() -> None:
    assert letter(b"").unreadable
    assert not letter(b"", ValueError("a bug")).unreadable


def test_every_video_is_named_also_of_a_page_that_is_cut() -> None:
    raw = of(entries=[{"video_id": f"video{n:06d}", "title": "t" * 1_000} for n in range(100)], video_ids=["other"])
    said = letter(raw)
    assert said.video_ids == ("other", *(f"video{n:06d}" for n in range(100)))
    assert (len(said.payload), said.whole, said.size) == (PAYLOAD_LIMIT, False, len(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900, b'{"data": 7, "id": 7}',
        b'{"id": "\\ud800", "trace_id": "\\udfff", "data": {"job_id": "\\ud800", "video_ids": ["\\ud800", 1, {}]}}',
        of(target_index=10**30, entries=[[[]]], video_ids={"a": 1}), of(target_index=-1), b"9" * 10_000,
    ],
)  # fmt: skip
def test_nothing_that_a_stranger_writes_makes_it_fail(raw: bytes) -> None:
    said = letter(raw, UnreadableMessage("\ud800" + "x" * 10_000_000))
    assert len(said.error) <= ERROR_LIMIT
    assert said.target_index is None


@pytest.mark.parametrize(
    "raw",
    [
        of(options={"api_key": KEY}),
        of(options={"api_key": "short"}),
        of(note=f"use {KEY}"),
        b"x" * 65_530 + KEY.encode(),
    ],
)
def test_a_key_does_not_go_into_a_letter(raw: bytes) -> None:
    said = letter(raw, ValueError(f"refused: {KEY}"))
    assert "AIza" not in said.payload + said.error
    assert "short" not in said.payload
    assert not said.whole
