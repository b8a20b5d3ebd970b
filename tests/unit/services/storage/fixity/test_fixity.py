"""Verification: findings, repair plans, schedule, and the reading of real files."""

import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.archive import FileFact, FileRole, Held, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.common.models import JobOptions, JobType
from services.storage.archive.tree_walk import trees_below, video_ids
from services.storage.fixity import quarantine
from services.storage.fixity.checksum_reader import RateLimiter, ReadingStopped, is_unchanged, read_file, read_video
from services.storage.fixity.repair_plan import Repair, highest_quality, plan_repairs, repairable
from services.storage.fixity.rules import FileState, FindingKind, FixityFinding, VideoState, compare
from services.storage.fixity.schedule import DueVideo, is_round_due, select_round
from services.storage.formats.layout import ArchiveTree
from services.storage.formats.manifest import Holding, Manifest, ManifestEntry, Requested, held_of, merge

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
A = "aaaaaaaaaaa"
ROOT = "/archive"
MP4, M4A, THUMB, INFO, EN = f"{A}.mp4", f"{A}.m4a", f"{A}_thumb.jpg", f"{A}.info.json", f"captions/{A}_en.vtt"
MANIFEST, METADATA = f"{A}_metadata.json", f"metadata/videos/{A}.json"
ROLES = {
    MP4: FileRole.VIDEO,
    M4A: FileRole.AUDIO,
    THUMB: FileRole.THUMBNAIL,
    INFO: FileRole.INFO,
    EN: FileRole.CAPTION,
}
FAST = 10**12


def holding(*names: str, asked: Requested | None = None, **qualities: tuple[str, ...]) -> Holding:
    entries = {
        name: ManifestEntry(
            role=ROLES[name],
            size=4,
            sha256="ab" * 32,
            language="en" if name == EN else None,
            asked=qualities.get(ROLES[name], ("1080p",) if name == MP4 else ()),
            dispatch_id="d",
            archived_at=AT,
        )
        for name in names
    }
    asked = asked or Requested(qualities=("1080p",), thumbnail=True, captions=("en", "de"), metadata=True)
    return Holding(video_id=A, fixity=entries, asked=asked)


RIGHT = FileState((1,), 4, "ab" * 32)
THERE = FileState((2,), 10)


def video_state(held: Holding | None, files: dict[str, FileState] | None = None, **changes: Any) -> VideoState:
    intact = dict.fromkeys(held.fixity, RIGHT) if held else {}
    return VideoState(
        **{"fingerprint": "s", "manifest": held, "files": {**intact, **(files or {})}, "metadata": THERE, **changes}
    )


def findings_of(one: VideoState, known: Holding | None = None) -> dict[str, tuple[str, str]]:
    return {finding.name: (finding.kind, finding.message) for finding in compare(ROOT, A, one, known)}


# --- comparison -------------------------------------------------------------------------------------------------------

ALL = holding(MP4, THUMB, INFO, EN)
NO_METADATA = holding(MP4, asked=Requested(qualities=("1080p",)))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (video_state(ALL), {}),
        (video_state(ALL, {MP4: FileState(None)}), {MP4: ("missing", "is missing")}),
        (video_state(ALL, {EN: FileState((1,), 3)}), {EN: ("changed", "has 3 bytes, the manifest says 4")}),
        (
            video_state(ALL, {MP4: FileState((1,), 4, "cd" * 32)}),
            {MP4: ("changed", f"its sha256 is {'cd' * 32}, the manifest says {'ab' * 32}")},
        ),
        (video_state(ALL, {THUMB: FileState((1,), regular=False)}), {THUMB: ("changed", "is not a regular file")}),
        (
            video_state(ALL, {MP4: FileState((1,), error="Input/output error")}),
            {MP4: ("unreadable", "cannot be read: Input/output error")},
        ),
        (video_state(ALL, others=("notes.txt",)), {"notes.txt": ("extra", "not listed in the manifest")}),
        (
            video_state(ALL, metadata=FileState(None)),
            {METADATA: ("missing", "is missing, and metadata were requested")},
        ),
        (video_state(ALL, metadata=FileState((1,), 1, error="EOF")), {METADATA: ("unreadable", "cannot be read: EOF")}),
        (video_state(NO_METADATA, metadata=FileState(None)), {}),
        (video_state(None, manifest_error="is not a manifest: x"), {MANIFEST: ("unreadable", "is not a manifest: x")}),
        (video_state(None, others=(MP4,), metadata=FileState(None)), {".": ("extra", "a folder without a manifest")}),
        (video_state(None, metadata=FileState(None)), {}),
    ],
)
def test_findings_are_the_differences_between_the_files_and_the_manifest(
    state: VideoState, expected: dict[str, tuple[str, str]]
) -> None:
    assert findings_of(state) == expected


def test_the_manifest_in_the_catalogue_is_used_if_the_folder_is_missing() -> None:
    gone = findings_of(video_state(None), holding(MP4, THUMB))
    assert {name: kind for name, (kind, _message) in gone.items()} == dict.fromkeys((MANIFEST, MP4, THUMB), "missing")
    assert findings_of(video_state(None, others=(MP4,)), holding(MP4)) == {
        MANIFEST: ("missing", "the manifest is missing, and 1 files are here without one")
    }


# --- repair jobs ------------------------------------------------------------------------------------------------------


def broken(held: Holding, *names: str) -> tuple[FixityFinding, ...]:
    return tuple(
        FixityFinding(root=ROOT, video_id=held.video_id, name=name, kind=FindingKind.MISSING, message="")
        for name in names
    )


def video(quality: str, **changes: Any) -> Repair:
    options = {"include_metadata": True, "include_captions": True, "caption_languages": ["en", "de"], **changes}
    return Repair(type=JobType.VIDEO_DOWNLOAD, options=JobOptions(output_dir=ROOT, quality=quality, **options))


ONLY_METADATA = Repair(type=JobType.METADATA_ONLY, options=JobOptions(output_dir=ROOT))
BOTH = holding(MP4, M4A, video=("720p", "best"), audio=("audio",))


@pytest.mark.parametrize(
    ("held", "names", "repairs"),
    [
        (ALL, (), ()),
        (ALL, (MP4,), (video("1080p"),)),
        (ALL, (THUMB,), (video("1080p"),)),
        (ALL, (INFO, METADATA), (video("1080p"),)),
        (ALL, (METADATA,), (ONLY_METADATA,)),
        (ALL, (MANIFEST, MP4, THUMB), (video("1080p"),)),
        (BOTH, (M4A,), (video("audio"),)),
        (BOTH, (MP4,), (video("best"),)),
        (BOTH, (MP4, M4A), (video("best"), video("audio"))),
        (
            NO_METADATA,
            (MP4,),
            (video("1080p", include_metadata=False, include_captions=False, caption_languages=["en"]),),
        ),
    ],
)
def test_the_repair_jobs_fetch_the_damaged_files(
    held: Holding, names: tuple[str, ...], repairs: tuple[Repair, ...]
) -> None:
    assert plan_repairs(ROOT, held, broken(held, *names)) == repairs


@pytest.mark.parametrize(
    ("qualities", "best"),
    [
        (("720p", "1080p", "480p"), "1080p"),
        (("1080p", "best"), "best"),
        (("audio",), "audio"),
        (("18", "bv+ba"), "bv+ba"),
        (("bv+ba", "720p"), "720p"),
        ((), "1080p"),
    ],
)
def test_the_highest_of_the_requested_qualities(qualities: tuple[str, ...], best: str) -> None:
    assert highest_quality(qualities) == best


@pytest.mark.parametrize(
    ("one", "known", "names"),
    [
        (video_state(ALL, {MP4: FileState(None)}, others=("notes.txt",)), None, [MP4]),
        (video_state(ALL, {MP4: FileState((1,), error="Permission denied")}), None, []),
        (video_state(ALL, {MP4: FileState((1,), error="Input/output error", broken=True)}), None, [MP4]),
        (video_state(ALL, metadata=FileState((1,), 1, error="EOF", broken=True)), None, [METADATA]),
        (video_state(None, manifest_error="is not a manifest"), ALL, []),
        (video_state(None, others=(MP4,)), ALL, []),
        (video_state(None), holding(MP4), [MANIFEST, MP4]),
    ],
)
def test_only_findings_that_a_download_can_repair_are_repairable(
    one: VideoState, known: Holding | None, names: list[str]
) -> None:
    assert [finding.name for finding in repairable(compare(ROOT, A, one, known), one)] == names


def test_a_missing_info_json_is_not_held() -> None:
    assert held_of(ALL, present=ALL.fixity, metadata=True).info
    assert not held_of(ALL, present=[MP4], metadata=True).info
    assert held_of(NO_METADATA, present=[], metadata=True) == Held(video_id=A, metadata=True)


# --- the schedule -----------------------------------------------------------------------------------------------------

NOW = AT + timedelta(days=1000)


def due(*ages: float | None) -> list[DueVideo]:
    """Return videos that were last checked this many days ago."""
    return [
        DueVideo(ROOT, f"video-{number:05d}", 1, None if days is None else NOW - timedelta(days=days))
        for number, days in enumerate(ages)
    ]


@pytest.mark.parametrize(
    ("ages", "last_round", "taken"),
    [
        ([None] + [100.0] * 89, None, 2),  # 90 videos in 90 days: two per day in the second half
        ([44.9] * 90, 1, 0),
        ([45.0] * 90, 1, 2),
        ([100.0] * 90, 10, 20),  # no round for ten days
        ([100.0] * 90, 1000, 90),
        ([100.0], 1, 1),
        ([], None, 0),
    ],
)
def test_a_round_selects_the_oldest_checks_and_spreads_the_work(
    ages: list[float | None], last_round: float | None, taken: int
) -> None:
    last = None if last_round is None else NOW - timedelta(days=last_round)
    videos = due(*ages)
    assert select_round(videos, 90, NOW, last) == videos[:taken]


def test_daily_rounds_keep_every_check_within_the_interval() -> None:
    checked = dict.fromkeys((f"video-{number:05d}" for number in range(1000)), NOW)
    busiest = 0
    for day in range(1, 400):
        now = NOW + timedelta(days=day)
        oldest_first = sorted((at, name) for name, at in checked.items())
        assert now - oldest_first[0][0] <= timedelta(days=91)
        taken = select_round(
            [DueVideo(ROOT, name, 1, at) for at, name in oldest_first], 90, now, now - timedelta(days=1)
        )
        checked.update({one.video_id: now for one in taken})
        busiest = max(busiest, len(taken))
    assert busiest == 23  # of 1000


def test_a_round_is_due_every_24_hours() -> None:
    assert is_round_due(None, NOW)
    assert not is_round_due(NOW - timedelta(hours=23), NOW)
    assert is_round_due(NOW - timedelta(hours=24), NOW)
    assert is_round_due(NOW + timedelta(hours=1), NOW)  # the clock was set back


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> ArchiveTree:
    return ArchiveTree(tmp_path, tmp_path / "metadata", tmp_path / "videos")


def archived(tree: ArchiveTree, **files: bytes) -> Manifest:
    """Write a video with its manifest, as after a commit."""
    folder = tree.video_dir(A)
    (folder / "captions").mkdir(parents=True)
    names = {"mp4": MP4, "jpg": THUMB, "vtt": EN}
    facts = []
    for short, data in files.items():
        (folder / names[short]).write_bytes(data)
        facts.append(
            FileFact(
                name=names[short],
                role=ROLES[names[short]],
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                language="en" if short == "vtt" else None,
            )
        )
    event = DownloadCompleted(
        dispatch_id="d1",
        fetch_id="f1",
        job_id="j1",
        video_id=A,
        root=str(tree.root),
        wanted=Wanted(metadata=False),
        directory="/tmp",  # noqa: S108 - never opened
        files=tuple(facts),
        metadata=VideoMetadata(video_id=A, title="T"),
        provenance=Provenance(source_url="https://example.org", started_at=AT, finished_at=AT),
    )
    manifest = merge(None, event, now=AT, trace_id="t")
    tree.manifest(A).write_text(manifest.model_dump_json())
    return manifest


def verify(tree: ArchiveTree) -> dict[str, str]:
    return {one.name: one.kind for one in compare(tree.key, A, read_video(tree, A, RateLimiter(FAST)), None)}


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda _folder: None, {}),
        (lambda folder: (folder / MP4).write_bytes(b"fil_"), {MP4: "changed"}),
        (lambda folder: (folder / MP4).write_bytes(b"fi"), {MP4: "changed"}),
        (lambda folder: (folder / EN).unlink(), {EN: "missing"}),
        (lambda folder: replace_by_fifo(folder / MP4), {MP4: "changed"}),  # opening must not block
        (lambda folder: (folder / MANIFEST).write_text("{}"), {MANIFEST: "unreadable"}),
        (lambda folder: (folder / MANIFEST).unlink(), {".": "extra"}),
        (lambda folder: (folder / "x").mkdir(), {"x/": "extra"}),
        (lambda folder: (folder / "captions" / "x.vtt").touch(), {"captions/x.vtt": "extra"}),
        (lambda folder: (folder / ".DS_Store").touch(), {}),
        (
            lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace(f'"{EN}"', '"../x"')),
            {MANIFEST: "unreadable"},
        ),
        (
            lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace(A, "bbbbbbbbbbb")),
            {MANIFEST: "unreadable"},
        ),
    ],
)
def test_verification_reports_damaged_missing_and_extra_files(
    tree: ArchiveTree, damage: Callable[[Path], Any], expected: dict[str, str]
) -> None:
    archived(tree, mp4=b"film", vtt=b"words")
    damage(tree.video_dir(A))
    assert verify(tree) == expected


def test_a_file_replaced_during_the_verification_is_not_reported(tree: ArchiveTree) -> None:
    archived(tree, mp4=b"film")
    folder = tree.video_dir(A)
    (folder / MP4).write_bytes(b"fil_")
    one = read_video(tree, A, RateLimiter(FAST))
    findings = compare(tree.key, A, one, None)
    assert is_unchanged(tree, A, one, findings)
    (folder / "new").write_bytes(b"film")
    (folder / "new").replace(folder / MP4)
    assert not is_unchanged(tree, A, one, findings)


def test_a_manifest_written_during_the_verification_invalidates_the_findings(tree: ArchiveTree) -> None:
    archived(tree, mp4=b"film")
    (tree.video_dir(A) / MP4).unlink()
    one = read_video(tree, A, RateLimiter(FAST))
    tree.manifest(A).write_text(tree.manifest(A).read_text() + " ")
    assert not is_unchanged(tree, A, one, compare(tree.key, A, one, None))


def test_the_rate_limit_applies_across_files(tmp_path: Path) -> None:
    rate_limiter = RateLimiter(1_000_000)
    begun = time.monotonic()
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x" * 100_000)
        read_file(tmp_path, tmp_path / str(number), 100_000, rate_limiter)
    assert rate_limiter.read == 400_000
    assert 0.38 < time.monotonic() - begun < 3


def test_reading_a_file_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1000)
    begun = time.monotonic()
    with pytest.raises(ReadingStopped):
        read_file(tmp_path, tmp_path / "x", 1000, RateLimiter(100, lambda: time.monotonic() - begun > 0.2))
    assert time.monotonic() - begun < 5  # reading all of it would take 10 seconds


def test_quarantined_files_are_excluded_from_the_tree_and_never_overwritten(tree: ArchiveTree) -> None:
    archived(tree, vtt=b"words")
    (finding,) = (one for one in broken(holding(EN), EN))
    for content in (b"first", b"second"):
        (tree.video_dir(A) / EN).write_bytes(content)
        moved = quarantine.plan_move(tree, finding, "20260501T120000Z")
        quarantine.move(tree, moved)
        assert moved.set_aside is not None
        assert Path(moved.set_aside).read_bytes() == content
        assert quarantine.is_moved(moved)
    aside = tree.videos / ".damaged" / A / "20260501T120000Z" / "captions"
    assert sorted(path.name for path in aside.iterdir()) == [f"{A}_en.vtt", f"{A}_en.vtt.2"]
    assert quarantine.plan_move(tree, finding, "x").set_aside is None  # nothing to move
    assert list(video_ids(tree)) == [A]
    assert list(trees_below(tree.root)) == []


def test_a_video_that_was_verified_in_the_future_is_due() -> None:
    assert select_round(due(-3650, -0.5), 90, NOW, None) == due(-3650)
