"""REST of jobs: lists, priority, commands, removal, the change stream of all jobs, and the registry."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from bus import BusSettings, Envelope, Event
from services.common import events as e
from services.common.domain.archive import Held
from services.common.domain.registry import ServiceInfo
from services.common.domain.replies import ClaimVerdict
from services.common.domain.videos import Entry
from services.common.settings.load import Config
from services.jobs.service import JobsService

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class JobsClient:
    """A REST client of a jobs service that also injects the events of other services."""

    def __init__(self, jobs: JobsService, http: aiohttp.ClientSession) -> None:
        self.jobs, self.http = jobs, http
        self.url = f"{jobs.url}/api/v1"

    async def ask(self, method: str, path: str, status: int = 200, **words: Any) -> Any:
        async with self.http.request(method, f"{self.url}{path}", **words) as response:
            answer = await response.json()
            assert response.status == status, answer
        return answer["data"] if response.status < 400 else answer["error"]

    async def create(self, job_id: str, **body: Any) -> None:
        targets = [f"{job_id:x<9}01", f"{job_id:x<9}02"]
        options = {"include_captions": False}
        await self.ask("POST", "/jobs", 201, json={"job_id": job_id, "targets": targets, "options": options} | body)

    async def listed(self, job_id: str, page_key: str = "p") -> None:
        entries = tuple(Entry(video_id=f"{job_id:x<9}0{n}", position=n) for n in (1, 2))
        held = tuple(Held(video_id=entry.video_id) for entry in entries)
        root = str(self.jobs.config.storage.base_path)
        await self.inject(
            e.ArchiveChecked(
                job_id=job_id, root=root, target_index=0, listing=1, page_key=page_key, entries=entries, held=held
            )
        )

    def archived(self, job_id: str, video_id: str) -> e.VideoArchived:
        held = Held(video_id=video_id, qualities=("best",), thumbnail=True, metadata=True, info=True)
        root = str(self.jobs.config.storage.base_path)
        return e.VideoArchived(
            job_id=job_id, video_id=video_id, root=root, dispatch_id="d", directory=root, files=(), bytes=1, held=held
        )

    async def cancel(self, job_id: str) -> None:
        assert (await self.ask("POST", f"/jobs/{job_id}/cancel", json={}))["status"] == "cancelled"

    def register_worker(self) -> None:
        """Register a worker with a slot for each video of a job."""
        worker = {"name": "download", "instance": "w", "url": "http://x", "version": "1", "pid": 1, "host": "elsewhere"}
        slots = {"slots": 2, "egress": "e", "started_at": datetime.now(UTC)}
        self.jobs.parts.registry.seen(ServiceInfo.model_validate(worker | slots))

    async def claim(self, **what: Any) -> ClaimVerdict:
        return (await self.jobs.parts.dispatcher.claim(e.DownloadClaim(instance="w", egress="e", **what))).verdict

    async def listing(self, job_id: str) -> tuple[str, int]:
        """Let the dispatcher run; return the state of the first target and how often it was dispatched."""
        for _ in range(10):
            await asyncio.sleep(0)
        row = await self.jobs.parts.store.read(lambda rows, _sql: rows.listing(job_id, 0))
        assert row is not None
        return row.state, row.number

    async def inject(self, event: Event) -> None:
        await self.jobs.parts.queue.take([Envelope.around(event, source="test/1", trace_id="t")])

    @asynccontextmanager
    async def change_stream(self, last: str | None = None) -> AsyncIterator[AsyncIterator[tuple[str, Any, str]]]:
        headers = {"Last-Event-ID": last} if last is not None else {}
        async with self.http.get(f"{self.url}/events", headers=headers) as response:
            assert response.status == 200
            yield _read_events(response)


async def _read_events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any, str]]:
    fields: dict[str, str] = {}
    async for raw in response.content:
        key, _, value = raw.decode().strip().partition(": ")
        if key in {"event", "data", "id"}:
            fields[key] = value
        elif not key and "data" in fields:
            yield fields["event"], json.loads(fields["data"]), fields["id"]
            fields = {}


@pytest.fixture
async def rest(config: Config, broker: BusSettings) -> AsyncIterator[JobsClient]:
    jobs = JobsService(config, broker)
    await jobs.startup()
    async with aiohttp.ClientSession() as http:
        yield JobsClient(jobs, http)
    await jobs.shutdown(5)


async def test_jobs_are_listed_by_type_and_status(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.create("b", type="metadata_only")
    await rest.create("c", type="metadata_only")
    await rest.cancel("b")
    found = await rest.ask("GET", "/jobs?type=metadata_only")
    assert (found["total"], [job["job_id"] for job in found["jobs"]]) == (2, ["c", "b"])
    found = await rest.ask("GET", "/jobs?type=metadata_only&status=open")
    assert (found["total"], [job["job_id"] for job in found["jobs"]]) == (1, ["c"])
    assert (await rest.ask("GET", "/jobs?type=nonsense", 400))["code"] == "E007"


async def test_a_raised_priority_applies_to_the_next_video(rest: JobsClient) -> None:
    """The younger job is dispatched first after its priority was raised; the change is published as a command."""
    for job_id in ("first", "second"):
        await rest.create(job_id)
        await rest.listed(job_id)
    async with rest.jobs.bus.tail(e.DownloadRequested, e.JobPriorityRequested) as tail:
        assert (await rest.ask("PATCH", "/jobs/second", json={"priority": 50}))["priority"] == 50
        rest.register_worker()
        async with asyncio.timeout(60):
            told = [await anext(tail) for _ in range(3)]
    assert [envelope.type for envelope in told] == ["job.priority_requested", *["download.requested"] * 2]
    assert {envelope.data["job_id"] for envelope in told} == {"second"}


async def test_dispatches_of_a_paused_job_are_stale(rest: JobsClient) -> None:
    async with rest.jobs.bus.tail(e.DownloadRequested) as tail, asyncio.timeout(60):
        await rest.create("a")
        await rest.listed("a")
        rest.register_worker()
        before = [e.DownloadRequested.read(await anext(tail)) for _ in range(2)]
        await rest.ask("POST", "/jobs/a/pause")
        assert {await rest.claim(dispatch_id=one.dispatch_id) for one in before} == {ClaimVerdict.STALE}
        await rest.ask("POST", "/jobs/a/resume")
        after = [e.DownloadRequested.read(await anext(tail)) for _ in range(2)]
    assert {one.video_id for one in after} == {one.video_id for one in before}
    assert {await rest.claim(dispatch_id=one.dispatch_id) for one in after} == {ClaimVerdict.GO}
    assert {await rest.claim(dispatch_id=one.dispatch_id) for one in before} == {ClaimVerdict.STALE}


async def test_a_paused_job_is_not_listed_until_it_is_resumed(rest: JobsClient, eventually: Eventually) -> None:
    await rest.create("a")
    await rest.ask("POST", "/jobs/a/pause")
    assert await rest.claim(job_id="a", listing=1) is ClaimVerdict.STALE
    rest.register_worker()  # makes the dispatcher check all jobs
    assert await rest.listing("a") == ("timer", 1)
    await rest.ask("POST", "/jobs/a/resume")

    async def sent_again() -> bool:
        return await rest.listing("a") == ("queued", 2)

    await eventually(sent_again)
    assert await rest.claim(job_id="a", listing=2) is ClaimVerdict.GO


async def test_a_redelivered_command_is_not_applied_again(rest: JobsClient) -> None:
    """The command is redelivered after the user has requested the opposite."""
    await rest.create("a")
    command = Envelope.around(e.JobPauseRequested(job_id="a"), source="cli/1", trace_id="t")
    await rest.jobs.parts.queue.take([command])
    assert (await rest.ask("GET", "/jobs/a"))["job"]["paused"] is True
    assert (await rest.ask("POST", "/jobs/a/resume"))["paused"] is False
    await rest.jobs.parts.queue.take([command])
    assert (await rest.ask("GET", "/jobs/a"))["job"]["paused"] is False


async def test_a_cancel_request_is_repeated_until_the_worker_has_stopped(rest: JobsClient) -> None:
    """The broker does not store the request, so it may be lost."""
    async with rest.jobs.bus.tail(e.DownloadRequested, e.DownloadCancelRequested) as tail, asyncio.timeout(60):
        await rest.create("a")
        await rest.listed("a")
        rest.register_worker()
        running = [e.DownloadRequested.read(await anext(tail)) for _ in range(2)]
        assert {await rest.claim(dispatch_id=one.dispatch_id) for one in running} == {ClaimVerdict.GO}
        await rest.ask("POST", "/jobs/a/cancel", json={})
        asked = Counter[str]()
        while any(asked[one.dispatch_id] < 3 for one in running):
            asked[e.DownloadCancelRequested.read(await anext(tail)).dispatch_id] += 1
    for one in running:
        names = one.model_dump(include={"job_id", "video_id", "root", "dispatch_id", "fetch_id"})
        await rest.inject(e.DownloadCancelled(**names))
    assert (await rest.ask("GET", "/jobs/a"))["job"]["status"] == "cancelled"


async def test_a_command_without_effect_is_rejected(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.listed("a")
    first, second = (f"{'a':x<9}0{n}" for n in (1, 2))
    unknown = await rest.ask("POST", "/jobs/a/cancel", 404, json={"video_id": "nobodyknows"})
    assert (unknown["code"], "nobodyknows" in unknown["message"]) == ("E007", True)
    await rest.ask("POST", "/jobs/a/cancel", json={"video_id": first})
    assert "has ended" in (await rest.ask("POST", "/jobs/a/cancel", 400, json={"video_id": first}))["message"]
    root = str(rest.jobs.config.storage.base_path)
    await rest.inject(e.ListingCompleted(job_id="a", root=root, target_index=0, listing=1, page_keys=("p",), total=2))
    await rest.inject(rest.archived("a", second))
    assert (await rest.ask("GET", "/jobs/a"))["job"]["status"] == "completed"
    assert (await rest.ask("POST", "/jobs/a/retry"))["status"] == "running"  # retries the cancelled item
    await rest.listed("a", "again")
    await rest.inject(rest.archived("a", first))
    assert "nothing to retry" in (await rest.ask("POST", "/jobs/a/retry", 400))["message"]
    await rest.inject(e.JobCreated(job_id="b", targets=("nonsense!",)))
    assert "rejected" in (await rest.ask("POST", "/jobs/b/retry", 400))["message"]


@pytest.mark.parametrize("body", [{"priority": 101}, {"priority": -101}, {"priority": "x"}, {}, {"title": "x"}])
async def test_invalid_changes_of_a_job_are_refused(rest: JobsClient, body: dict[str, Any]) -> None:
    await rest.create("a")
    assert (await rest.ask("PATCH", "/jobs/a", 400, json=body))["code"] == "E007"
    assert (await rest.ask("GET", "/jobs/a"))["job"]["priority"] == 0


async def test_the_priority_of_an_ended_or_unknown_job_cannot_be_changed(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.cancel("a")
    error = await rest.ask("PATCH", "/jobs/a", 400, json={"priority": 1})
    assert (error["code"], error["details"]["status"]) == ("E007", "cancelled")
    await rest.ask("PATCH", "/jobs/none", 404, json={"priority": 1})


async def test_only_an_ended_job_can_be_removed_and_its_rows_go_with_it(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.create("b")
    await rest.listed("a")
    await rest.listed("b")
    error = await rest.ask("DELETE", "/jobs/a", 400)
    assert (error["code"], "cancel" in error["message"]) == ("E007", True)
    await rest.cancel("a")
    assert await rest.ask("DELETE", "/jobs/a") == {"job_id": "a"}
    for path in ("/jobs/a", "/jobs/a/items", "/jobs/a/events"):
        await rest.ask("GET", path, 404)
    await rest.ask("DELETE", "/jobs/a", 404)
    left = await rest.jobs.parts.store.read(
        lambda _rows, sql: {
            table: [row[0] for row in sql.execute(f"SELECT DISTINCT job_id FROM {table}")]  # noqa: S608 - constants
            for table in ("jobs", "items", "listings")
        }
    )
    assert left == {"jobs": ["b"], "items": ["b"], "listings": ["b"]}
    await rest.create("a")  # a new job with the same id starts empty
    assert (await rest.ask("GET", "/jobs/a"))["items"] == []


async def test_the_change_stream_resumes_after_a_reconnect(rest: JobsClient, eventually: Eventually) -> None:
    """A new subscriber gets a snapshot, a reconnecting one the changes that it missed."""
    for job_id in ("old", "a", "b"):
        await rest.create(job_id)
    await rest.cancel("old")
    async with asyncio.timeout(60), rest.change_stream() as told:
        name, data, last = await anext(told)
        assert (name, {job["job_id"] for job in data["jobs"]}, data["total"]) == ("snapshot", {"a", "b"}, 2)
        await rest.create("c")
        name, data, last = await anext(told)
        assert (name, data["job_id"]) == ("job", "c")
    await rest.cancel("a")
    await rest.ask("DELETE", "/jobs/old")
    await rest.ask("PATCH", "/jobs/b", json={"priority": 7})
    async with asyncio.timeout(60), rest.change_stream(last) as told:
        missed = [await anext(told) for _ in range(3)]
        assert [(name, data["job_id"]) for name, data, _id in missed] == [
            ("job", "a"),
            ("removed", "old"),
            ("job", "b"),
        ]
        assert (missed[0][1]["status"], missed[2][1]["priority"]) == ("cancelled", 7)

    async def gone() -> bool:
        return not rest.jobs.parts.subscribers._to_all

    await rest.cancel("b")  # the next event reveals that the subscriber has gone
    await eventually(gone)


async def test_a_subscriber_interrupted_during_a_snapshot_gets_all_of_it_again(rest: JobsClient) -> None:
    mine = {f"j{number}" for number in range(101)}  # one more than fits in a message
    made = (e.JobCreated(job_id=job_id, targets=("axxxxxxxx01",)) for job_id in sorted(mine))
    await rest.jobs.parts.queue.take([Envelope.around(one, source="test/1", trace_id="t") for one in made])
    async with asyncio.timeout(60), rest.change_stream() as told:
        _name, first, last = await anext(told)
    async with asyncio.timeout(60), rest.change_stream(last) as told:
        parts = [await anext(told) for _ in range(2)]
    assert len(first["jobs"]) == 100
    assert [name for name, _data, _id in parts] == ["snapshot"] * 2
    assert {job["job_id"] for _name, data, _id in parts for job in data["jobs"]} == mine


@pytest.mark.parametrize("last", ["0", "999999", "-1", "x", "9" * 30])
async def test_an_unknown_last_event_id_starts_with_a_snapshot(rest: JobsClient, last: str) -> None:
    await rest.create("a")
    async with asyncio.timeout(60), rest.change_stream(last) as told:
        name, data, _id = await anext(told)
    assert (name, [job["job_id"] for job in data["jobs"]]) == ("snapshot", ["a"])


async def test_late_progress_of_an_ended_dispatch_is_ignored(rest: JobsClient) -> None:
    names = {"job_id": "a", "video_id": "axxxxxxxx01", "root": "/x", "dispatch_id": "f.1"}
    progress = {"current": 1, "total": 2, "percentage": 50.0, "message": "x"}
    late = e.DownloadProgress.model_validate(names | {"fetch_id": "f", "progress": progress})
    rest.jobs.parts.subscribers.progressed(late)
    assert rest.jobs.parts.subscribers.running(["axxxxxxxx01"])
    await rest.inject(e.DownloadCancelled.model_validate(names | {"fetch_id": "f"}))
    rest.jobs.parts.subscribers.progressed(late)
    assert rest.jobs.parts.subscribers.running(["axxxxxxxx01"]) == {}
    again = late.model_copy(update={"dispatch_id": "f.2"})
    rest.jobs.parts.subscribers.progressed(again)
    assert rest.jobs.parts.subscribers.running(["axxxxxxxx01"]) == {"axxxxxxxx01": again}


async def test_the_registry_lists_the_running_services_in_pages(rest: JobsClient) -> None:
    for name in ("storage", "download"):
        info = {"name": name, "instance": name, "url": "http://x", "version": "1", "pid": 1, "host": "elsewhere"}
        rest.jobs.parts.registry.seen(ServiceInfo.model_validate(info | {"started_at": datetime.now(UTC)}))
    found = await rest.ask("GET", "/registry/services")
    assert (found["total"], [info["name"] for info in found["services"]]) == (3, ["download", "jobs", "storage"])
    page = await rest.ask("GET", "/registry/services?limit=1&offset=1")
    assert (page["total"], [info["name"] for info in page["services"]]) == (3, ["jobs"])


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry"])
async def test_a_command_accepts_only_post(rest: JobsClient, action: str) -> None:
    await rest.create("a")
    await rest.ask("PUT", f"/jobs/a/{action}", 405, json={})


async def test_items_are_paged_by_cursor_and_a_job_is_summarized(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.listed("a")
    whole = await rest.ask("GET", "/jobs/a/items")
    assert (len(whole["items"]), whole["next"]) == (2, None)
    first = await rest.ask("GET", "/jobs/a/items?limit=1")
    second = await rest.ask("GET", "/jobs/a/items", params={"limit": "1", "after": first["next"]})
    assert [first["items"], second["items"], second["next"]] == [whole["items"][:1], whole["items"][1:], None]
    error = await rest.ask("GET", "/jobs/a/items", 400, params={"offset": "1", "after": first["next"]})
    assert "not both" in error["message"]
    summary = await rest.ask("GET", "/jobs/a/summary")
    assert (summary["job"]["job_id"], summary["items"], summary["left_out"]) == ("a", whole["items"], 0)
    await rest.ask("GET", "/jobs/b/summary", 404)


async def test_open_jobs_are_listed_in_the_order_in_which_they_are_served(rest: JobsClient) -> None:
    for job_id in ("a", "b", "c", "d"):
        await rest.create(job_id)
    await rest.ask("PATCH", "/jobs/c", json={"priority": 10})
    await rest.ask("POST", "/jobs/a/pause")
    await rest.cancel("d")
    found = await rest.ask("GET", "/jobs?sort=queue")
    assert [job["job_id"] for job in found["jobs"]] == ["c", "b", "a", "d"]
    assert [job["job_id"] for job in (await rest.ask("GET", "/jobs"))["jobs"]] == ["d", "c", "b", "a"]


async def test_items_are_listed_by_state_and_all_states_are_told_in_brief(rest: JobsClient) -> None:
    await rest.create("a")
    await rest.listed("a")
    first, second = (await rest.ask("GET", "/jobs/a/items"))["items"]
    await rest.inject(rest.archived("a", second["video_id"]))
    saved = await rest.ask("GET", "/jobs/a/items?status=archived")
    assert ([item["video_id"] for item in saved["items"]], saved["total"]) == ([second["video_id"]], 1)
    others = await rest.ask("GET", f"/jobs/a/items?status={first['status']}&limit=1")
    assert ([item["video_id"] for item in others["items"]], others["total"], others["next"]) == (
        [first["video_id"]], 1, None,
    )  # fmt: skip
    found = await rest.ask("GET", "/jobs/a/states")
    assert [found["legend"][letter] for letter in found["states"]] == [first["status"], "archived"]
    assert await rest.ask("GET", "/jobs/a/items?status=archived&offset=1") | {"offset": 0} == saved | {"items": []}
    await rest.ask("GET", "/jobs/b/states", 404)
