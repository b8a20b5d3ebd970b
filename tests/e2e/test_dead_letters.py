"""`ytarchive events dead`: messages that nobody could handle, looked at, sent again and dropped."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture
def cli(make_cli: Callable[..., Any]) -> Any:
    """A failed message comes again 30 times as soon as usual."""
    return make_cli(YTARCHIVE_NATS__ACK_WAIT="2")


@pytest.fixture
def up(cli: Any) -> Any:
    child = cli.start("up")
    child.wait_for("Ready.")
    return child


def say(cli: Any, subject: str, raw: bytes) -> None:
    """As a stranger with plain nats-py."""
    stack = json.loads((cli.data / "run" / "stack.json").read_text())

    async def publish() -> None:
        nc = await nats.connect(stack["nats_url"], token=stack["nats_token"])
        await nc.publish(subject, raw)
        await nc.drain()

    asyncio.run(publish())


def job_created(job_id: str, **data: Any) -> bytes:
    envelope = {"id": uuid4().hex, "type": "job.created", "trace_id": "t", "source": "me", "timestamp": NOW}
    return json.dumps(envelope | {"data": {"job_id": job_id} | data}).encode()


def letters(cli: Any, count: int) -> list[dict[str, Any]]:
    """The letters once there are so many."""

    def listed() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(cli("events", "dead", "list", "--json").out)
        return told if told["total"] >= count else {}

    found: list[dict[str, Any]] = until(listed, f"{count} dead letters")["letters"]
    assert len(found) == count
    return found


def wait_for_event(cli: Any, subject: str) -> None:
    """In the journal of the logging service."""
    journals = (cli.data / "logs").glob
    until(lambda: any(f'"{subject}"' in path.read_text() for path in journals("events-*.jsonl")), subject)


def test_letters_are_listed_shown_and_dropped(cli: Any, up: Any) -> None:
    assert "No dead letters." in cli("events", "dead", "list").out

    say(cli, "job.created", b"\x1b[2Jhello \xe2\x80\xae")
    say(cli, "job.created", job_created("mine", targets=7, options={"api_key": "AIza" + "k" * 35}))

    found = {(letter["consumer"], letter["job_id"]): letter for letter in letters(cli, 3)}
    unread, mine = found["jobs-inbox", None], found["jobs-inbox", "mine"]
    assert set(found) == {("jobs-inbox", None), ("logging-events", None), ("jobs-inbox", "mine")}
    assert (unread["type"], unread["unreadable"]) == ("job.created", True)
    assert "targets" in mine["error"]
    listed = cli("events", "dead", "list", "--limit", "1").out
    assert "1 of 3" in listed

    shown = cli("events", "dead", "show", str(unread["id"]))
    assert shown.code == 0
    assert "the message is invalid" in shown.out
    assert "hello" in shown.out
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    whole = json.loads(cli("events", "dead", "show", str(mine["id"]), "--json").out)
    assert (whole["job_id"], whole["replayable"]) == ("mine", False)  # its message held a key, and was erased
    assert '"targets": 7' in whole["payload"]
    assert "AIza" not in whole["payload"]

    dropped = cli("events", "dead", "drop", str(unread["id"]))
    assert (dropped.code, dropped.out.splitlines()[-1]) == (0, "1 dead letter dropped.")
    assert unread["id"] not in [letter["id"] for letter in letters(cli, 2)]
    gone = cli("events", "dead", "show", str(unread["id"]))
    assert gone.code == 2
    assert "There is no dead letter" in gone.err
    refused = cli("events", "dead", "replay", str(mine["id"]))
    assert refused.code == 1
    assert "no longer in the stream" in refused.err
    assert cli("events", "dead", "drop").code == 2
    assert cli("events", "dead", "drop", "--all").code == 0
    assert letters(cli, 0) == []


def test_a_letter_is_replayed_once_its_reason_is_gone(cli: Any, up: Any) -> None:
    record = cli.archive / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}_metadata.json"
    record.mkdir(parents=True)  # a folder where a file must be: storage cannot say what it holds
    failed = cli("download", sample.VIDEO_OK, "--metadata-only", "--json")
    assert failed.code == 3, failed.out
    (letter,) = letters(cli, 1)
    assert letter["consumer"] == "storage-listing_page_fetched"
    assert letter["unreadable"] is False

    again = cli("events", "dead", "replay", str(letter["id"]), "--json")  # still broken
    assert json.loads(again.out) == {"replayed": [letter["id"]]}
    (new,) = letters(cli, 1)
    assert new["id"] > letter["id"]
    assert letters(cli, 1) == [new]
    record.rmdir()
    mended = cli("events", "dead", "replay", "--all")
    assert mended.out.splitlines()[-1] == "1 dead letter replayed."
    wait_for_event(cli, "archive.checked")
    assert letters(cli, 0) == []


def test_without_a_running_system_it_is_said_how_to_start_one(cli: Any) -> None:
    told = cli("events", "dead", "list")
    assert told.code == 1
    assert "Start `ytarchive up`" in told.err
    assert not Path(cli.data).exists()
