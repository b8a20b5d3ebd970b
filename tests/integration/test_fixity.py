"""Verification by the storage service, with real files, a real broker and killed processes."""

import asyncio
import hashlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from yarl import URL

from bus import BusSettings, Envelope
from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted, FixityFailed, JobCreated
from services.common.messaging import connect_bus
from services.common.models import JobType
from services.common.settings.load import Config
from services.storage.index.holdings import add_functions, unpack_text
from services.storage.service import StorageService

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
ROLES = {"mp4": FileRole.VIDEO, "jpg": FileRole.THUMBNAIL, "info.json": FileRole.INFO}


class Storage:
    """A REST client of the storage service, with the events that the service published."""

    def __init__(self, service: StorageService, http: aiohttp.ClientSession, events: list[Envelope]) -> None:
        self.service = service
        self.events = events
        self.url = f"{service.url}/api/v1/storage/verify"
        self._http = http

    async def ask(self, method: str, body: Any = None, query: str = "") -> tuple[int, dict[str, Any]]:
        async with self._http.request(method, self.url + query, json=body) as response:
            return response.status, await response.json()

    async def begin(self, **body: Any) -> str:
        status, told = await self.ask("POST", body)
        assert status == 201, told
        verification_id: str = told["data"]["verification_id"]
        return verification_id

    async def state(self, query: str = "") -> dict[str, Any]:
        status, told = await self.ask("GET", query=query)
        assert status == 200, told
        page: dict[str, Any] = told["data"]
        return page

    async def verify(self, **body: Any) -> dict[str, Any]:
        """Run a verification to its end."""
        await self.begin(**body)
        return await self.wait_for_end()

    async def wait_for_end(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                page = await self.state()
                if page["verification"]["ended_at"] is not None:
                    return page
                await asyncio.sleep(0.02)

    async def archive(self, video_id: str, dispatch: str = "d1", **files: bytes) -> None:
        await self.service.parts.archive.take_in(delivery(self.service.config, video_id, dispatch, **files), "t")

    def jobs(self) -> dict[str, JobCreated]:
        told = [JobCreated.read(one) for one in self.events if one.type == JobCreated.subject]
        return {job.job_id: job for job in told}


def delivery(config: Config, video_id: str, dispatch: str, **files: bytes) -> DownloadCompleted:
    directory = config.storage.tmp_dir / f"{video_id}.part"
    directory.mkdir(parents=True, exist_ok=True)
    facts = []
    for ending, data in files.items():
        name = f"{video_id}.{ending.replace('_', '.')}"
        (directory / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        facts.append(FileFact(name=name, role=ROLES[ending.replace("_", ".")], size=len(data), sha256=digest))
    return DownloadCompleted(
        dispatch_id=dispatch,
        fetch_id="f1",
        job_id="job-1",
        video_id=video_id,
        root=str(config.storage.base_path),
        wanted=Wanted(media="mp4" in files, quality="720p", metadata=False),
        directory=str(directory),
        files=tuple(facts),
        metadata=VideoMetadata(video_id=video_id, title="T"),
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
    )


@pytest.fixture
async def events(broker: BusSettings) -> AsyncIterator[list[Envelope]]:
    bus = await connect_bus(broker, source="jobs/test")
    envelopes: list[Envelope] = []

    async def record_events() -> None:
        async with bus.tail(JobCreated, FixityFailed) as told:
            async for envelope in told:
                envelopes.append(envelope)

    recording = asyncio.create_task(record_events())
    yield envelopes
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await bus.close()


def limited(config: Config, *, rate: int = 10**12, days: int = 0) -> Config:
    fixity = config.fixity.model_copy(update={"rate_limit": rate, "interval_days": days})
    return config.model_copy(update={"fixity": fixity})


def add_row(db: sqlite3.Connection, known: str, new: str, name: str, place: str) -> None:
    """Copy the catalogue's row of `known` for a video `new`, with `place` for the file `name`."""
    ((number, packed),) = db.execute(
        "SELECT id, packed FROM videos JOIN holdings USING (id) WHERE video_id = ?", (known,)
    ).fetchall()
    columns = "stamp, title, channel, channel_id, duration_seconds, upload_date, archived_at, bytes, qualities"
    query = f"""
        INSERT INTO videos (root, video_id, {columns}, incomplete, below_wanted)
        SELECT root, ?, {columns}, 0, 0 FROM videos WHERE id = ?"""  # noqa: S608 - constants
    added = db.execute(query, (new, number)).lastrowid
    holding = unpack_text(packed).replace(f'"{name}"', f'"{place}"').replace(known, new)
    text = sqlite3.connect(":memory:")
    add_functions(text)
    with closing(text):
        packed = text.execute("SELECT pack_holding(?)", (holding,)).fetchone()[0]
    db.execute("INSERT INTO holdings VALUES (?, ?)", (added, packed))


@asynccontextmanager
async def running_storage(
    config: Config, broker: BusSettings, events: list[Envelope] | None = None, quiet: float = 300.0
) -> AsyncIterator[Storage]:
    service = StorageService(config, broker, quiet=quiet)
    await service.startup()
    try:
        async with aiohttp.ClientSession() as http:
            yield Storage(service, http, events if events is not None else [])
    finally:
        await service.shutdown(5.0)


def path_of(config: Config, video_id: str, ending: str = ".mp4") -> Path:
    return config.storage.base_path / "videos" / video_id / f"{video_id}{ending}"


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_damaged_files_are_quarantined_and_a_repair_job_is_created(
    config: Config, broker: BusSettings, events: list[Envelope], eventually: Eventually
) -> None:
    config = limited(config)
    async with running_storage(config, broker, events) as storage:
        for video_id in (A, B, C):
            await storage.archive(video_id, mp4=b"film", jpg=b"picture")
        path_of(config, A).write_bytes(b"f1lm")
        path_of(config, B, "_thumb.jpg").write_bytes(b"pic")
        path_of(config, C).unlink()
        path_of(config, C, ".txt").write_text("mine")
        page = await storage.verify()
        told = {one["name"]: one for one in page["findings"]}
        assert {name: one["kind"] for name, one in told.items()} == {
            f"{A}.mp4": "changed",
            f"{B}_thumb.jpg": "changed",
            f"{C}.mp4": "missing",
            f"{C}.txt": "extra",
        }
        assert content(told[f"{A}.mp4"]["set_aside"]) == b"f1lm"
        assert content(told[f"{B}_thumb.jpg"]["set_aside"]) == b"pic"
        assert not path_of(config, A).exists()
        assert path_of(config, C, ".txt").read_text() == "mine"
        state = page["verification"]
        counts = {key: state[key] for key in ("status", "videos", "videos_total", "files", "damaged", "extra")}
        assert counts == {
            "status": "completed", "videos": 3, "videos_total": 3, "files": 6, "damaged": 3, "extra": 1,
        }  # fmt: skip

        async def published() -> bool:
            return len(events) == 4

        await eventually(published)
        assert state["jobs"] == list(storage.jobs()) == [told[f"{A}.mp4"]["job_id"]]
        (job,) = storage.jobs().values()
        assert (job.type, job.targets) == (JobType.VIDEO_DOWNLOAD, (A, B, C))
        assert job.options.chosen_output_dir == str(config.storage.base_path)
        assert (job.options.quality, job.options.include_metadata, job.options.skip_existing) == ("720p", False, True)
        assert {one.trace_id for one in events} == {state["trace_id"]}
        held = {
            one.video_id: one for one in await storage.service.parts.archive.held(job.options.output_dir, job.targets)
        }
        assert (held[A].qualities, held[A].thumbnail) == ((), True)
        assert (held[B].qualities, held[B].thumbnail) == (("720p",), False)

        # the same content is delivered again and must be written
        for video_id in (A, C):
            await storage.archive(video_id, "d2", mp4=b"film")
            assert path_of(config, video_id).read_bytes() == b"film"
        await storage.archive(B, "d2", jpg=b"picture")
        clean = await storage.verify()
        assert [one["kind"] for one in clean["findings"]] == ["extra"]
        assert (await storage.service.parts.indexer.rescan(config.storage.base_path)).videos == 3
        metrics = storage.service.metrics()
        assert (metrics["verifying"], metrics["files_damaged"]) == (None, 0)
        first = await storage.state("?limit=1&offset=1")
        assert (first["total"], first["findings"]) == (1, [])


async def test_no_file_changes_without_repair_or_with_an_unreadable_manifest(
    config: Config, broker: BusSettings, events: list[Envelope]
) -> None:
    config = limited(config)
    async with running_storage(config, broker, events) as storage:
        await storage.archive(A, mp4=b"film")
        await storage.archive(B, mp4=b"film")
        record = path_of(config, A, "_metadata.json")
        record.write_text("{")
        path_of(config, B).write_bytes(b"f1lm")
        page = await storage.verify(repair=False)
        assert {one["name"]: one["kind"] for one in page["findings"]} == {
            record.name: "unreadable",
            f"{B}.mp4": "changed",
        }
        page = await storage.verify(video_ids=[A])
        assert [one["set_aside"] for one in page["findings"]] == [None]
        assert record.read_text() == "{"
        assert path_of(config, B).read_bytes() == b"f1lm"
        assert storage.jobs() == {}


async def test_names_and_links_in_a_foreign_archive_lead_to_no_file_outside(
    config: Config, broker: BusSettings, tmp_path: Path
) -> None:
    config, secret, forgotten = limited(config), tmp_path / "secret.mp4", "ddddddddddd"
    async with running_storage(config, broker) as storage:
        for video_id in (A, B, C, forgotten):
            await storage.archive(video_id, mp4=b"film")
        secret.write_bytes(b"film")
        record = path_of(config, A, "_metadata.json")
        record.write_text(record.read_text().replace(f'"{A}.mp4"', f'"{secret}"'))
        path_of(config, B).unlink()
        path_of(config, B).symlink_to(secret)
        record = path_of(config, C, "_metadata.json")
        record.rename(tmp_path / record.name)
        record.symlink_to(tmp_path / record.name)
        shutil.rmtree(path_of(config, forgotten).parent)
        await storage.service.parts.indexer.rescan(config.storage.base_path)
        await storage.service.parts.database.run(  # a row of a version that did not check the names
            lambda db: add_row(db, B, forgotten, f"{B}.mp4", str(secret))
        )
        base = storage.url.removesuffix("/verify")
        for video_id, name in ((A, secret), (B, f"{B}.mp4"), (C, f"{C}.mp4"), (forgotten, secret)):
            async with aiohttp.request(
                "GET", URL(f"{base}/videos/{video_id}/files/{quote(str(name), '')}", encoded=True)
            ) as got:
                assert got.status == 404, (video_id, await got.text())
        async with aiohttp.request("GET", f"{base}/metadata/{C}") as got:
            assert got.status == 404
        page = await storage.verify()
    assert secret.read_bytes() == b"film"
    findings = {(one["video_id"], one["name"]): one["message"] for one in page["findings"]}
    assert "is not the name of a file in the folder of a video" in findings[A, f"{A}_metadata.json"]
    assert findings[B, f"{B}.mp4"] == "cannot be read: a symbolic link, which is not opened"
    assert findings[C, f"{C}_metadata.json"] == "cannot be read: a symbolic link, which is not opened"
    assert not any(str(secret) in name for _video, name in findings)
    assert path_of(config, B).is_symlink()


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("storage.verified:1", 3 * 4000),
        ("storage.before_set_aside", 2 * 4000),
        ("storage.after_set_aside", 4000),
        ("storage.verified:3", 4000),
        ("storage.repair_published", 0),
    ],
)
async def test_a_killed_verification_resumes_where_it_stopped(
    config: Config,
    broker: BusSettings,
    events: list[Envelope],
    eventually: Eventually,
    killed_at: Callable[..., Awaitable[None]],
    point: str,
    left: int,
) -> None:
    """`left`: the bytes to be read after the restart. The second video, B, is damaged."""
    async with running_storage(config, broker) as storage:
        for video_id in (A, B, C):
            await storage.archive(video_id, mp4=video_id.encode()[:4] * 1000)
    damaged = path_of(config, B).read_bytes()[:-1] + b"!"
    path_of(config, B).write_bytes(damaged)
    await killed_at(point, post="storage/verify")
    async with running_storage(config, broker, events) as storage:
        page = await storage.wait_for_end()
        (finding,) = page["findings"]
        assert (finding["name"], finding["kind"]) == (f"{B}.mp4", "changed")
        assert content(finding["set_aside"]) == damaged
        assert page["verification"]["videos"] == 3

        async def published() -> bool:
            return any(one.type == JobCreated.subject for one in events)

        await eventually(published)
        assert list(storage.jobs()) == page["verification"]["jobs"] == [finding["job_id"]]
        assert len([one for one in events if one.type == JobCreated.subject]) == 1
        assert storage.service.metrics()["verify_bytes_read"] == left


@pytest.mark.claim("16.4")
async def test_a_stop_interrupts_a_verification_and_the_next_start_resumes_it(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    slow = limited(config, rate=20_000)
    async with running_storage(slow, broker) as storage:
        for video_id in (A, B):
            await storage.archive(video_id, mp4=b"x" * 200_000)
        await storage.begin()

        async def reads() -> bool:
            return bool(storage.service.metrics()["verify_bytes_read"] > 5_000)

        await eventually(reads)
        state = (await storage.state())["verification"]
        assert (state["status"], state["video_id"]) == ("running", A)
        progress = state["progress"]
        assert progress["current"] > 5_000
        assert (progress["total"], progress["message"]) == (400_000, "0 of 2 videos")
        assert 0 < progress["speed_bps"] < 40_000
        assert progress["eta_seconds"] > 5
        begun = time.monotonic()
    assert time.monotonic() - begun < 5  # of the remaining 20 s
    async with running_storage(limited(config), broker) as storage:
        page = await storage.wait_for_end()
        assert (page["verification"]["status"], page["verification"]["videos"]) == ("completed", 2)
        assert page["findings"] == []


async def test_the_rate_limit_applies_to_the_whole_verification(config: Config, broker: BusSettings) -> None:
    took = {}
    for rate in (200_000, 50_000):
        async with running_storage(limited(config, rate=rate), broker) as storage:
            for video_id in (A, B, C):
                await storage.archive(video_id, mp4=b"x" * 25_000)
            begun = time.monotonic()
            await storage.verify()
            took[rate] = time.monotonic() - begun
    assert took[50_000] > 1.45  # seconds for 75,000 bytes
    assert took[200_000] < took[50_000]


async def test_a_video_replaced_during_its_verification_is_not_reported_as_damaged(
    config: Config, broker: BusSettings, events: list[Envelope], eventually: Eventually
) -> None:
    config = limited(config, rate=50_000)
    async with running_storage(config, broker, events) as storage:
        await storage.archive(A, mp4=b"x" * 25_000, jpg=b"picture")
        path_of(config, A, "_thumb.jpg").write_bytes(b"p1cture")  # damage until the thumbnail below replaces it
        await storage.begin()

        async def reads() -> bool:
            return bool(storage.service.metrics()["verify_bytes_read"] > 5_000)

        await eventually(reads)
        await storage.archive(A, "d2", mp4=b"y" * 20_000, jpg=b"p1cture")  # does not wait for a lock
        assert (await storage.state())["verification"]["status"] == "running"
        page = await storage.wait_for_end()
        assert page["findings"] == []
        assert path_of(config, A).read_bytes() == b"y" * 20_000
        assert storage.jobs() == {}


async def test_invalid_verification_requests_are_refused(config: Config, broker: BusSettings) -> None:
    config = limited(config, rate=2_000)
    async with running_storage(config, broker) as storage:
        assert (await storage.state())["verification"] is None
        assert await refusal(storage, "DELETE", None) == "No verification runs."
        assert "not an archive root" in await refusal(storage, "POST", {"root": "/etc"})
        assert "not an absolute path" in await refusal(storage, "POST", {"root": "archive"})
        assert "Nothing is held of" in await refusal(storage, "POST", {"video_ids": [A]})
        bodies: list[dict[str, Any]] = [
            {"video_ids": []},
            {"video_ids": ["x"]},
            {"video_ids": [A] * 1001},
            {"repair": "maybe"},
            {"x": 1},
        ]
        for body in bodies:
            await refusal(storage, "POST", body)
        assert (await storage.state())["verification"] is None
        await storage.archive(A, mp4=b"x" * 100_000)
        first = await storage.begin(root=str(config.storage.base_path), video_ids=[A])
        assert "A verification runs already" in await refusal(storage, "POST", {})
        status, stopped = await storage.ask("DELETE")
        assert (status, stopped["data"]["status"], stopped["data"]["verification_id"]) == (200, "stopped", first)
        assert (await storage.begin()) != first


async def refusal(storage: Storage, method: str, body: Any) -> str:
    status, told = await storage.ask(method, body)
    assert (status, told["error"]["code"]) == (400, "E007"), told
    message: str = told["error"]["message"]
    return message


async def test_an_unmounted_disk_fails_the_verification_and_is_not_damage(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    config = limited(config, rate=20_000)
    async with running_storage(config, broker) as storage:
        for video_id in (A, B):
            await storage.archive(video_id, mp4=b"x" * 20_000)
        await storage.begin()

        async def reads() -> bool:
            return bool(storage.service.metrics()["verify_bytes_read"])

        await eventually(reads)
        videos = config.storage.base_path / "videos"
        videos.rename(videos.with_name("unplugged"))
        page = await storage.wait_for_end()
        assert (page["verification"]["status"], page["findings"]) == ("failed", [])
        assert "Is its disk mounted?" in page["verification"]["error"]
        status, told = await storage.ask("POST", {})
        assert (status, told["error"]["code"]) == (503, "E006")


async def test_an_unreadable_root_does_not_stop_the_service_from_verifying_again(
    config: Config, broker: BusSettings, tmp_path: Path, eventually: Eventually
) -> None:
    async with running_storage(config, broker) as storage:
        await storage.archive(A, mp4=b"film")

        def long_ago(db: Any) -> None:
            db.execute("UPDATE videos SET archived_at = ?", ((AT - timedelta(days=400)).isoformat(),))

        await storage.service.parts.database.run(long_ago)
    other, aside = tmp_path / "other", tmp_path / "aside"
    two = config.storage.model_copy(update={"roots": (other,)})
    config = limited(config.model_copy(update={"storage": two}), days=2)
    with structlog.testing.capture_logs() as said:
        async with running_storage(config, broker, quiet=3.0) as storage:
            other.rename(aside)
            other.symlink_to(other)  # ELOOP stands for ESTALE or EIO of a broken network share

            async def fails() -> bool:
                return any(one["event"] == "verification_failed" for one in said)

            await eventually(fails)
            status, told = await storage.ask("POST", {})
            assert (status, told["error"]["code"]) == (503, "E006")
            assert str(other) in told["error"]["message"]
            assert storage.service.critical_errors() == []
            other.unlink()
            page = await storage.verify()
            assert page["verification"]["status"] == "completed"


async def test_archive_trees_below_a_root_are_verified_with_it(config: Config, broker: BusSettings) -> None:
    config = limited(config)
    async with running_storage(config, broker) as storage:
        below = config.storage.base_path / "music"
        event = delivery(config, A, "d1", mp4=b"film").model_copy(update={"root": str(below)})
        await storage.service.parts.archive.take_in(event, "t")
        await storage.archive(B, mp4=b"film")
        film = below / "videos" / A / f"{A}.mp4"
        film.write_bytes(b"f1lm")
        page = await storage.verify(root=str(below), repair=False)
        assert (page["verification"]["videos"], page["verification"]["damaged"]) == (1, 1)
        page = await storage.verify()
        assert page["verification"]["roots"] == [str(config.storage.base_path), str(below)]
        (finding,) = page["findings"]
        assert finding["set_aside"].startswith(str(below / "videos" / ".damaged" / A))


async def test_a_repair_job_is_created_for_a_video_whose_folder_is_missing(
    config: Config, broker: BusSettings, events: list[Envelope], eventually: Eventually
) -> None:
    config = limited(config)
    async with running_storage(config, broker, events) as storage:
        await storage.archive(A, mp4=b"film")
        folder = path_of(config, A).parent
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        page = await storage.verify()
        assert [one["kind"] for one in page["findings"]] == ["missing", "missing"]

        async def published() -> bool:
            return bool(storage.jobs())

        await eventually(published)
        (job,) = storage.jobs().values()
        assert (job.targets, job.options.quality) == ((A,), "720p")


async def test_a_requested_verification_interrupts_the_scheduled_one(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    async with running_storage(limited(config), broker) as storage:
        for video_id in (A, B, C):
            await storage.archive(video_id, mp4=b"x" * 50_000)
        await storage.verify(video_ids=[B])  # B is verified now, the others when they were archived

        def long_ago(db: Any) -> None:
            db.execute("UPDATE videos SET archived_at = ?", ((AT - timedelta(days=400)).isoformat(),))

        await storage.service.parts.database.run(long_ago)
    async with running_storage(limited(config, rate=20_000, days=2), broker, quiet=0.0) as storage:

        async def reads() -> bool:
            return bool(storage.service.metrics()["verify_bytes_read"])

        await eventually(reads)
        state = (await storage.state())["verification"]
        assert (state["asked"], state["videos_total"], state["video_id"]) == (False, 2, A)
        await storage.begin(video_ids=[B])  # neither refused nor delayed

        async def turn() -> bool:
            return bool((await storage.state())["verification"]["video_id"] == B)

        await eventually(turn)
    async with running_storage(limited(config, days=2), broker, quiet=0.0) as storage:
        page = await storage.wait_for_end()
        assert (page["verification"]["asked"], page["verification"]["videos"]) == (True, 1)
        repository = storage.service.parts.verifications
        # C is left to the next scheduled verification
        assert await repository.verified_at(str(config.storage.base_path), C) is None


async def test_a_verification_does_not_occupy_the_shared_thread_pool(
    config: Config, broker: BusSettings, eventually: Eventually
) -> None:
    """A verification reads for hours; a single shared thread must stay free meanwhile."""
    config = limited(config, rate=100)
    with ThreadPoolExecutor(max_workers=1) as shared:
        asyncio.get_running_loop().set_default_executor(shared)
        async with running_storage(config, broker) as storage:
            await storage.archive(A, mp4=b"x" * 100_000)
            await storage.begin()

            async def reads() -> bool:
                return bool((await storage.state())["verification"]["progress"]["current"])

            await eventually(reads)
            await asyncio.wait_for(asyncio.to_thread(lambda: None), 30)
            assert (await storage.state())["verification"]["status"] == "running"
            await storage.ask("DELETE")
