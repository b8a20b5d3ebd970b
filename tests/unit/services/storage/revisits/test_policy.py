"""Which looks are requested in a round, and by which jobs."""

from datetime import UTC, datetime, timedelta

from services.common.domain.archive import FileRole, Revisit, RevisitReason
from services.storage.formats.manifest import Holding, ManifestEntry, Requested
from services.storage.revisits.policy import due_looks, jobs_for, round_interval

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AFTER = (2 * HOUR, 24 * HOUR)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


def held(
    video_id: str,
    since: datetime = AT,
    *,
    asked: tuple[str, ...] = ("720p",),
    role: FileRole = FileRole.VIDEO,
    captions: tuple[str, ...] = (),
    looked_at: datetime | None = None,
) -> Holding:
    media = ManifestEntry(role=role, size=1, sha256="1" * 64, asked=asked, dispatch_id="d", archived_at=since)
    return Holding(
        video_id=video_id,
        fixity={f"{video_id}.mp4": media},
        asked=Requested(qualities=asked, captions=captions, metadata=True),
        revisit=Revisit(reasons=(RevisitReason.LOWER,), since=since, looked_at=looked_at),
    )


def test_due_looks_come_oldest_first() -> None:
    videos = [("/a", held(A, AT - HOUR)), ("/a", held(B, AT)), ("/a", held(C, AT - 9 * HOUR))]
    assert [look.holding.video_id for look in due_looks(videos, AFTER, AT + HOUR)] == [C, A]


def test_there_is_one_job_per_root_and_options_with_those_of_the_original_requests() -> None:
    videos = [
        ("/a", held(A, captions=("en", "de"))),
        ("/a", held(B, captions=("en", "de"))),
        ("/b", held(A, captions=("en", "de"))),
        ("/a", held(C, asked=("480p", "best", "1080p"))),
    ]
    jobs = jobs_for(due_looks(videos, AFTER, AT + 3 * HOUR))
    assert {(job.options.output_dir, job.targets, job.options.quality) for job in jobs} == {
        ("/a", (A, B), "720p"),
        ("/b", (A,), "720p"),
        ("/a", (C,), "best"),
    }
    assert {(job.priority, job.options.skip_existing, job.job_id[:8]) for job in jobs} == {(-100, True, "revisit-")}
    assert jobs[0].options.caption_languages == ["en", "de"]
    assert [job.options.include_captions for job in jobs if job.targets == (C,)] == [False]


def test_the_same_look_has_the_same_job_and_the_next_one_another() -> None:
    def job_id(looked_at: datetime | None) -> str:
        (job,) = jobs_for(due_looks([("/a", held(A, looked_at=looked_at))], AFTER, AT + 30 * HOUR))
        return job.job_id

    assert job_id(None) == job_id(None)
    assert job_id(None) != job_id(AT + 3 * HOUR)


def test_rounds_are_as_frequent_as_the_first_time_and_at_least_every_half_hour() -> None:
    assert round_interval(AFTER) == timedelta(minutes=30)
    assert round_interval((timedelta(seconds=5),)) == timedelta(seconds=5)
