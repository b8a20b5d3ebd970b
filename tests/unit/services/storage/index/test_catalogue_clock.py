"""What a clock that was years ahead has stored in the catalogue does not rule until then."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from services.common.domain.archive import FileFact, FileRole, KnownGone, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.common.models import JobOptions, JobType
from services.common.settings.load import Config
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import FailedEntry, UnavailableEntry
from services.storage.index.catalogue import Sighting
from tests.fixtures.archive_parts import ArchiveParts, archive_parts

A = "aaaaaaaaaaa"
NOW = datetime.now(UTC).replace(microsecond=0)
AHEAD = NOW + timedelta(days=3650)


@pytest.fixture
def parts(config: Config) -> Iterator[ArchiveParts]:
    with archive_parts(config.storage) as parts:
        yield parts


def plan(at: datetime, reason: str = "private", plan_id: str = "j1") -> WorkPlan:
    gone = UnavailableEntry(video_id=A, reason=reason, detected_at=at)
    return _plan(plan_id, unavailable_videos=[gone])


def refused_on(*days: date, last: datetime) -> WorkPlan:
    failed = FailedEntry(video_id=A, title="T", attempts=1, last_attempt=last, errors=[], unexplained_on=sorted(days))
    return _plan("j2", failed_downloads=[failed])


def _plan(plan_id: str, **entries: object) -> WorkPlan:
    return WorkPlan.model_validate(
        {
            "plan_id": plan_id, "job_id": plan_id, "targets": [A],
            "root": "/archive", "type": JobType.VIDEO_DOWNLOAD, "options": JobOptions(),
            "created_at": NOW, "updated_at": NOW, "trace_id": "t", **entries,
        }
    )  # fmt: skip


async def archive(parts: ArchiveParts, config: Config) -> None:
    directory = config.storage.tmp_dir / f"{A}.part"
    directory.mkdir(parents=True)
    (directory / "x.mp4").write_bytes(b"film")
    fact = FileFact(name="x.mp4", role=FileRole.VIDEO, size=4, sha256=hashlib.sha256(b"film").hexdigest())
    delivery = DownloadCompleted(
        dispatch_id="d", fetch_id="f", job_id="j", video_id=A, root=str(config.storage.base_path), wanted=Wanted(),
        directory=str(directory), files=(fact,), metadata=VideoMetadata(video_id=A, title="T"),
        provenance=Provenance(source_url="https://example.org", started_at=NOW, finished_at=NOW),
    )  # fmt: skip
    await parts.store.take_in(delivery, "trace")


async def test_a_later_finding_replaces_that_of_a_clock_that_was_ahead(parts: ArchiveParts) -> None:
    await parts.catalogue.index_plan(plan(AHEAD, "deleted"))
    await parts.catalogue.index_plan(plan(NOW, "private", "j2"))
    assert await parts.catalogue.known_gone([A]) == {A: KnownGone(reason="private", at=NOW)}
    await parts.catalogue.index_plan(plan(AHEAD, "deleted"))
    assert await parts.catalogue.known_gone([A]) == {A: KnownGone(reason="private", at=NOW)}


async def test_a_sighting_of_a_clock_that_was_ahead_hides_no_finding(parts: ArchiveParts) -> None:
    await parts.catalogue.record_sightings([Sighting(A, "T", AHEAD)])
    await parts.catalogue.index_plan(plan(NOW))
    assert await parts.catalogue.known_gone([A]) == {A: KnownGone(reason="private", at=NOW)}


async def test_a_sighting_of_now_replaces_that_of_a_clock_that_was_ahead(parts: ArchiveParts) -> None:
    await parts.catalogue.record_sightings([Sighting(A, "then", AHEAD)])
    await parts.catalogue.record_sightings([Sighting(A, "now", NOW)])
    assert await parts.catalogue.last_seen(A) == ("now", NOW)
    await parts.catalogue.record_sightings([Sighting(A, "then", AHEAD)])
    assert await parts.catalogue.last_seen(A) == ("now", NOW)


async def test_a_video_that_arrives_is_not_gone_any_more(parts: ArchiveParts, config: Config) -> None:
    await parts.catalogue.index_plan(plan(AHEAD))
    await archive(parts, config)
    assert await parts.catalogue.known_gone([A]) == {}


async def test_days_of_refusals_in_the_future_do_not_count(parts: ArchiveParts) -> None:
    ahead = [(AHEAD + timedelta(days=n)).date() for n in range(2)]
    await parts.catalogue.index_plan(refused_on(*ahead, NOW.date(), last=NOW))
    assert await parts.catalogue.known_gone([A]) == {}
    days = [(NOW - timedelta(days=n)).date() for n in range(3)]
    await parts.catalogue.index_plan(refused_on(*days, *ahead, last=NOW))
    assert await parts.catalogue.known_gone([A]) == {A: KnownGone(reason="unexplained", at=NOW)}
