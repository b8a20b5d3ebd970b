"""Why an archived video might get better, and when it is looked at again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.domain.archive import FileFact, FileRole, Provenance, Revisit, RevisitReason
from services.common.domain.videos import Look, VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.storage.formats.manifest import Manifest, PastLook, merge, with_failed_look
from services.storage.formats.revisit import next_look

VIDEO = "aaaaaaaaaaa"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AFTER = (2 * HOUR, DAY, 7 * DAY, 60 * DAY)
ZERO = (timedelta(0),)
LOWER, ABSENT, REFUSED = RevisitReason.LOWER, RevisitReason.CAPTIONS_ABSENT, RevisitReason.CAPTIONS_REFUSED
FORMATS, ENDED, LENGTH = RevisitReason.FORMATS_MISSING, RevisitReason.STREAM_ENDED, RevisitReason.LENGTH


@pytest.mark.parametrize(
    ("after", "looked", "now", "expected"),
    [
        (AFTER, None, HOUR, 2 * HOUR),
        (AFTER, None, 30 * DAY, 2 * HOUR),  # it is overdue
        (AFTER, 2 * HOUR, 3 * HOUR, DAY),
        (AFTER, 3 * DAY, 3 * DAY, 7 * DAY),  # what was missed is not made up for
        (AFTER, 7 * DAY, 8 * DAY, 60 * DAY),
        (AFTER, 61 * DAY, 61 * DAY, None),  # given up
        ((DAY, 2 * HOUR), None, HOUR, 2 * HOUR),
        ((), None, DAY, None),
        (ZERO, None, DAY, timedelta(0)),
        (ZERO, 5 * DAY, 6 * DAY, 5 * DAY),  # at every run
        (AFTER, None, -400 * DAY, -400 * DAY),  # archived by a clock that was ahead
        (AFTER, 400 * DAY, 2 * DAY, 2 * DAY),
    ],
)
def test_the_time_of_the_next_look(
    after: tuple[timedelta, ...], looked: timedelta | None, now: timedelta, expected: timedelta | None
) -> None:
    """All times are counted from the archiving."""
    revisit = Revisit(reasons=(LOWER,), since=AT, looked_at=None if looked is None else AT + looked)
    found = next_look(revisit, after, AT + now)
    assert found == (None if expected is None else AT + expected)


def test_without_a_reason_there_is_no_look() -> None:
    assert next_look(Revisit(since=AT), AFTER, AT + DAY) is None
    assert next_look(None, AFTER, AT + DAY) is None


def file(role: FileRole, digest: str = "1", language: str | None = None) -> FileFact:
    name = f"{VIDEO}_{language}.vtt" if language else f"{VIDEO}{'.mp4' if role is FileRole.VIDEO else '.m4a'}"
    return FileFact(name=name, role=role, size=1, sha256=digest * 64, language=language)


def delivery(
    *files: FileFact,
    dispatch: str = "d1",
    quality: str = "1080p",
    age: timedelta | None = timedelta(0),
    absent: tuple[str, ...] = (),
    wanted: dict[str, Any] | None = None,
    **told: Any,
) -> DownloadCompleted:
    """A delivery at AT of a video that was uploaded `age` before; `told` is of its provenance."""
    about = {"height": 360, "width": 640, "offered": 360, "duration_seconds": 100.0} | told
    return DownloadCompleted(
        dispatch_id=dispatch, fetch_id="f", job_id="j", video_id=VIDEO, root="/a", directory="/tmp/x.part",  # noqa: S108 - not used
        wanted=Wanted(quality=quality, thumbnail=False, **(wanted or {})), files=files, absent=absent,
        metadata=VideoMetadata(
            video_id=VIDEO, title="T", upload_date=None if age is None else (AT - age).date().isoformat()
        ),
        provenance=Provenance(source_url="https://x", started_at=AT, finished_at=AT, **about),
    )  # fmt: skip


MP4 = file(FileRole.VIDEO)
EN = {"captions": ("en",)}
NO_EN = ("captions/en",)


@pytest.mark.parametrize(
    ("event", "reasons"),
    [
        (delivery(MP4), (LOWER,)),
        (delivery(MP4, age=31 * DAY), ()),  # it exists in 360p only
        (delivery(MP4, age=None), ()),
        (delivery(MP4, quality="360p"), ()),
        (delivery(MP4, quality="best"), (LOWER,)),
        (delivery(MP4, quality="best", height=2160, width=3840), ()),
        (delivery(MP4, quality="720p", height=853, width=480), (LOWER,)),  # vertical
        (delivery(MP4, quality="720p", height=1280, width=720), ()),
        (delivery(MP4, quality="bv[height<=480]"), ()),
        (delivery(file(FileRole.AUDIO), quality="audio", height=None, width=None), ()),
        (delivery(MP4, age=31 * DAY, missing_formats=("some formats may be missing",)), (FORMATS,)),
        (delivery(MP4, height=1080, width=1920, missing_formats=("some formats may be missing",)), ()),
        (delivery(MP4, quality="360p", stream_ended_at=AT - HOUR), (ENDED,)),
        (delivery(MP4, quality="360p", stream_ended_at=AT - 25 * HOUR), ()),
        (delivery(MP4, quality="360p", wanted={"listed_seconds": 110.0}), (LENGTH,)),
        (delivery(MP4, quality="360p", wanted={"listed_seconds": 104.0}), ()),
        (delivery(MP4, quality="360p", wanted=EN, absent=NO_EN), (ABSENT,)),
        (delivery(MP4, quality="360p", wanted=EN, absent=NO_EN, age=31 * DAY), ()),
        (delivery(MP4, quality="360p", wanted=EN, age=31 * DAY), (REFUSED,)),
        (delivery(MP4, file(FileRole.CAPTION, language="en"), quality="360p", wanted=EN), ()),
    ],
)
def test_the_reasons_of_a_first_delivery(event: DownloadCompleted, reasons: tuple[RevisitReason, ...]) -> None:
    revisit = merge(None, event, now=AT, trace_id="t").revisit
    assert revisit is not None
    assert (revisit.reasons, revisit.since, revisit.looked_at) == (reasons, AT, None)


@pytest.mark.parametrize(
    ("age", "warnings", "final"),
    [(DAY, (), False), (31 * DAY, (), True), (None, (), True), (31 * DAY, ("some formats may be missing",), False)],
)
def test_the_offer_of_a_recent_upload_or_with_missing_formats_is_not_final(
    age: timedelta | None, warnings: tuple[str, ...], final: bool
) -> None:
    revisit = merge(None, delivery(MP4, age=age, missing_formats=warnings), now=AT, trace_id="t").revisit
    assert revisit is not None
    assert revisit.final is final


def look(*files: FileFact, dispatch: str = "d2", alone: bool = True, **words: Any) -> DownloadCompleted:
    wanted = {"look": Look(resolution=360, duration_seconds=100.0, alone=alone), **words.pop("wanted", {})}
    return delivery(*files, dispatch=dispatch, wanted=wanted, **words)


def archived(**words: Any) -> Manifest:
    return merge(None, delivery(MP4, **words), now=AT, trace_id="t")


def test_a_look_that_finds_nothing_is_recorded_and_changes_nothing_else() -> None:
    before = archived()
    after = merge(before, look(), now=AT + DAY, trace_id="t")
    assert (after.fixity, after.take_ins, after.provenance) == (before.fixity, before.take_ins, before.provenance)
    assert after.revisit is not None
    assert (after.revisit.reasons, after.revisit.since, after.revisit.looked_at) == ((LOWER,), AT, AT + DAY)
    assert after.looks == (PastLook(first=AT + DAY, last=AT + DAY, outcome="nothing better", dispatch_id="d2"),)


def test_looks_with_the_same_outcome_are_one_line_until_something_else_happens() -> None:
    manifest = archived()
    for number in (2, 3):
        manifest = merge(manifest, look(dispatch=f"d{number}"), now=AT + number * DAY, trace_id="t")
    manifest = with_failed_look(manifest, "Private video", now=AT + 4 * DAY, key="d4")
    assert with_failed_look(manifest, "Private video", now=AT + 5 * DAY, key="d4") is manifest
    assert [(one.outcome, one.number, one.last) for one in manifest.looks] == [
        ("nothing better", 2, AT + 3 * DAY),
        ("Private video", 1, AT + 4 * DAY),
    ]
    assert manifest.revisit is not None
    assert manifest.revisit.looked_at == AT + 4 * DAY
    assert manifest.revisit.reasons == (LOWER,)


def test_a_better_picture_begins_anew_and_ends_what_it_mends() -> None:
    better = file(FileRole.VIDEO, "2")
    half = merge(archived(), look(better, height=720, width=1280, offered=720), now=AT + DAY, trace_id="t")
    assert half.revisit is not None
    assert (half.revisit.resolution, half.revisit.reasons, half.revisit.since) == (720, (LOWER,), AT + DAY)
    assert next_look(half.revisit, AFTER, AT + DAY) == AT + DAY + 2 * HOUR
    whole = merge(archived(), look(better, height=1080, width=1920, offered=1080), now=AT + DAY, trace_id="t")
    assert whole.revisit is not None
    assert (whole.revisit.resolution, whole.revisit.reasons) == (1080, ())


def test_a_reason_that_a_look_finds_does_not_begin_anew() -> None:
    """Warnings that come and go would keep a video looked at for ever."""
    manifest = merge(archived(), look(missing_formats=("some formats may be missing",)), now=AT + DAY, trace_id="t")
    assert manifest.revisit is not None
    assert (manifest.revisit.reasons, manifest.revisit.since) == ((LOWER, FORMATS), AT)
    refused = delivery(dispatch="d3", wanted={"media": False, "captions": ("de",)})
    manifest = merge(manifest, refused, now=AT + 2 * DAY, trace_id="t")
    assert manifest.revisit is not None
    assert manifest.revisit.since == AT + 2 * DAY, "a new request does"


def test_a_look_remembers_the_best_offer_and_the_length_of_the_listing() -> None:
    manifest = merge(archived(wanted={"listed_seconds": 200.0}), look(offered=480), now=AT + DAY, trace_id="t")
    assert manifest.revisit is not None
    assert (manifest.revisit.offered, manifest.revisit.resolution) == (480, 360)
    assert manifest.revisit.reasons == (LOWER, LENGTH)


def test_captions_that_were_refused_stay_left_out_until_they_come() -> None:
    manifest = merge(archived(wanted=EN), look(wanted=EN), now=AT + DAY, trace_id="t")
    assert manifest.revisit is not None
    assert (manifest.revisit.reasons, manifest.revisit.left_out) == ((LOWER, REFUSED), ("en",))
    assert manifest.absent == ()
    caption = file(FileRole.CAPTION, language="en")
    manifest = merge(manifest, look(caption, dispatch="d3", wanted=EN), now=AT + 2 * DAY, trace_id="t")
    assert manifest.revisit is not None
    assert (manifest.revisit.reasons, manifest.revisit.captions, manifest.revisit.left_out) == ((LOWER,), (), ())
    assert manifest.revisit.since == AT + 2 * DAY


def test_a_request_for_captions_alone_says_nothing_about_the_media() -> None:
    only = {"media": False, "captions": ("de",)}
    manifest = merge(archived(), delivery(dispatch="d2", wanted=only, offered=1080), now=AT + DAY, trace_id="t")
    assert manifest.revisit is not None
    assert (manifest.revisit.reasons, manifest.revisit.offered) == ((LOWER, REFUSED), 360)
    assert manifest.revisit.looked_at is None


def test_a_manifest_of_an_earlier_version_has_no_reason_and_no_look() -> None:
    old = Manifest.model_validate(archived().model_dump(exclude={"revisit", "looks"}))
    assert next_look(old.revisit, AFTER, AT + DAY) is None
    assert with_failed_look(old, "Private video", now=AT, key="d2") is old


@pytest.mark.parametrize(
    "revisit",
    [
        "abc",
        [],
        {"reasons": ["hdr_later"], "since": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00"},
        {"since": 99999999999999999},
        {"since": "2026-01-01T00:00:00Z", "resolution": "x"},
    ],
    ids=["text", "list", "reason of a newer version", "time without a zone", "far future", "resolution"],
)
def test_a_revisit_that_cannot_be_read_does_not_make_the_video_unknown(revisit: object) -> None:
    manifest = archived()
    read = Manifest.model_validate(manifest.model_dump(mode="json") | {"revisit": revisit})
    assert read.revisit is None
    assert read.fixity == manifest.fixity
