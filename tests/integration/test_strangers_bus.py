"""Strangers on the bus: plain nats-py beside a whole stack. Valid messages are carried out, garbage changes nothing."""

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
from services.common.settings.load import Config, load_config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

PATIENCE = 60.0  # seconds for anything that a message causes
NOW = "2026-01-01T00:00:00Z"
VIDEO = sample.VIDEO_OK


def message(subject: str, data: Any, **changes: Any) -> bytes:
    """As README shows it."""
    envelope = {"id": uuid4().hex, "version": "1.0", "type": subject, "trace_id": "a-stranger", "source": "me"}
    return json.dumps(envelope | {"timestamp": NOW, "data": data} | changes).encode()


class Stranger:
    """Speaks to a stack over NATS and REST, without a line of ours, and hears what it says."""

    def __init__(self, stack: Stack, nc: Client, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.root = stack.config.storage.base_path
        self.tmp = stack.config.storage.tmp_dir
        self._nc = nc
        self._http = http
        self._heard: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    @property
    def largest(self) -> int:
        """Bytes of a message that the broker takes."""
        return self._nc.max_payload

    async def listen(self) -> None:
        for subject in ("job.*", "dead.lettered", "storage.failed", "archive.checked", "metadata.archived"):
            await self._nc.subscribe(subject, cb=self._hear)
        await self._nc.flush()

    async def _hear(self, told: Msg) -> None:
        try:
            envelope = json.loads(told.data)
        except ValueError:
            return
        if isinstance(envelope, dict) and isinstance(envelope.get("data"), dict):
            async with self._news:
                self._heard.append(envelope | {"subject": told.subject})
                self._news.notify_all()

    async def say(self, subject: str, raw: bytes) -> None:
        await self._nc.publish(subject, raw)
        await self._nc.flush()

    async def create(self, job_id: str, *targets: str, **data: Any) -> None:
        await self.say("job.created", message("job.created", {"job_id": job_id, "targets": targets} | data))

    def heard(self, *subjects: str, **data: Any) -> list[dict[str, Any]]:
        return [
            one["data"]
            for one in self._heard
            if one["subject"] in subjects and all(one["data"].get(key) == value for key, value in data.items())
        ]

    async def hears(self, *subjects: str, **data: Any) -> dict[str, Any]:
        """Wait for the first message on one of the subjects whose data say this."""
        async with self._news:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._news.wait_for(lambda: self.heard(*subjects, **data))
            except TimeoutError:
                raise AssertionError(f"no {subjects} with {data} within {PATIENCE} s") from None
        return self.heard(*subjects, **data)[0]

    async def hear_all(self, count: int, *subjects: str, **data: Any) -> list[dict[str, Any]]:
        """Wait for so many, in the order of the messages that they are about. What is told again counts once."""

        def letters() -> dict[int, dict[str, Any]]:
            return {letter["sequence"]: letter for letter in self.heard(*subjects, **data)}

        async with self._news:
            async with asyncio.timeout(PATIENCE):
                await self._news.wait_for(lambda: len(letters()) >= count)
        return [letter for _sequence, letter in sorted(letters().items())]

    async def ends(self, job_id: str) -> dict[str, Any]:
        told = await self.hears("job.completed", "job.failed", "job.cancelled", job_id=job_id)
        job: dict[str, Any] = told["job"]
        return job

    async def rest(self, path: str, service: str = "jobs") -> Any:
        url = f"{self.stack.services[service].url}/api/v1/{path}"
        async with self._http.get(url) as response:
            return (await response.json())["data"]

    async def items(self, job_id: str) -> dict[str, dict[str, Any]]:
        return {item["video_id"]: item for item in (await self.rest(f"jobs/{job_id}/items"))["items"]}

    async def unwell(self) -> dict[str, Any]:
        """The services that are not healthy, with their checks."""
        told = {name: await self.rest("health", name) for name in self.stack.services}
        return {name: health["checks"] for name, health in told.items() if health["status"] != "healthy"}

    async def expect_all_is_well(self) -> None:
        """The services live, and do a job from its listing to its files."""
        assert await self.unwell() == {}
        job_id = f"after-{uuid4().hex[:8]}"
        await self.create(job_id, VIDEO, options={"quality": "144p", "skip_existing": False})
        job = await self.ends(job_id)
        assert (job["status"], job["counts"]["archived"]) == ("completed", 1), job
        assert (self.root / "videos" / VIDEO / f"{VIDEO}.mp4").exists()


@pytest.fixture
def emulated(config: Config, emulator: EmulatorClient, tmp_path: Path) -> Config:
    """A message whose handler raises comes again after a 30th of the usual time."""
    env = {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(config.storage.base_data_dir),
        "YTARCHIVE_STORAGE__BASE_PATH": str(config.storage.base_path),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_YOUTUBE__PROXY": emulator.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator.ca_file),
        "YTARCHIVE_NATS__ACK_WAIT": "2",
    }
    return load_config(env=env, cwd=tmp_path).model_copy(update={"services": config.services})


@pytest.fixture
async def stranger(emulated: Config) -> AsyncIterator[Stranger]:
    async with Stack(emulated) as stack, aiohttp.ClientSession() as http:
        token = stack.settings.token
        assert token is not None
        nc = await nats.connect(stack.settings.url, token=token.get_secret_value())
        try:
            known = Stranger(stack, nc, http)
            await known.listen()
            yield known
        finally:
            await nc.close()


# --- what is valid ------------------------------------------------------------------------------------------------


async def test_a_job_published_by_hand_is_carried_out(stranger: Stranger) -> None:
    raw = (
        b'{"id":"1","version":"1.0","type":"job.created","trace_id":"my-trace","source":"me",\n'
        b'    "timestamp":"2026-01-01T00:00:00Z","data":{"job_id":"my-job","targets":["' + VIDEO.encode() + b'"]}}'
    )
    await stranger.say("job.created", raw)
    job = await stranger.ends("my-job")
    assert (job["status"], job["trace_id"], job["counts"]["archived"]) == ("completed", "my-trace", 1)
    assert (stranger.root / "videos" / VIDEO / f"{VIDEO}.mp4").stat().st_size > 0


async def test_envelopes_of_other_minor_versions_open_with_fewer_and_more_fields(stranger: Stranger) -> None:
    more: dict[str, Any] = {
        "reply_by": 7,
        "data": {"job_id": "more", "targets": [VIDEO], "type": "metadata_only", "colour": "blue"},
    }
    fewer = {key: value for key, value in json.loads(message("job.created", {})).items() if key != "version"}
    fewer["data"] = {"job_id": "fewer", "targets": [VIDEO], "type": "metadata_only"}
    await stranger.say("job.created", message("job.created", more.pop("data"), **more))
    await stranger.say("job.created", json.dumps(fewer).encode())
    for version in ("1", "1.0.3", "1.99"):
        job = {"job_id": f"v{version.replace('.', '_')}", "targets": [VIDEO], "type": "metadata_only"}
        await stranger.say("job.created", message("job.created", job, version=version))
    for job_id in ("more", "fewer", "v1", "v1_0_3", "v1_99"):
        assert (await stranger.ends(job_id))["status"] == "completed"
    assert stranger.heard("dead.lettered") == []


async def test_the_same_message_five_times_is_one_job(stranger: Stranger, emulator: EmulatorClient) -> None:
    raw = message("job.created", {"job_id": "again", "targets": [VIDEO]})
    others = [message("job.created", {"job_id": "again", "targets": [sample.VIDEO_480P]}) for _ in range(5)]
    for each in (raw, *[raw] * 4, *others):
        await stranger.say("job.created", each)
    await stranger.ends("again")
    await stranger.expect_all_is_well()  # so all ten were read
    assert (await stranger.rest("jobs"))["total"] == 2
    assert list(await stranger.items("again")) == [VIDEO]
    assert len(stranger.heard("job.completed", job_id="again")) == 1
    assert emulator.log(video_id=sample.VIDEO_480P) == []


# --- garbage ------------------------------------------------------------------------------------------------------

SUBJECTS = sorted(kind.subject for kind in e.catalogue() if kind.delivery is Delivery.STREAM)
NOT_ENVELOPES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "nothing": (lambda _: b"", "not an envelope"),
    "not JSON": (lambda _: b"hello", "not an envelope"),
    "not UTF-8": (lambda _: b"\xff\xfe\x00", "not an envelope"),
    "no object": (lambda _: b"[]", "not an envelope"),
    "too deep": (lambda _: b"[" * 100_000, "not an envelope"),
    "too deep inside": (lambda s: message(s, {}).replace(b"{}", b'{"a":' * 5_000 + b"1" + b"}" * 5_000), "not an"),
    "half a character": (lambda s: message(s, {"job_id": "\ud800", "video_id": "\udfff"}), "not an envelope"),
    "no data": (lambda s: message(s, "data"), "data:"),
    "no id": (lambda s: message(s, {}, id=""), "id:"),
    "a long trace": (lambda s: message(s, {}, trace_id="t" * 1_000_000), "trace_id:"),
    "no time zone": (lambda s: message(s, {}, timestamp="2026-01-01T00:00:00"), "timestamp:"),
    "no time at all": (lambda s: message(s, {}, timestamp="9999-12-31T23:59:59-14:00"), "timestamp:"),
    "another type": (lambda s: message(s, {}, type="job.deleted"), "does not match the subject"),
    "the future": (lambda s: message(s, {}, version="2.0"), "envelope version '2.0'"),
    "a long version": (lambda s: message(s, {}, version="9" * 1_000_000), "envelope version"),
}


async def test_what_is_no_envelope_becomes_a_letter_on_every_subject(stranger: Stranger) -> None:
    """A third of the ways on each subject: what is no envelope is seen before anybody looks at the subject."""
    kinds = [kind for kind in e.catalogue() if kind.subject in SUBJECTS]
    said = {kind: list(NOT_ENVELOPES.items())[turn % 3 :: 3] for turn, kind in enumerate(kinds)}
    for kind, ways in said.items():
        for _name, (make, _reason) in ways:
            await stranger.say(kind.subject, make(kind.subject))
    del said[e.DeadLettered]  # letters about letters would never end
    for kind, ways in said.items():
        for consumer in _readers(stranger, kind):
            found = await stranger.hear_all(len(ways), "dead.lettered", type=kind.subject, consumer=consumer)
            for letter, (name, (_make, reason)) in zip(found, ways, strict=True):
                assert reason in letter["error"], (name, letter["error"])
                assert len(letter["error"]) <= 2_000
                assert letter["unreadable"] is True
    assert (await stranger.rest("jobs"))["total"] == 0
    await stranger.expect_all_is_well()


def _readers(stranger: Stranger, kind: type[Event]) -> set[str]:
    return {
        one.durable
        for service in stranger.stack.services.values()
        for one in service.handlers.consumptions
        if kind in one.events
    }


async def test_wrong_types_on_every_subject_become_letters(stranger: Stranger) -> None:
    wrong = {"job_id": 7, "video_id": ["x"], "target_index": 10**30, "entries": "none", "dispatch_id": {}}
    kinds = [kind for kind in e.catalogue() if kind.subject in SUBJECTS and kind is not e.DeadLettered]
    for kind in kinds:
        await stranger.say(kind.subject, message(kind.subject, wrong))
    await stranger.say("dead.lettered", message("dead.lettered", wrong))
    for kind in kinds:
        for consumer in _readers(stranger, kind) - {"logging-events"}:  # which writes down whatever is an envelope
            await stranger.hears("dead.lettered", type=kind.subject, consumer=consumer, unreadable=True)
    assert (await stranger.rest("jobs"))["total"] == 0
    await stranger.expect_all_is_well()


REFUSED: dict[str, dict[str, Any]] = {
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


async def test_jobs_that_cannot_be_are_failed_with_e007(
    stranger: Stranger, emulator: EmulatorClient, tmp_path: Path
) -> None:
    before = _tree(tmp_path / "archive")
    for job_id, data in REFUSED.items():
        await stranger.say("job.created", message("job.created", {"job_id": job_id, "targets": [VIDEO]} | data))
    for job_id in REFUSED:
        told = await stranger.hears("job.failed", job_id=job_id)
        assert told["job"]["error"]["code"] == ErrorCode.INVALID_REQUEST, told["job"]["error"]
        assert len(told["job"]["error"]["message"]) <= 2_000
    assert (await stranger.rest("jobs?status=failed"))["total"] == len(REFUSED)
    assert _tree(tmp_path / "archive") == before
    assert emulator.log() == []
    await stranger.expect_all_is_well()


async def test_a_job_with_an_odd_id_is_no_job(
    stranger: Stranger, eventually: Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
) -> None:
    odd = ["", "../../x", "a b", "é", "x" * 65, "\u0000", "a/b", "a\n", 7, None]
    for job_id in odd:
        data = {"job_id": job_id, "targets": [VIDEO], "options": {"api_key": "AIza" + "k" * 35}}
        await stranger.say("job.created", message("job.created", data))
    for letter in await stranger.hear_all(len(odd), "dead.lettered", type="job.created", consumer="jobs-inbox"):
        assert "job_id" in letter["error"]
        assert "AIza" not in letter["payload"]
    assert (await stranger.rest("jobs"))["total"] == 0
    await stranger.expect_all_is_well()

    async def erased() -> bool:
        """The letter is told first, then the message itself goes; the broker rewrites its files meanwhile."""
        try:
            kept = [path for path in stranger.stack.config.storage.base_data_dir.rglob("*") if path.is_file()]
            return not any(b"AIzakkkk" in path.read_bytes() for path in kept)
        except FileNotFoundError:
            return False

    await eventually(erased)


# --- facts of a job that nobody knows -------------------------------------------------------------------------------

_FAILURE = {"kind": "gone", "code": "E002", "reason": "private", "message": "m"}
_PAGE = {"target_index": 0, "listing": 1, "page_key": "k", "playlist_id": "PLstranger00000000"}
_META = {"video_id": VIDEO, "title": "t"}
_HELD = {"video_id": VIDEO}
_PLAN = {"plan_id": "nobody", "video_ids": [VIDEO], "path": "/etc/passwd", "unavailable": 1, "failed": 0, "resolved": 0}
_LETTER = {"type": "job.queued", "consumer": "metadata-job_queued", "sequence": 1, "error": "", "payload": ""}


def facts(root: Path, video_id: str = VIDEO) -> dict[str, dict[str, Any]]:
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
        "video.failed": {**names, "number": 1, "type": "video_download", "options": {}, "targets": [],
                         "failed": failed},
        "work_plan.updated": _PLAN,
        "job.completed": {"revision": 1, "job": job},
        "job.cancelled": {"revision": 1, "job": job},
        "job.failed": {"revision": 1, "job": job},
        "dead.lettered": {**_LETTER, **names, "target_index": 0, "video_ids": [video_id], "unreadable": True},
    }  # fmt: skip


async def test_facts_of_an_unknown_job_change_no_job_and_fetch_nothing(
    stranger: Stranger, emulator: EmulatorClient
) -> None:
    said = facts(stranger.root)
    said.pop("job.created")
    kinds = {kind.subject for kind in e.catalogue() if kind.subject in SUBJECTS and "job_id" in kind.model_fields}
    assert set(said) == kinds - {"job.created"}, "an event that is new, or gone"
    for subject, data in said.items():
        await stranger.say(subject, message(subject, {**data, "job_id": "nobody"}))
    await stranger.hears("archive.checked", job_id="nobody", page_key="k")
    await stranger.hears("storage.failed", dispatch_id="f.1", failure=_FAILURE)
    await stranger.hears("metadata.archived", video_id=VIDEO, job_id="nobody")
    assert emulator.log() == []
    await stranger.expect_all_is_well()
    assert (await stranger.rest("jobs"))["total"] == 1
    assert [letter["error"] for letter in stranger.heard("dead.lettered")] == [""], "none but the forged one"
    fetched = {entry["video_id"] for entry in emulator.log(kind="media")}
    assert fetched == {VIDEO}


# --- forgeries ----------------------------------------------------------------------------------------------------


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_video_id_that_is_a_path_goes_nowhere(stranger: Stranger, tmp_path: Path) -> None:
    odd = ["../../x", "/etc/passwd", "dQw4w9WgXcQ\n", "..", "x" * 12]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").write_text("foreign")
    before = _tree(stranger.root)
    carried = ["download.requested", "video.archived", "listing.page_fetched", "download.completed", "metadata.fetched",
               "video.failed", "archive.checked", "storage.failed", "job.cancel_requested", "job.queued"]  # fmt: skip
    for video_id in odd:
        said = facts(stranger.root, video_id)
        said["job.queued"]["target"] = {"kind": "videos", "video_ids": [video_id]}
        for subject in carried:
            await stranger.say(subject, message(subject, {**said[subject], "job_id": "nobody"}))
    for subject in carried:
        await stranger.hear_all(len(odd), "dead.lettered", type=subject, unreadable=True)
    assert _tree(stranger.root) == before
    assert (tmp_path / "x" / "kept").read_text() == "foreign"
    await stranger.expect_all_is_well()


async def test_a_root_that_is_none_of_ours_is_not_written_to(stranger: Stranger, tmp_path: Path) -> None:
    said = facts(Path("/unused"))
    roots = ["/etc", "~nobody-of-this-name/x", "relative", f"{stranger.root}/../elsewhere", "/\u0000"]
    carried = ["listing.page_fetched", "playlist.fetched", "listing.completed", "metadata.fetched"]
    for root in roots:
        about = {"job_id": "nobody", "root": root}
        for subject in carried:
            await stranger.say(subject, message(subject, {**said[subject], **about}))
        taken = {**said["download.completed"], **about, "directory": str(stranger.tmp / "d")}
        await stranger.say("download.completed", message("download.completed", taken))
    for subject in carried:
        letters = await stranger.hear_all(len(roots), "dead.lettered", type=subject)
        assert {letter["unreadable"] for letter in letters} == {True}, letters
    for root in roots:
        failed = await stranger.hears("storage.failed", root=root)
        assert failed["failure"]["kind"] == "local"
    assert not (tmp_path / "elsewhere").exists()
    await stranger.expect_all_is_well()


async def test_files_from_elsewhere_are_neither_taken_in_nor_removed(stranger: Stranger, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    content = b"not yours"
    (foreign / "f.mp4").write_bytes(content)
    part = stranger.tmp / f"{VIDEO}.part"
    part.mkdir(parents=True)
    (part / ".dispatch").write_text("another.1")
    (part / "f.mp4").write_bytes(content)
    fact = {"role": "video", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    said = facts(stranger.root)["download.completed"] | {"job_id": "nobody"}
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
        await stranger.say("download.completed", message("download.completed", forged))
        failed = await stranger.hears("storage.failed", dispatch_id=f"f.{number}")
        assert failed["failure"]["reason"] == "invalid_request", failed
    archived = {**facts(stranger.root)["video.archived"], "job_id": "nobody"}
    for directory in (str(foreign), str(part), "/etc"):
        await stranger.say("video.archived", message("video.archived", {**archived, "directory": directory}))
    playlist = {**facts(stranger.root)["playlist.fetched"], "job_id": "nobody", "playlist": {"playlist_id": "../../x"}}
    await stranger.say("playlist.fetched", message("playlist.fetched", playlist))
    await stranger.hears("dead.lettered", type="playlist.fetched", unreadable=True)
    assert _tree(foreign) == {"f.mp4": content}
    assert (part / "f.mp4").read_bytes() == content
    assert _tree(stranger.root) == {}
    await stranger.expect_all_is_well()
    assert _tree(foreign) == {"f.mp4": content}


async def test_a_text_that_is_made_to_be_slow_does_not_hold_up_the_services(stranger: Stranger) -> None:
    await stranger.create("slow", "a." * 500_000, options={"output_dir": "b-" * 500_000})
    await stranger.hears("job.failed", job_id="slow")
    async with asyncio.timeout(PATIENCE):
        await stranger.expect_all_is_well()


async def test_a_job_as_large_as_the_broker_takes_is_refused_and_holds_up_nobody(stranger: Stranger) -> None:
    """What jobs says of it must not repeat all of it: no broker would take that, and the outbox would stand still."""
    whole = len(message("job.created", {"job_id": "large", "targets": []}))
    await stranger.create("large", *["v" * 2_000] * ((stranger.largest - whole) // 2_004))
    others = [f"other-{number}" for number in range(20)]  # more than are sent at once
    for job_id in others:
        await stranger.create(job_id, "nothing to archive")
    for job_id in ("large", *others):
        await stranger.hears("job.failed", job_id=job_id)
    await stranger.expect_all_is_well()
