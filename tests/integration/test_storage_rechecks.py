"""Re-checks by the storage service with a real broker: requested once, and recorded in the original work plan."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from bus import Bus, BusSettings, Envelope, Event
from services.common.domain.jobs import Job
from services.common.domain.videos import VideoMetadata
from services.common.events import (
    FindingWithdrawn,
    JobCancelled,
    JobCreated,
    MetadataArchived,
    MetadataFetched,
    VideoFailed,
    WorkPlanUpdated,
)
from services.common.messaging import connect_bus
from services.common.models import FailedDownload, JobOptions, JobStatus, JobType, Progress, UnavailableVideo
from services.common.settings.load import Config
from services.storage.service import StorageService

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B = "aaaaaaaaaaa", "bbbbbbbbbbb"
E = TypeVar("E", bound=Event)
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class FakeServices:
    """A stand-in for the services that communicate with storage."""

    def __init__(self, bus: Bus, config: Config, eventually: Eventually) -> None:
        self.bus = bus
        self.root = str(config.storage.base_path)
        self.plans = config.storage.work_plans_dir
        self.received: list[Envelope] = []
        self._eventually = eventually

    async def record_events(self) -> None:
        async with self.bus.tail(JobCreated, MetadataArchived, WorkPlanUpdated) as envelopes:
            async for envelope in envelopes:
                self.received.append(envelope)

    async def wait_for(self, kind: type[E], count: int) -> list[E]:
        async def look() -> list[E]:
            found = [kind.read(one) for one in self.received if one.type == kind.subject]
            return found if len(found) >= count else []

        found: Any = await self._eventually(look)
        assert len(found) == count
        return list(found)

    async def give_up(self, video_id: str, job_id: str, *, number: int = 1, **about: Any) -> WorkPlanUpdated:
        """Publish that a video was given up and wait for the answer; with `failed`, because no attempts are left."""
        failed = about.pop("failed", False)
        at = about.pop("at", AT)
        gone = UnavailableVideo(video_id=video_id, reason=about.pop("reason", "private"), detected_at=at)
        errors = [{"reason": about.pop("failed_with")}] if "failed_with" in about else []
        passing = FailedDownload(video_id=video_id, title="T", attempts=3, last_attempt=at, errors=errors)
        words = {"type": JobType.VIDEO_DOWNLOAD, "options": JobOptions(quality="720p"), "targets": (video_id,)} | about
        event = VideoFailed(
            job_id=job_id, video_id=video_id, root=self.root, number=number,
            unavailable=None if failed else gone, failed=passing if failed else None, **words,
        )  # fmt: skip
        told = await self.bus.publish(event, trace_id="t")

        async def answered() -> WorkPlanUpdated | None:
            found = [one for one in self.received if one.caused_by == told.id]
            return WorkPlanUpdated.read(found[0]) if found else None

        answer: Any = await self._eventually(answered)
        assert isinstance(answer, WorkPlanUpdated)
        return answer

    def plan(self, plan_id: str) -> Any:
        return json.loads((self.plans / f"{plan_id}.json").read_text())

    def plan_ids(self) -> list[str]:
        return sorted(path.stem for path in Path(self.plans).glob("*.json"))


@pytest.fixture
async def others(broker: BusSettings, config: Config, eventually: Eventually) -> AsyncIterator[FakeServices]:
    bus = await connect_bus(broker, source="jobs/test")
    others = FakeServices(bus, config, eventually)
    recording = asyncio.create_task(others.record_events())
    yield others
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await bus.close()


@asynccontextmanager
async def running(config: Config, broker: BusSettings, **words: Any) -> AsyncIterator[StorageService]:
    service = StorageService(config, broker, **words)
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(5.0)


async def test_a_recheck_is_requested_once_and_recorded_in_the_original_plan(
    config: Config, broker: BusSettings, others: FakeServices, eventually: Eventually
) -> None:
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1")
        await others.give_up(B, "job-1", failed=True)
        (asked,) = await service.parts.rechecks.round()
        (created,) = await others.wait_for(JobCreated, 1)
        assert created == asked.event()
        assert created.targets == (A,)  # one of two videos every six hours is enough for once a week
        assert (created.options.quality, created.options.output_dir, created.priority) == ("720p", others.root, -100)

        (second,) = await service.parts.rechecks.round()
        assert second.event().targets == (B,)
        assert await service.parts.rechecks.round() == []  # both re-checks are in progress
    # requests that were recorded but perhaps not published are published again with the same ids
    async with running(config, broker) as service:
        jobs = await others.wait_for(JobCreated, 4)
        assert {(job.job_id, job.targets) for job in jobs[2:]} == {(job.job_id, job.targets) for job in jobs[:2]}
        assert await service.parts.rechecks.round() == []

        now = datetime.now(UTC)
        for _ in range(2):
            answer = await others.give_up(A, created.job_id, at=now, reason="deleted")
            assert (answer.plan_id, answer.job_id, answer.unavailable, answer.failed) == ("job-1", created.job_id, 1, 1)
        assert others.plan_ids() == ["job-1"]
        (gap,) = others.plan("job-1")["unavailable_videos"]
        assert [(one["reason"], one["last"]) for one in gap["findings"]] == [
            ("private", "2026-05-01T12:00:00Z"),
            ("deleted", now.isoformat().replace("+00:00", "Z")),
        ]
        (known,) = (await service.parts.catalogue.known_gone([A])).values()
        assert (known.reason, known.at) == ("deleted", now)
        # the other re-check was cancelled, so it counts as ended
        job = Job(
            job_id=second.job_id, trace_id="t", type=JobType.VIDEO_DOWNLOAD, status=JobStatus.CANCELLED, targets=[B],
            options=JobOptions(), root=others.root, created_at=now, updated_at=now,
            progress=Progress(current=0, total=1, percentage=0, message=""),
        )  # fmt: skip
        await others.bus.publish(JobCancelled(job_id=second.job_id, revision=1, job=job), trace_id="t")

        async def ended() -> bool:
            return bool(others.plan("job-1")["failed_downloads"][0]["recheck"]["ended_at"])

        await eventually(ended)
        assert await service.parts.rechecks.round() == []  # not before the interval has passed


async def test_a_recheck_of_a_removed_plan_gets_its_own_plan(
    config: Config, broker: BusSettings, others: FakeServices
) -> None:
    """The result is not lost: the re-check gets its own plan, as any job does."""
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1")
        (asked,) = await service.parts.rechecks.round()
        await service.parts.work_plans.remove("job-1")
        assert (await others.give_up(A, asked.job_id)).plan_id == asked.job_id
        assert others.plan_ids() == [asked.job_id]


async def test_an_interval_of_zero_disables_rechecks(config: Config, broker: BusSettings, others: FakeServices) -> None:
    never = config.model_copy(update={"recheck": config.recheck.model_copy(update={"interval_days": 0.0})})
    async with running(config, broker, rechecks=False):
        await others.give_up(A, "job-1")
    async with running(never, broker) as service:
        await service.parts.rechecks.run()  # returns at once
    assert [one.type for one in others.received] == [WorkPlanUpdated.subject]
    async with running(config, broker):  # re-checks are enabled by default
        (created,) = await others.wait_for(JobCreated, 1)
    assert created.targets == (A,)


async def test_an_unreadable_plan_does_not_prevent_rechecks_of_others(
    config: Config, broker: BusSettings, others: FakeServices
) -> None:
    async with running(config, broker, rechecks=False):
        await others.give_up(A, "job-1")
    loop = others.plans / "another.json"
    loop.symlink_to(loop)  # a disk error, not invalid content
    async with running(config, broker) as service, aiohttp.ClientSession() as http:
        (created,) = await others.wait_for(JobCreated, 1)
        assert created.targets == (A,)
        async with http.get(f"{service.url}/api/v1/storage/work-plans") as response:
            assert [plan["plan_id"] for plan in (await response.json())["data"]["work_plans"]] == ["job-1"]
        assert service.critical_errors() == []


async def test_a_requested_retry_is_recorded_in_its_plan(
    config: Config, broker: BusSettings, others: FakeServices
) -> None:
    async with running(config, broker, rechecks=False) as service, aiohttp.ClientSession() as http:
        await others.give_up(A, "job-1", at=datetime.now(UTC))
        async with http.post(f"{service.url}/api/v1/storage/work-plans/job-1/retry") as response:
            assert response.status == 201
            begun = (await response.json())["data"]
        (created,) = await others.wait_for(JobCreated, 1)
        assert (created.job_id, created.targets, created.priority) == (begun["job_id"], (A,), 0)
        assert (await others.give_up(A, created.job_id)).plan_id == "job-1"
        assert others.plan_ids() == ["job-1"]


async def test_chosen_videos_of_a_plan_are_retried_and_the_missing_are_listed(
    config: Config, broker: BusSettings, others: FakeServices
) -> None:
    async with running(config, broker, rechecks=False) as service, aiohttp.ClientSession(service.url) as http:
        for video_id in (A, B):
            await others.give_up(video_id, "job-1", at=datetime.now(UTC))
        plan, body = "/api/v1/storage/work-plans/job-1/retry", {"video_ids": ["ccccccccccc"]}
        async with http.post(plan, json=body) as response:
            assert (response.status, "Nothing is open" in await response.text()) == (400, True)
        async with http.post(plan, json={"video_ids": [B]}) as response:
            assert (await response.json())["data"]["video_ids"] == [B]
        (created,) = await others.wait_for(JobCreated, 1)
        assert created.targets == (B,)
        async with http.get("/api/v1/storage/missing") as response:
            page = (await response.json())["data"]
        assert (page["total"], page["open"], page["resolved"]) == (2, 2, 0)
        looked_at = {video["video_id"]: video["rechecked_by"] for video in page["videos"]}
        assert looked_at == {A: None, B: created.job_id}


@pytest.mark.parametrize("one_plan", [True, False])
async def test_a_video_refused_without_a_reason_is_known_to_be_gone_after_looks_on_three_days(
    config: Config, broker: BusSettings, others: FakeServices, one_plan: bool
) -> None:
    about = {"failed": True, "failed_with": "unexplained"}
    async with running(config, broker, rechecks=False) as service:
        known = service.parts.catalogue.known_gone
        for number, day in enumerate((1, 1, 2), start=1):
            job_id = "job-1" if one_plan else f"job-{number}"
            await others.give_up(A, job_id, number=number, at=AT.replace(day=day), **about)
            assert await known([A]) == {}
        await others.give_up(A, "job-1" if one_plan else "job-4", number=4, at=AT.replace(day=9), **about)
        found = (await known([A]))[A]
        assert (found.reason, found.at) == ("unexplained", AT.replace(day=9))


async def test_a_withdrawn_finding_is_neither_on_the_plan_nor_known(
    config: Config, broker: BusSettings, others: FakeServices, eventually: Eventually
) -> None:
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1", number=1, at=AT)
        await others.give_up(B, "job-1", number=2, at=AT, failed=True, failed_with="unexplained")
        assert set(await service.parts.catalogue.known_gone([A, B])) == {A}

        async def open_entries() -> list[str]:
            plan = others.plan("job-1")
            return [entry["video_id"] for entry in plan["unavailable_videos"] + plan["failed_downloads"]]

        async def left() -> bool:
            return await open_entries() == [B]

        for number in (9, 1):  # 9 is another finding
            withdrawn = FindingWithdrawn(job_id="job-1", video_id=A, number=number)
            await others.bus.publish(withdrawn, trace_id="t")
        await eventually(left)
        assert await service.parts.catalogue.known_gone([A]) == {}
        await others.bus.publish(FindingWithdrawn(job_id="job-1", video_id=B, number=2), trace_id="t")

        async def empty() -> bool:
            return not await open_entries()

        await eventually(empty)
        await others.give_up(A, "job-1", number=3, at=AT)
        assert set(await service.parts.catalogue.known_gone([A])) == {A}


async def test_arriving_metadata_resolve_a_metadata_only_plan_and_no_other(
    config: Config, broker: BusSettings, others: FakeServices
) -> None:
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1", type=JobType.METADATA_ONLY)
        await others.give_up(A, "job-2")
        event = MetadataFetched(
            job_id="job-3", root=others.root, video_id=A, source_name="yt_dlp", fetched_at=datetime.now(UTC),
            metadata=VideoMetadata(video_id=A, title="T"),
        )  # fmt: skip
        await others.bus.publish(event, trace_id="t")
        await others.wait_for(MetadataArchived, 1)
        assert await service.parts.catalogue.plans_waiting_for(others.root, A) == ["job-2"]
        resolved_at = [others.plan(plan)["unavailable_videos"][0]["resolved_at"] for plan in ("job-1", "job-2")]
        assert [at is None for at in resolved_at] == [False, True]
