"""Re-checks in the real storage service on a real broker: asked once, answered onto the plan that asked."""

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


class Others:
    """The rest of the system, as storage sees it."""

    def __init__(self, bus: Bus, config: Config, eventually: Eventually) -> None:
        self.bus = bus
        self.root = str(config.storage.base_path)
        self.plans = config.storage.work_plans_dir
        self.heard: list[Envelope] = []
        self._eventually = eventually

    async def hear(self) -> None:
        async with self.bus.tail(JobCreated, MetadataArchived, WorkPlanUpdated) as envelopes:
            async for envelope in envelopes:
                self.heard.append(envelope)

    async def wait_for(self, kind: type[E], count: int) -> list[E]:
        async def look() -> list[E]:
            found = [kind.read(one) for one in self.heard if one.type == kind.subject]
            return found if len(found) >= count else []

        found: Any = await self._eventually(look)
        assert len(found) == count
        return list(found)

    async def give_up(self, video_id: str, job_id: str, *, number: int = 1, **about: Any) -> WorkPlanUpdated:
        """Tell storage that a video was given up, and wait for its answer; `failed`: its attempts are used up."""
        failed = about.pop("failed", False)
        at = about.pop("at", AT)
        gone = UnavailableVideo(video_id=video_id, reason=about.pop("reason", "private"), detected_at=at)
        passing = FailedDownload(video_id=video_id, title="T", attempts=3, last_attempt=at, errors=[])
        words = {"type": JobType.VIDEO_DOWNLOAD, "options": JobOptions(quality="720p"), "targets": (video_id,)} | about
        event = VideoFailed(
            job_id=job_id, video_id=video_id, root=self.root, number=number,
            unavailable=None if failed else gone, failed=passing if failed else None, **words,
        )  # fmt: skip
        told = await self.bus.publish(event, trace_id="t")

        async def answered() -> WorkPlanUpdated | None:
            found = [one for one in self.heard if one.caused_by == told.id]
            return WorkPlanUpdated.read(found[0]) if found else None

        answer: Any = await self._eventually(answered)
        assert isinstance(answer, WorkPlanUpdated)
        return answer

    def plan(self, plan_id: str) -> Any:
        return json.loads((self.plans / f"{plan_id}.json").read_text())

    def plan_ids(self) -> list[str]:
        return sorted(path.stem for path in Path(self.plans).glob("*.json"))


@pytest.fixture
async def others(broker: BusSettings, config: Config, eventually: Eventually) -> AsyncIterator[Others]:
    bus = await connect_bus(broker, source="jobs/test")
    others = Others(bus, config, eventually)
    hearing = asyncio.create_task(others.hear())
    yield others
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await bus.close()


@asynccontextmanager
async def running(config: Config, broker: BusSettings, **words: Any) -> AsyncIterator[StorageService]:
    service = StorageService(config, broker, **words)
    await service.startup()
    try:
        yield service
    finally:
        await service.shutdown(5.0)


async def test_a_recheck_is_asked_once_and_answered_onto_the_plan_that_asked(
    config: Config, broker: BusSettings, others: Others, eventually: Eventually
) -> None:
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1")
        await others.give_up(B, "job-1", failed=True)
        (asked,) = await service.parts.rechecks.round()
        (created,) = await others.wait_for(JobCreated, 1)
        assert created == asked.event()
        assert created.targets == (A,)  # one of two videos in six hours is often enough for once a week
        assert (created.options.quality, created.options.output_dir, created.priority) == ("720p", others.root, -100)

        (second,) = await service.parts.rechecks.round()
        assert second.event().targets == (B,)
        assert await service.parts.rechecks.round() == []  # both are being looked at
    # what a process that died had noted and perhaps not said is said again, under the same names
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
        # the other one was cancelled: it is not waited for
        job = Job(
            job_id=second.job_id, trace_id="t", type=JobType.VIDEO_DOWNLOAD, status=JobStatus.CANCELLED, targets=[B],
            options=JobOptions(), root=others.root, created_at=now, updated_at=now,
            progress=Progress(current=0, total=1, percentage=0, message=""),
        )  # fmt: skip
        await others.bus.publish(JobCancelled(job_id=second.job_id, revision=1, job=job), trace_id="t")

        async def ended() -> bool:
            return bool(others.plan("job-1")["failed_downloads"][0]["recheck"]["ended_at"])

        await eventually(ended)
        assert await service.parts.rechecks.round() == []  # an interval has to pass


async def test_a_plan_that_was_removed_meanwhile(config: Config, broker: BusSettings, others: Others) -> None:
    """What nobody asked for any more is not lost: the re-check has a plan of its own, as any job."""
    async with running(config, broker, rechecks=False) as service:
        await others.give_up(A, "job-1")
        (asked,) = await service.parts.rechecks.round()
        await service.parts.work_plans.remove("job-1")
        assert (await others.give_up(A, asked.job_id)).plan_id == asked.job_id
        assert others.plan_ids() == [asked.job_id]


async def test_who_is_not_to_look_again_does_not(config: Config, broker: BusSettings, others: Others) -> None:
    never = config.model_copy(update={"recheck": config.recheck.model_copy(update={"interval_days": 0.0})})
    async with running(config, broker, rechecks=False):
        await others.give_up(A, "job-1")
    async with running(never, broker) as service:
        await service.parts.rechecks.run()  # returns at once
    assert [one.type for one in others.heard] == [WorkPlanUpdated.subject]
    async with running(config, broker):  # by itself
        (created,) = await others.wait_for(JobCreated, 1)
    assert created.targets == (A,)


async def test_a_plan_that_cannot_be_read_does_not_keep_the_others_from_being_looked_at(
    config: Config, broker: BusSettings, others: Others
) -> None:
    async with running(config, broker, rechecks=False):
        await others.give_up(A, "job-1")
    loop = others.plans / "another.json"
    loop.symlink_to(loop)  # an error of the disk, and not of its content
    async with running(config, broker) as service, aiohttp.ClientSession() as http:
        (created,) = await others.wait_for(JobCreated, 1)
        assert created.targets == (A,)
        async with http.get(f"{service.url}/api/v1/storage/work-plans") as response:
            assert [plan["plan_id"] for plan in (await response.json())["data"]["work_plans"]] == ["job-1"]
        assert service.critical_errors() == []


async def test_a_retry_by_hand_is_answered_onto_its_plan_too(
    config: Config, broker: BusSettings, others: Others
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


async def test_metadata_that_come_are_all_that_their_plan_waits_for(
    config: Config, broker: BusSettings, others: Others
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
