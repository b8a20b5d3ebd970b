"""`ytarchive events dead`: list, show, replay and drop dead letters."""

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
    """Return a CLI with a short ack_wait: a failed message is redelivered 30 times sooner than by default."""
    return make_cli(YTARCHIVE_NATS__ACK_WAIT="2")


@pytest.fixture
def up(cli: Any) -> Any:
    child = cli.start("up")
    child.wait_for("Ready.")
    return child


def publish_raw(cli: Any, subject: str, raw: bytes) -> None:
    """Publish raw bytes with plain nats-py, as an untrusted client."""
    stack = json.loads((cli.data / "run" / "stack.json").read_text())

    async def publish() -> None:
        nc = await nats.connect(stack["nats_url"], token=stack["nats_token"])
        await nc.publish(subject, raw)
        await nc.drain()

    asyncio.run(publish())


def job_created(job_id: str, **data: Any) -> bytes:
    envelope = {"id": uuid4().hex, "type": "job.created", "trace_id": "t", "source": "me", "timestamp": NOW}
    return json.dumps(envelope | {"data": {"job_id": job_id} | data}).encode()


def wait_for_dead_letters(cli: Any, count: int) -> list[dict[str, Any]]:
    """Wait for `count` dead letters and return them. Fail if there are more."""

    def listed() -> dict[str, Any]:
        listing: dict[str, Any] = json.loads(cli("events", "dead", "list", "--json").out)
        return listing if listing["total"] >= count else {}

    found: list[dict[str, Any]] = until(listed, f"{count} dead letters")["letters"]
    assert len(found) == count
    return found


def wait_for_event(cli: Any, subject: str) -> None:
    """Wait until the logging service has recorded an event with this subject."""
    journals = (cli.data / "logs").glob
    until(lambda: any(f'"{subject}"' in path.read_text() for path in journals("events-*.jsonl")), subject)


def test_dead_letters_are_listed_shown_and_dropped(cli: Any, up: Any) -> None:
    assert "No dead letters." in cli("events", "dead", "list").out

    publish_raw(cli, "job.created", b"\x1b[2Jhello \xe2\x80\xae")
    publish_raw(cli, "job.created", job_created("mine", targets=7, options={"api_key": "AIza" + "k" * 35}))

    found = {
        (dead_letter["consumer"], dead_letter["job_id"]): dead_letter for dead_letter in wait_for_dead_letters(cli, 3)
    }
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
    assert (whole["job_id"], whole["replayable"]) == ("mine", False)  # its message contained an API key and was erased
    assert '"targets": 7' in whole["payload"]
    assert "AIza" not in whole["payload"]

    dropped = cli("events", "dead", "drop", str(unread["id"]))
    assert (dropped.code, dropped.out.splitlines()[-1]) == (0, "1 dead letter dropped.")
    assert unread["id"] not in [dead_letter["id"] for dead_letter in wait_for_dead_letters(cli, 2)]
    gone = cli("events", "dead", "show", str(unread["id"]))
    assert gone.code == 2
    assert "There is no dead letter" in gone.err
    refused = cli("events", "dead", "replay", str(mine["id"]))
    assert refused.code == 1
    assert "no longer in the stream" in refused.err
    assert cli("events", "dead", "drop").code == 2
    assert cli("events", "dead", "drop", "--all").code == 0
    assert wait_for_dead_letters(cli, 0) == []


def test_a_dead_letter_is_handled_by_a_replay_after_its_cause_is_removed(cli: Any, up: Any) -> None:
    assert cli("download", sample.VIDEO_OK).code == 0
    folder = cli.archive / "videos" / sample.VIDEO_OK
    aside = folder.rename(folder.with_name("aside"))
    folder.symlink_to(folder)  # a loop: storage cannot check the files that it holds
    failed = cli("download", sample.VIDEO_OK, "--metadata-only", "--json")
    assert failed.code == 3, failed.out
    (dead_letter,) = wait_for_dead_letters(cli, 1)
    assert dead_letter["consumer"] == "storage-listing_page_fetched"
    assert dead_letter["unreadable"] is False

    again = cli("events", "dead", "replay", str(dead_letter["id"]), "--json")  # the cause still exists
    assert json.loads(again.out) == {"replayed": [dead_letter["id"]]}
    (new,) = wait_for_dead_letters(cli, 1)
    assert new["id"] > dead_letter["id"]
    assert wait_for_dead_letters(cli, 1) == [new]
    folder.unlink()
    aside.rename(folder)
    mended = cli("events", "dead", "replay", "--all")
    assert mended.out.splitlines()[-1] == "1 dead letter replayed."
    wait_for_event(cli, "archive.checked")
    assert wait_for_dead_letters(cli, 0) == []


def test_without_a_running_stack_the_error_names_the_start_command(cli: Any) -> None:
    listing = cli("events", "dead", "list")
    assert listing.code == 1
    assert "Start `ytarchive up`" in listing.err
    assert not Path(cli.data).exists()
