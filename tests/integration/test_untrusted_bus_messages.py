"""Messages of an untrusted client, sent with plain nats-py to a whole stack.

Valid messages are carried out, malformed and forged ones change nothing.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus import Delivery, Event
from services.common import events as e
from services.common.models import ErrorCode
from services.common.settings.load import Config
from tests.fixtures.emulated import emulated_config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

PATIENCE = 60.0  # seconds to wait for the effect of a message
NOW = "2026-01-01T00:00:00Z"
VIDEO = sample.VIDEO_OK


def message(subject: str, data: Any, **changes: Any) -> bytes:
    """Return an envelope as the README documents it."""
    envelope = {"id": uuid4().hex, "version": "1.0", "type": subject, "trace_id": "a-client", "source": "me"}
    return json.dumps(envelope | {"timestamp": NOW, "data": data} | changes).encode()


class UntrustedClient:
    """A client of the stack over NATS and REST that shares no code with the product."""

    def __init__(self, stack: Stack, nc: Client, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.root = stack.config.storage.base_path
        self.tmp = stack.config.storage.tmp_dir
        self._nc = nc
        self._http = http
        self._received: list[dict[str, Any]] = []
        self._arrived = asyncio.Condition()

    @property
    def largest(self) -> int:
        """The largest message that the broker accepts, in bytes."""
        return self._nc.max_payload

    async def subscribe(self) -> None:
        for subject in ("job.*", "dead.lettered", "storage.failed", "archive.checked", "metadata.archived"):
            await self._nc.subscribe(subject, cb=self._receive)
        await self._nc.flush()

    async def _receive(self, told: Msg) -> None:
        try:
            envelope = json.loads(told.data)
        except ValueError:
            return
        if isinstance(envelope, dict) and isinstance(envelope.get("data"), dict):
            async with self._arrived:
                self._received.append(envelope | {"subject": told.subject})
                self._arrived.notify_all()

    async def publish(self, subject: str, raw: bytes) -> None:
        await self._nc.publish(subject, raw)
        await self._nc.flush()

    async def create(self, job_id: str, *targets: str, **data: Any) -> None:
        await self.publish("job.created", message("job.created", {"job_id": job_id, "targets": targets} | data))

    def received(self, *subjects: str, **data: Any) -> list[dict[str, Any]]:
        return [
            one["data"]
            for one in self._received
            if one["subject"] in subjects and all(one["data"].get(key) == value for key, value in data.items())
        ]

    async def wait_for_message(self, *subjects: str, **data: Any) -> dict[str, Any]:
        """Wait for the first message on one of the subjects with these data."""
        async with self._arrived:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._arrived.wait_for(lambda: self.received(*subjects, **data))
            except TimeoutError:
                raise AssertionError(f"no {subjects} with {data} within {PATIENCE} s") from None
        return self.received(*subjects, **data)[0]

    async def wait_for_dead_letters(self, count: int, *subjects: str, **data: Any) -> list[dict[str, Any]]:
        """Wait for `count` dead letters and return them in the order of their messages, without repetitions."""

        def by_sequence() -> dict[int, dict[str, Any]]:
            return {dead_letter["sequence"]: dead_letter for dead_letter in self.received(*subjects, **data)}

        async with self._arrived:
            async with asyncio.timeout(PATIENCE):
                await self._arrived.wait_for(lambda: len(by_sequence()) >= count)
        return [dead_letter for _sequence, dead_letter in sorted(by_sequence().items())]

    async def wait_for_end(self, job_id: str) -> dict[str, Any]:
        told = await self.wait_for_message("job.completed", "job.failed", "job.cancelled", job_id=job_id)
        job: dict[str, Any] = told["job"]
        return job

    async def rest(self, path: str, service: str = "jobs") -> Any:
        url = f"{self.stack.services[service].url}/api/v1/{path}"
        async with self._http.get(url) as response:
            return (await response.json())["data"]

    async def items(self, job_id: str) -> dict[str, dict[str, Any]]:
        return {item["video_id"]: item for item in (await self.rest(f"jobs/{job_id}/items"))["items"]}

    async def unhealthy(self) -> dict[str, Any]:
        """The checks of the services that are not healthy."""
        told = {name: await self.rest("health", name) for name in self.stack.services}
        return {name: health["checks"] for name, health in told.items() if health["status"] != "healthy"}

    async def expect_a_working_stack(self) -> None:
        """Expect all services to be healthy and a new job to be carried out."""
        assert await self.unhealthy() == {}
        job_id = f"after-{uuid4().hex[:8]}"
        await self.create(job_id, VIDEO, options={"quality": "144p", "skip_existing": False})
        job = await self.wait_for_end(job_id)
        assert (job["status"], job["counts"]["archived"]) == ("completed", 1), job
        assert (self.root / "videos" / VIDEO / f"{VIDEO}.mp4").exists()


@pytest.fixture
def emulated(config: Config, emulator: EmulatorClient) -> Config:
    """Messages are redelivered after 2 s instead of 60 s."""
    return emulated_config(config, emulator, YTARCHIVE_NATS__ACK_WAIT="2")


@pytest.fixture
async def client(emulated: Config) -> AsyncIterator[UntrustedClient]:
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        token = stack.settings.token
        assert token is not None
        nc = await nats.connect(stack.settings.url, token=token.get_secret_value())
        try:
            known = UntrustedClient(stack, nc, http)
            await known.subscribe()
            yield known
        finally:
            await nc.close()


# --- valid messages -----------------------------------------------------------------------------------------------


async def test_a_job_published_by_a_plain_nats_client_is_carried_out(client: UntrustedClient) -> None:
    raw = (
        b'{"id":"1","version":"1.0","type":"job.created","trace_id":"my-trace","source":"me",\n'
        b'    "timestamp":"2026-01-01T00:00:00Z","data":{"job_id":"my-job","targets":["' + VIDEO.encode() + b'"]}}'
    )
    await client.publish("job.created", raw)
    job = await client.wait_for_end("my-job")
    assert (job["status"], job["trace_id"], job["counts"]["archived"]) == ("completed", "my-trace", 1)
    assert (client.root / "videos" / VIDEO / f"{VIDEO}.mp4").stat().st_size > 0


async def test_envelopes_with_other_minor_versions_or_extra_or_missing_fields_are_read(client: UntrustedClient) -> None:
    more: dict[str, Any] = {
        "reply_by": 7,
        "data": {"job_id": "more", "targets": [VIDEO], "type": "metadata_only", "colour": "blue"},
    }
    fewer = {key: value for key, value in json.loads(message("job.created", {})).items() if key != "version"}
    fewer["data"] = {"job_id": "fewer", "targets": [VIDEO], "type": "metadata_only"}
    await client.publish("job.created", message("job.created", more.pop("data"), **more))
    await client.publish("job.created", json.dumps(fewer).encode())
    for version in ("1", "1.0.3", "1.99"):
        job = {"job_id": f"v{version.replace('.', '_')}", "targets": [VIDEO], "type": "metadata_only"}
        await client.publish("job.created", message("job.created", job, version=version))
    for job_id in ("more", "fewer", "v1", "v1_0_3", "v1_99"):
        assert (await client.wait_for_end(job_id))["status"] == "completed"
    assert client.received("dead.lettered") == []


async def test_repeated_messages_with_one_job_id_create_one_job(
    client: UntrustedClient, emulator: EmulatorClient
) -> None:
    raw = message("job.created", {"job_id": "again", "targets": [VIDEO]})
    others = [message("job.created", {"job_id": "again", "targets": [sample.VIDEO_480P]}) for _ in range(5)]
    for each in (raw, *[raw] * 4, *others):
        await client.publish("job.created", each)
    await client.wait_for_end("again")
    await client.expect_a_working_stack()  # a later job has ended, so all ten messages were read
    assert (await client.rest("jobs"))["total"] == 2
    assert list(await client.items("again")) == [VIDEO]
    assert len(client.received("job.completed", job_id="again")) == 1
    assert emulator.log(video_id=sample.VIDEO_480P) == []


# --- malformed messages -------------------------------------------------------------------------------------------

SUBJECTS = sorted(kind.subject for kind in e.catalogue() if kind.delivery is Delivery.STREAM)
INVALID_ENVELOPES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "empty": (lambda _: b"", "not an envelope"),
    "not JSON": (lambda _: b"hello", "not an envelope"),
    "not UTF-8": (lambda _: b"\xff\xfe\x00", "not an envelope"),
    "not an object": (lambda _: b"[]", "not an envelope"),
    "too deep": (lambda _: b"[" * 100_000, "not an envelope"),
    "too deep inside": (lambda s: message(s, {}).replace(b"{}", b'{"a":' * 5_000 + b"1" + b"}" * 5_000), "not an"),
    "a lone surrogate": (lambda s: message(s, {"job_id": "\ud800", "video_id": "\udfff"}), "not an envelope"),
    "no data": (lambda s: message(s, "data"), "data:"),
    "no id": (lambda s: message(s, {}, id=""), "id:"),
    "a long trace": (lambda s: message(s, {}, trace_id="t" * 1_000_000), "trace_id:"),
    "no time zone": (lambda s: message(s, {}, timestamp="2026-01-01T00:00:00"), "timestamp:"),
    "a time out of range": (lambda s: message(s, {}, timestamp="9999-12-31T23:59:59-14:00"), "timestamp:"),
    "another type": (lambda s: message(s, {}, type="job.deleted"), "does not match the subject"),
    "a future version": (lambda s: message(s, {}, version="2.0"), "envelope version '2.0'"),
    "a long version": (lambda s: message(s, {}, version="9" * 1_000_000), "envelope version"),
}


async def test_an_invalid_envelope_becomes_a_dead_letter_on_every_subject(client: UntrustedClient) -> None:
    """Try a third of the variants on each subject, because the envelope is checked independently of the subject."""
    kinds = [kind for kind in e.catalogue() if kind.subject in SUBJECTS]
    said = {kind: list(INVALID_ENVELOPES.items())[turn % 3 :: 3] for turn, kind in enumerate(kinds)}
    for kind, ways in said.items():
        for _name, (make, _reason) in ways:
            await client.publish(kind.subject, make(kind.subject))
    del said[e.DeadLettered]  # dead letters about dead letters would never end
    for kind, ways in said.items():
        for consumer in _consumers_of(client, kind):
            found = await client.wait_for_dead_letters(len(ways), "dead.lettered", type=kind.subject, consumer=consumer)
            for dead_letter, (name, (_make, reason)) in zip(found, ways, strict=True):
                assert reason in dead_letter["error"], (name, dead_letter["error"])
                assert len(dead_letter["error"]) <= 2_000
                assert dead_letter["unreadable"] is True
    assert (await client.rest("jobs"))["total"] == 0
    await client.expect_a_working_stack()


def _consumers_of(client: UntrustedClient, kind: type[Event]) -> set[str]:
    return {
        one.durable
        for service in client.stack.services.values()
        for one in service.handlers.consumptions
        if kind in one.events
    }


async def test_data_of_wrong_types_becomes_a_dead_letter_on_every_subject(client: UntrustedClient) -> None:
    wrong = {"job_id": 7, "video_id": ["x"], "target_index": 10**30, "entries": "none", "dispatch_id": {}}
    kinds = [kind for kind in e.catalogue() if kind.subject in SUBJECTS and kind is not e.DeadLettered]
    for kind in kinds:
        await client.publish(kind.subject, message(kind.subject, wrong))
    await client.publish("dead.lettered", message("dead.lettered", wrong))
    for kind in kinds:
        for consumer in _consumers_of(client, kind) - {"logging-events"}:  # stores every valid envelope
            await client.wait_for_message("dead.lettered", type=kind.subject, consumer=consumer, unreadable=True)
    assert (await client.rest("jobs"))["total"] == 0
    await client.expect_a_working_stack()


INVALID_JOBS: dict[str, dict[str, Any]] = {
    "unknown-type": {"type": "everything"},
    "no-targets": {"targets": []},
    "targets-of-no-list": {"targets": VIDEO},
    "targets-of-numbers": {"targets": [1, 2]},
    "control-characters": {"targets": [f"{VIDEO}\u0000", f"\u001b[2J{VIDEO}"]},
    "ids-of-2-MB": {"targets": [VIDEO] * 150_000},
    "one-id-of-2-MB": {"targets": ["v" * 2_000_000]},
    "nonsense-of-2-MB": {"targets": ["v" * 2_000] * 1_000},
    "options-of-no-object": {"options": "best"},
    "options-of-wrong-type": {"options": {"include_captions": "perhaps"}},
    "quality": {"options": {"quality": "\u001b[31m; rm -rf /"}},
    "languages": {"options": {"caption_languages": ["../../etc"]}},
    "a-language-of-2-MB": {"options": {"caption_languages": ["e" * 2_000_000]}},
    "parent": {"options": {"output_dir": "../../etc"}},
    "parent-of-home": {"options": {"output_dir": "~/../../etc"}},
    "etc": {"options": {"output_dir": "/etc"}},
    "zero-byte": {"options": {"output_dir": "/\u0000"}},
    "a-long-name": {"options": {"output_dir": "/" + "a" * 300}},
    "somebody": {"options": {"output_dir": "~nobody-of-this-name/x"}},
    "huge-priority": {"priority": 10**30},
    "priority-in-words": {"priority": "now"},
}


async def test_invalid_jobs_fail_with_e007(client: UntrustedClient, emulator: EmulatorClient, tmp_path: Path) -> None:
    before = _tree(tmp_path / "archive")
    for job_id, data in INVALID_JOBS.items():
        await client.publish("job.created", message("job.created", {"job_id": job_id, "targets": [VIDEO]} | data))
    for job_id in INVALID_JOBS:
        told = await client.wait_for_message("job.failed", job_id=job_id)
        assert told["job"]["error"]["code"] == ErrorCode.INVALID_REQUEST, told["job"]["error"]
        assert len(told["job"]["error"]["message"]) <= 2_000
    assert (await client.rest("jobs?status=failed"))["total"] == len(INVALID_JOBS)
    assert _tree(tmp_path / "archive") == before
    assert emulator.log() == []
    await client.expect_a_working_stack()


async def test_a_job_with_an_invalid_id_becomes_a_dead_letter_without_its_api_key(
    client: UntrustedClient, eventually: Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
) -> None:
    odd = ["", "../../x", "a b", "é", "x" * 65, "\u0000", "a/b", "a\n", 7, None]
    for job_id in odd:
        data = {"job_id": job_id, "targets": [VIDEO], "options": {"api_key": "AIza" + "k" * 35}}
        await client.publish("job.created", message("job.created", data))
    for dead_letter in await client.wait_for_dead_letters(
        len(odd), "dead.lettered", type="job.created", consumer="jobs-inbox"
    ):
        assert "job_id" in dead_letter["error"]
        assert "AIza" not in dead_letter["payload"]
    assert (await client.rest("jobs"))["total"] == 0
    await client.expect_a_working_stack()

    async def erased() -> bool:
        """The dead letter is published before the message is erased; the broker rewrites its files meanwhile."""
        try:
            kept = [path for path in client.stack.config.storage.base_data_dir.rglob("*") if path.is_file()]
            return not any(b"AIzakkkk" in path.read_bytes() for path in kept)
        except FileNotFoundError:
            return False

    await eventually(erased)


# --- events of an unknown job -------------------------------------------------------------------------------------

_FAILURE = {"kind": "gone", "code": "E002", "reason": "private", "message": "m"}
_PAGE = {"target_index": 0, "listing": 1, "page_key": "k", "playlist_id": "PLstranger00000000"}
_META = {"video_id": VIDEO, "title": "t"}
_HELD = {"video_id": VIDEO}
_PLAN = {"plan_id": "nobody", "video_ids": [VIDEO], "path": "/etc/passwd", "unavailable": 1, "failed": 0, "resolved": 0}
_LETTER = {"type": "job.queued", "consumer": "metadata-job_queued", "sequence": 1, "error": "", "payload": ""}


def events_of_a_job(root: Path, video_id: str = VIDEO) -> dict[str, dict[str, Any]]:
    """One well-formed event of every kind that names a job."""
    names = {"dispatch_id": "f.1", "fetch_id": "f", "video_id": video_id, "root": str(root)}
    times = {"source_url": "x", "started_at": NOW, "finished_at": NOW}
    taken = {"wanted": {}, "directory": "/etc", "files": [], "metadata": _META, "provenance": times}
    target = {"kind": "playlist", "id": sample.PLAYLIST_3}
    failed = {"video_id": video_id, "title": "t", "attempts": 3, "last_attempt": NOW, "errors": []}
    job = {
        "job_id": "nobody", "trace_id": "t", "type": "video_download", "status": "completed", "targets": [VIDEO],
        "options": {}, "root": str(root), "created_at": NOW, "updated_at": NOW,
        "progress": {"current": 0, "total": 0, "percentage": 0, "message": ""},
    }  # fmt: skip
    return {
        "job.created": {"targets": ["nothing to archive"]},
        "follow.found": {"follow_id": "0" * 12, "look": 1, "entries": [{"video_id": video_id}], "found": 1},
        "job.cancel_requested": {"video_id": video_id},
        "job.pause_requested": {},
        "job.resume_requested": {},
        "job.priority_requested": {"priority": 5},
        "job.retry_requested": {},
        "job.queued": {"type": "playlist_download", "root": str(root), "options": {}, "target": target,
                       "target_index": 0, "listing": 1},
        "playlist.fetched": {**_PAGE, "root": str(root), "playlist": {"playlist_id": "PLstranger00000000"}},
        "listing.page_fetched": {**_PAGE, "root": str(root), "type": "playlist_download", "options": {},
                                 "entries": [{"video_id": video_id}]},
        "listing.completed": {**_PAGE, "root": str(root), "page_keys": ["k"], "total": 1},
        "listing.failed": {**_PAGE, "root": str(root), "error": {"code": "E003", "message": "m"}},
        "archive.checked": {**_PAGE, "root": str(root), "entries": [{"video_id": video_id}],
                            "held": [_HELD | {"video_id": video_id}]},
        "metadata.fetched": {"root": str(root), "video_id": video_id, "source_name": "yt_dlp", "fetched_at": NOW,
                             "metadata": _META},
        "metadata.archived": {"root": str(root), "video_id": video_id, "source_name": "yt_dlp", "path": "/etc/passwd"},
        "download.requested": {**names, "wanted": {}},
        "download.started": {**names, "instance": "me"},
        "download.completed": {**names, **taken},
        "download.failed": {**names, "failure": _FAILURE},
        "download.cancelled": names,
        "download.deferred": {**names, "reason": "r"},
        "video.archived": {**names, "directory": "/etc", "files": [], "bytes": 1, "held": _HELD},
        "storage.failed": {**names, "failure": _FAILURE},
        "video.look_failed": {"dispatch_id": "f.1", "video_id": video_id, "root": str(root), "reason": "r",
                              "message": "m"},
        "video.failed": {**names, "number": 1, "type": "video_download", "options": {}, "targets": [],
                         "failed": failed},
        "video.finding_withdrawn": {"video_id": video_id, "number": 1},
        "work_plan.updated": _PLAN,
        "job.completed": {"revision": 1, "job": job},
        "job.cancelled": {"revision": 1, "job": job},
        "job.failed": {"revision": 1, "job": job},
        "dead.lettered": {**_LETTER, **names, "target_index": 0, "video_ids": [video_id], "unreadable": True},
    }  # fmt: skip


async def test_events_of_an_unknown_job_change_no_job_and_fetch_nothing(
    client: UntrustedClient, emulator: EmulatorClient
) -> None:
    said = events_of_a_job(client.root)
    said.pop("job.created")
    kinds = {kind.subject for kind in e.catalogue() if kind.subject in SUBJECTS and "job_id" in kind.model_fields}
    assert set(said) == kinds - {"job.created"}, "an event was added or removed: adapt `events_of_a_job`"
    for subject, data in said.items():
        await client.publish(subject, message(subject, {**data, "job_id": "nobody"}))
    await client.wait_for_message("archive.checked", job_id="nobody", page_key="k")
    await client.wait_for_message("storage.failed", dispatch_id="f.1", failure=_FAILURE)
    await client.wait_for_message("metadata.archived", video_id=VIDEO, job_id="nobody")
    assert emulator.log() == []
    await client.expect_a_working_stack()
    assert (await client.rest("jobs"))["total"] == 1
    assert [dead_letter["error"] for dead_letter in client.received("dead.lettered")] == [""], (
        "there is no dead letter except the forged one"
    )
    fetched = {entry["video_id"] for entry in emulator.log(kind="media")}
    assert fetched == {VIDEO}


# --- forged paths -------------------------------------------------------------------------------------------------


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_video_id_that_is_a_path_writes_nothing(client: UntrustedClient, tmp_path: Path) -> None:
    odd = ["../../x", "/etc/passwd", "dQw4w9WgXcQ\n", "..", "x" * 12]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").write_text("foreign")
    before = _tree(client.root)
    carried = ["download.requested", "video.archived", "listing.page_fetched", "download.completed", "metadata.fetched",
               "video.failed", "video.finding_withdrawn", "archive.checked", "storage.failed", "job.cancel_requested",
               "job.queued"]  # fmt: skip
    for video_id in odd:
        said = events_of_a_job(client.root, video_id)
        said["job.queued"]["target"] = {"kind": "videos", "video_ids": [video_id]}
        for subject in carried:
            await client.publish(subject, message(subject, {**said[subject], "job_id": "nobody"}))
    for subject in carried:
        await client.wait_for_dead_letters(len(odd), "dead.lettered", type=subject, unreadable=True)
    assert _tree(client.root) == before
    assert (tmp_path / "x" / "kept").read_text() == "foreign"
    await client.expect_a_working_stack()


async def test_an_invalid_root_is_not_written_to(client: UntrustedClient, tmp_path: Path) -> None:
    said = events_of_a_job(Path("/unused"))
    roots = ["/etc", "~nobody-of-this-name/x", "relative", f"{client.root}/../elsewhere", "/\u0000"]
    carried = ["listing.page_fetched", "playlist.fetched", "listing.completed", "metadata.fetched"]
    for root in roots:
        about = {"job_id": "nobody", "root": root}
        for subject in carried:
            await client.publish(subject, message(subject, {**said[subject], **about}))
        taken = {**said["download.completed"], **about, "directory": str(client.tmp / "d")}
        await client.publish("download.completed", message("download.completed", taken))
    for subject in carried:
        dead_letters = await client.wait_for_dead_letters(len(roots), "dead.lettered", type=subject)
        assert {dead_letter["unreadable"] for dead_letter in dead_letters} == {True}, dead_letters
    for root in roots:
        failed = await client.wait_for_message("storage.failed", root=root)
        assert failed["failure"]["kind"] == "local"
    assert not (tmp_path / "elsewhere").exists()
    await client.expect_a_working_stack()


async def test_files_outside_the_work_directory_are_neither_archived_nor_removed(
    client: UntrustedClient, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    content = b"not yours"
    (foreign / "f.mp4").write_bytes(content)
    part = client.tmp / f"{VIDEO}.part"
    part.mkdir(parents=True)
    (part / ".dispatch").write_text("another.1")
    (part / "f.mp4").write_bytes(content)
    fact = {"role": "video", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    said = events_of_a_job(client.root)["download.completed"] | {"job_id": "nobody"}
    places = [
        (str(foreign), "f.mp4"),
        (f"{part}/../../../foreign", "f.mp4"),
        (str(part), "../../../foreign/f.mp4"),
        (str(part), str(foreign / "f.mp4")),
        (str(part), "f.mp4\u0000"),
        ("/etc", "passwd"),
    ]
    for number, (directory, name) in enumerate(places):
        forged = {**said, "dispatch_id": f"f.{number}", "directory": directory, "files": [{**fact, "name": name}]}
        await client.publish("download.completed", message("download.completed", forged))
        failed = await client.wait_for_message("storage.failed", dispatch_id=f"f.{number}")
        assert failed["failure"]["reason"] == "invalid_request", failed
    archived = {**events_of_a_job(client.root)["video.archived"], "job_id": "nobody"}
    for directory in (str(foreign), str(part), "/etc"):
        await client.publish("video.archived", message("video.archived", {**archived, "directory": directory}))
    playlist = {
        **events_of_a_job(client.root)["playlist.fetched"],
        "job_id": "nobody",
        "playlist": {"playlist_id": "../../x"},
    }
    await client.publish("playlist.fetched", message("playlist.fetched", playlist))
    await client.wait_for_message("dead.lettered", type="playlist.fetched", unreadable=True)
    assert _tree(foreign) == {"f.mp4": content}
    assert (part / "f.mp4").read_bytes() == content
    assert _tree(client.root) == {}
    await client.expect_a_working_stack()
    assert _tree(foreign) == {"f.mp4": content}


async def test_a_text_crafted_for_slow_matching_does_not_block_the_services(client: UntrustedClient) -> None:
    await client.create("slow", "a." * 500_000, options={"output_dir": "b-" * 500_000})
    await client.wait_for_message("job.failed", job_id="slow")
    async with asyncio.timeout(PATIENCE):
        await client.expect_a_working_stack()


async def test_a_job_of_the_largest_message_size_fails_and_does_not_block_others(client: UntrustedClient) -> None:
    """The failure must not repeat the whole request: the broker would refuse it and the outbox would block."""
    whole = len(message("job.created", {"job_id": "large", "targets": []}))
    await client.create("large", *["v" * 2_000] * ((client.largest - whole) // 2_004))
    others = [f"other-{number}" for number in range(20)]  # more than one batch of the outbox
    for job_id in others:
        await client.create(job_id, "nothing to archive")
    for job_id in ("large", *others):
        await client.wait_for_message("job.failed", job_id=job_id)
    await client.expect_a_working_stack()
