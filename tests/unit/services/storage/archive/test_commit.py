"""Commit of deliveries on real files: idempotent, merging, and crash-safe at every step."""

import hashlib
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.failures import FailureKind
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted
from services.storage.archive import commit, staging
from services.storage.archive.manifest_file import read_manifest
from services.storage.archive.staging import TakeInFailed
from services.storage.formats.layout import ArchiveTree, dispatch_tag, hidden_path
from services.storage.formats.manifest import Manifest, held_of, kept_better
from tests.fixtures.commit_processes import commit_killed_at, contents_during_commit
from tests.fixtures.fuse_disk import fuse_disk, why_not

VIDEO = "dQw4w9WgXcQ"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROLES = {
    "json": FileRole.INFO,
    "mkv": FileRole.VIDEO,
    "mp4": FileRole.VIDEO,
    "m4a": FileRole.AUDIO,
    "jpg": FileRole.THUMBNAIL,
    "vtt": FileRole.CAPTION,
}
CAPTIONS = Wanted(media=False, thumbnail=False, captions=("de", "fr"))
Deliver = Callable[..., DownloadCompleted]


@pytest.fixture
def tree(tmp_path: Path) -> ArchiveTree:
    root = tmp_path / "archive"
    return ArchiveTree(root, root / "metadata", root / "videos")


@pytest.fixture
def deliver(tmp_path: Path, tree: ArchiveTree) -> Deliver:
    """Write files to a partial download and return its event: `deliver("1", mp4=b"...", vtt={"en": b"..."})`."""

    def make(
        dispatch: str,
        *,
        wanted: Wanted | None = None,
        absent: tuple[str, ...] = (),
        vtt: dict[str, bytes] | None = None,
        height: int | None = None,
        **files: bytes,
    ) -> DownloadCompleted:
        directory = tmp_path / "tmp" / f"{VIDEO}.part"
        contents: dict[tuple[str, str | None], bytes] = {
            (f"out.{ending}", None): data for ending, data in files.items()
        }
        contents |= {(f"subs.{language}.vtt", language): data for language, data in (vtt or {}).items()}
        facts = []
        for (name, language), data in contents.items():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            role = ROLES[name.rpartition(".")[2]]
            facts.append(FileFact(name=name, role=role, size=len(data), sha256=digest, language=language))
        return DownloadCompleted(
            dispatch_id=dispatch,
            fetch_id="f",
            job_id="j",
            video_id=VIDEO,
            root=str(tree.root),
            wanted=wanted or Wanted(),
            directory=str(directory),
            files=tuple(facts),
            absent=absent,
            metadata=VideoMetadata(video_id=VIDEO, title=f"Title {dispatch}"),
            provenance=Provenance(source_url="https://example.org", started_at=NOW, finished_at=NOW, height=height),
        )

    return make


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Callable[[DownloadCompleted], DownloadCompleted]]:
    """Move a delivery to another file system, from which hard links to tmp_path are impossible."""
    disk = Path("/dev/shm")  # noqa: S108 - a separate file system on every Linux
    if not disk.is_dir() or disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system on this machine")
    with tempfile.TemporaryDirectory(dir=disk) as folder:

        def move(event: DownloadCompleted) -> DownloadCompleted:
            there = shutil.move(event.directory, folder)
            return event.model_copy(update={"directory": str(there)})

        yield move


def take_in(tree: ArchiveTree, event: DownloadCompleted) -> Manifest:
    return commit.take_in(tree, event, now=datetime.now(UTC), trace_id="trace")


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def assert_manifest_matches_files(tree: ArchiveTree) -> Manifest:
    """Assert that the manifest matches the files of the video exactly, and return it."""
    manifest = read_manifest(tree.manifest(VIDEO))
    assert manifest is not None
    found = snapshot(tree.video_dir(VIDEO))
    found.pop(f"{VIDEO}_metadata.json")
    listed = {name: (entry.size, entry.sha256) for name, entry in manifest.fixity.items()}
    assert listed == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in found.items()}
    return manifest


def test_the_files_of_a_delivery_are_stored_under_the_specified_names(tree: ArchiveTree, deliver: Deliver) -> None:
    event = deliver("1", mp4=b"film", jpg=b"picture", vtt={"en": b"hello", "de": b"hallo"})
    manifest = take_in(tree, event)
    folder = tree.video_dir(VIDEO)
    assert sorted(snapshot(folder)) == [
        f"captions/{VIDEO}_de.vtt", f"captions/{VIDEO}_en.vtt",
        f"{VIDEO}.mp4", f"{VIDEO}_metadata.json", f"{VIDEO}_thumb.jpg",
    ]  # fmt: skip
    assert (folder / f"{VIDEO}.mp4").read_bytes() == b"film"
    assert assert_manifest_matches_files(tree) == manifest
    assert manifest.provenance.trace_id == "trace"
    assert manifest.metadata.title == "Title 1"
    assert snapshot(Path(event.directory)) == {}  # a remaining hard link could be written to


def changes(tree: ArchiveTree) -> dict[Path, tuple[int, int, int]]:
    """Return what a change of a file or folder of the video would change; reading one changes none of it."""
    stats = {path: path.stat() for path in tree.video_dir(VIDEO).rglob("*")}
    return {path: (one.st_ino, one.st_mtime_ns, one.st_ctime_ns) for path, one in stats.items()}


def test_repeating_a_commit_returns_the_same_manifest_and_moves_nothing(tree: ArchiveTree, deliver: Deliver) -> None:
    event = deliver("1", mp4=b"film", vtt={"en": b"hello"})
    first = take_in(tree, event)
    before = changes(tree)
    assert take_in(tree, event) == first
    assert changes(tree) == before
    deliver("1", mp4=b"film", vtt={"en": b"hello"})  # the source files exist again
    assert take_in(tree, event) == first


def test_files_on_another_file_system_are_copied_and_the_sources_remain(
    tree: ArchiveTree, deliver: Deliver, other_disk: Callable[[DownloadCompleted], DownloadCompleted]
) -> None:
    event = other_disk(deliver("1", mp4=b"film" * 1000, vtt={"en": b"hello"}))
    take_in(tree, event)
    assert_manifest_matches_files(tree)
    assert len(snapshot(Path(event.directory))) == 2


def test_later_deliveries_are_merged_into_the_manifest(tree: ArchiveTree, deliver: Deliver) -> None:
    wanted = Wanted(captions=("en", "de"))
    event = deliver("1", mp4=b"film", jpg=b"picture", vtt={"en": b"hello"}, wanted=wanted, absent=("captions/de",))
    take_in(tree, event)
    take_in(tree, deliver("2", vtt={"de": b"hallo"}, absent=("captions/fr",), wanted=CAPTIONS))
    take_in(tree, deliver("3", m4a=b"sound", wanted=Wanted(quality="audio")))
    manifest = assert_manifest_matches_files(tree)
    held = held_of(manifest, present=commit.present_files(tree.video_dir(VIDEO), manifest), metadata=False)
    assert held.qualities == ("1080p", "audio")
    assert held.thumbnail
    assert held.captions == ("en", "de")
    assert held.absent == ("captions/fr",)
    assert held.bytes == len(b"film" + b"picture" + b"hello" + b"hallo" + b"sound")
    assert [one.dispatch_id for one in manifest.take_ins] == ["1", "2", "3"]
    assert manifest.asked.captions == ("en", "de", "fr")
    assert manifest.fixity[f"{VIDEO}.mp4"].dispatch_id == "1"


def test_a_higher_quality_replaces_the_lower_one(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"small", jpg=b"picture", wanted=Wanted(quality="360p")))
    take_in(tree, deliver("2", mp4=b"much larger", wanted=Wanted(quality="best", thumbnail=False)))
    manifest = assert_manifest_matches_files(tree)
    assert (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").read_bytes() == b"much larger"
    assert manifest.fixity[f"{VIDEO}.mp4"].asked == ("best",)
    assert f"{VIDEO}_thumb.jpg" in manifest.fixity


def test_identical_bytes_for_another_quality_satisfy_both_qualities(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"film", wanted=Wanted(quality="720p")))
    manifest = take_in(tree, deliver("2", mp4=b"film", wanted=Wanted(quality="best")))
    assert manifest.fixity[f"{VIDEO}.mp4"].asked == ("720p", "best")


def test_a_file_removed_by_hand_is_not_held_and_can_be_delivered_again(tree: ArchiveTree, deliver: Deliver) -> None:
    event = deliver("1", mp4=b"film", vtt={"en": b"hello"})
    manifest = take_in(tree, event)
    (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").unlink()
    present = commit.present_files(tree.video_dir(VIDEO), manifest)
    assert present == (f"captions/{VIDEO}_en.vtt",)
    with pytest.raises(TakeInFailed, match="gone"):
        take_in(tree, event)
    take_in(tree, deliver("2", mp4=b"film"))
    assert_manifest_matches_files(tree)


def test_a_damaged_file_is_replaced_by_a_new_delivery(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"film"))
    (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").write_bytes(b"f1lm")
    take_in(tree, deliver("2", mp4=b"film"))
    assert_manifest_matches_files(tree)


def test_a_delivery_with_a_wrong_checksum_or_file_type_changes_nothing(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"film", jpg=b"picture"))
    before = snapshot(tree.root)
    event = deliver("2", jpg=b"other", mp4=b"movie")
    (Path(event.directory) / "out.mp4").write_bytes(b"m0vie")
    with pytest.raises(TakeInFailed, match="sha256") as caught:
        take_in(tree, event)
    assert caught.value.reason == "hash_mismatch"
    assert snapshot(tree.root) == before
    (Path(event.directory) / "out.mp4").write_bytes(b"short")
    (Path(event.directory) / "out.jpg").unlink()
    (Path(event.directory) / "out.jpg").mkdir()
    with pytest.raises(TakeInFailed, match="regular"):
        take_in(tree, event)
    assert snapshot(tree.root) == before


@pytest.mark.parametrize("linked", ["directory", "folder", "file"])
def test_a_link_in_a_partial_download_takes_nothing_in_from_outside(
    tree: ArchiveTree, deliver: Deliver, tmp_path: Path, linked: str
) -> None:
    event = deliver("1", mp4=b"film")
    directory, outside = Path(event.directory), tmp_path / "outside"
    outside.mkdir()
    file = outside / "out.mp4"
    (directory / "out.mp4").rename(file)
    match linked:
        case "directory":
            directory.rmdir()
            directory.symlink_to(outside)
        case "folder":
            (directory / "sub").symlink_to(outside)
            event = event.model_copy(update={"files": (event.files[0].model_copy(update={"name": "sub/out.mp4"}),)})
        case _:
            (directory / "out.mp4").symlink_to(file)
    with pytest.raises(
        TakeInFailed, match=rf"{VIDEO}\.part.* is a symbolic link, which is not opened: remove it"
    ) as refused:
        take_in(tree, event)
    assert refused.value.reason == "not_a_file"
    assert snapshot(outside) == {"out.mp4": b"film"}
    assert not tree.video_dir(VIDEO).exists()


@pytest.mark.parametrize("linked", [".", "captions"])
def test_nothing_is_written_through_a_linked_folder_of_the_archive(
    tree: ArchiveTree, deliver: Deliver, tmp_path: Path, linked: str
) -> None:
    event, outside, folder = (
        deliver("1", mp4=b"film", vtt={"en": b"hello"}),
        tmp_path / "outside",
        tree.video_dir(VIDEO),
    )
    outside.mkdir()
    hidden = outside / f".{VIDEO}.mp4.tag.new"
    hidden.write_bytes(b"theirs")
    (folder / linked).parent.mkdir(parents=True)
    (folder / linked).symlink_to(outside)
    with pytest.raises(TakeInFailed, match=f"{VIDEO}.* is a symbolic link"):
        take_in(tree, event)
    assert snapshot(outside) == {hidden.name: b"theirs"}


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_written_through_a_link_that_is_made_during_a_take_in(
    tmp_path: Path,
    deliver: Deliver,
    other_disk: Callable[[DownloadCompleted], DownloadCompleted],
    exists: bool,
) -> None:
    """Somebody who may write into the archive, as with `dir_mode = "2775"`, knows the next hidden file."""
    root, secret = tmp_path / "archive", tmp_path / "secret"
    tree = ArchiveTree(root, root / "metadata", root / "videos", file_mode=0o664)
    event = other_disk(deliver("1", mp4=b"film"))
    if exists:
        secret.write_bytes(b"theirs")
        secret.chmod(0o600)
    intent = hidden_path(tree.manifest(VIDEO), dispatch_tag(event.dispatch_id), "tmp")

    def attack() -> bool:
        intent.symlink_to(secret)
        return False

    commit.take_in(tree, event, now=NOW, trace_id="t", stop=attack)
    assert not tree.manifest(VIDEO).is_symlink()
    assert secret.exists() is exists
    if exists:
        assert (secret.read_bytes(), stat.S_IMODE(secret.stat().st_mode)) == (b"theirs", 0o600)


def test_the_mode_of_a_file_outside_is_not_changed_through_a_link(
    tmp_path: Path, deliver: Deliver, other_disk: Callable[[DownloadCompleted], DownloadCompleted]
) -> None:
    root, secret = tmp_path / "archive", tmp_path / "secret"
    secret.write_bytes(b"theirs")
    secret.chmod(0o600)
    tree = ArchiveTree(root, root / "metadata", root / "videos", file_mode=0o664)
    event = other_disk(deliver("1", mp4=b"film"))
    staged = hidden_path(tree.video_dir(VIDEO) / f"{VIDEO}.mp4", dispatch_tag(event.dispatch_id))

    def attack() -> bool:
        staged.unlink()
        staged.symlink_to(secret)
        return False

    with pytest.raises(OSError, match=staged.name):
        commit.take_in(tree, event, now=NOW, trace_id="t", stop=attack)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert not tree.video_dir(VIDEO).exists()


def test_a_failed_first_commit_leaves_no_folder(tree: ArchiveTree, deliver: Deliver) -> None:
    event = deliver("1", mp4=b"film", vtt={"en": b"hello"})
    (Path(event.directory) / "subs.en.vtt").unlink()
    with pytest.raises(TakeInFailed) as caught:
        take_in(tree, event)
    assert caught.value.reason == "source_missing"
    assert not tree.video_dir(VIDEO).exists()
    assert (Path(event.directory) / "out.mp4").read_bytes() == b"film"


def test_a_delivery_without_the_wanted_media_is_refused(tree: ArchiveTree, deliver: Deliver) -> None:
    with pytest.raises(TakeInFailed) as caught:
        take_in(tree, deliver("1", jpg=b"picture"))
    assert caught.value.reason == "no_media"


def test_an_unreadable_manifest_is_renamed_and_kept(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"film"))
    tree.manifest(VIDEO).write_text("{ not json")
    take_in(tree, deliver("2", mp4=b"film"))
    assert tree.manifest(VIDEO).with_name(f"{VIDEO}_metadata.json.unreadable").read_text() == "{ not json"
    assert read_manifest(tree.manifest(VIDEO)) is not None


def test_unknown_manifest_fields_of_a_newer_version_are_kept(tree: ArchiveTree, deliver: Deliver) -> None:
    manifest = take_in(tree, deliver("1", mp4=b"film"))
    newer = manifest.model_copy(update={"stars": 5})
    tree.manifest(VIDEO).write_text(newer.model_dump_json())
    take_in(tree, deliver("2", vtt={"en": b"hello"}, wanted=CAPTIONS))
    again = read_manifest(tree.manifest(VIDEO))
    assert again is not None
    assert again.model_dump()["stars"] == 5


def test_recovery_removes_only_its_own_temporary_files(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"film"))
    folder = tree.video_dir(VIDEO)
    for name in (".DS_Store", "notes.txt", ".nfs0001", f".{VIDEO}.mp4.swp"):
        (folder / name).write_text("not ours")
    (folder / f".{VIDEO}.mp4.9.new").write_text("ours")
    before = snapshot(folder)
    assert commit.recover(tree, VIDEO) == commit.RecoveryResult(removed=1)
    assert snapshot(folder) == {name: data for name, data in before.items() if not name.endswith("9.new")}


def test_an_intent_with_missing_staged_files_is_rolled_back(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", mp4=b"old"))
    before = snapshot(tree.root)
    event = deliver("2", mp4=b"newer film")
    assert commit_killed_at("storage.after_intent", tree.root, event)
    (tree.video_dir(VIDEO) / f".{VIDEO}.mp4.2.new").unlink()
    assert commit.recover(tree, VIDEO) == commit.RecoveryResult(removed=1)
    assert snapshot(tree.root) == before


# --- kill -9 ------------------------------------------------------------------------------------------------------

BEFORE_THE_INTENT = (
    "storage.before_stage_1", "storage.before_stage_2", "storage.before_stage_3", "storage.after_stage",
    "storage.before_intent",
)  # fmt: skip
AFTER_THE_INTENT = (
    "storage.after_intent", "storage.after_rename_1", "storage.after_rename_2", "storage.after_rename_3",
    "storage.before_commit",
)  # fmt: skip


@pytest.mark.parametrize("point", [*BEFORE_THE_INTENT, *AFTER_THE_INTENT, "storage.after_commit"])
def test_a_kill_during_a_replacement_leaves_the_old_or_the_new_files(
    point: str, tree: ArchiveTree, deliver: Deliver
) -> None:
    take_in(tree, deliver("1", mp4=b"old film", jpg=b"old picture", vtt={"en": b"old words"}))
    old = snapshot(tree.root)
    event = deliver("2", mp4=b"new film", jpg=b"new picture", vtt={"de": b"new words"})
    assert commit_killed_at(point, tree.root, event)
    for name in (f"{VIDEO}.mp4", f"{VIDEO}_thumb.jpg"):  # a visible file is never missing or incomplete
        assert (tree.video_dir(VIDEO) / name).read_bytes().split()[0] in {b"old", b"new"}

    commit.recover(tree, VIDEO)
    if point in BEFORE_THE_INTENT:
        assert snapshot(tree.root) == old
    else:
        manifest = assert_manifest_matches_files(tree)
        assert (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").read_bytes() == b"new film"
        assert manifest.metadata.title == "Title 2"

    take_in(tree, event)  # the message is redelivered
    manifest = assert_manifest_matches_files(tree)
    assert sorted(manifest.fixity) == [
        f"captions/{VIDEO}_de.vtt", f"captions/{VIDEO}_en.vtt", f"{VIDEO}.mp4", f"{VIDEO}_thumb.jpg",
    ]  # fmt: skip
    assert [one.dispatch_id for one in manifest.take_ins] == ["1", "2"]
    assert snapshot(Path(event.directory)) == {}


def test_between_any_two_file_operations_each_name_is_the_old_or_the_new_file(
    tree: ArchiveTree, deliver: Deliver
) -> None:
    """An audit hook runs before each file operation; a kill at that point would leave exactly this state."""
    take_in(tree, deliver("1", mp4=b"old film", jpg=b"old picture"))
    event = deliver("2", mp4=b"new film", jpg=b"new picture")
    folder = tree.video_dir(VIDEO)
    seen = contents_during_commit([folder / f"{VIDEO}.mp4", folder / f"{VIDEO}_thumb.jpg"], tree.root, event)
    assert seen == {b"new film", b"new picture", b"old film", b"old picture"}


@pytest.mark.parametrize("point", [*BEFORE_THE_INTENT, *AFTER_THE_INTENT, "storage.after_commit"])
def test_a_kill_during_a_first_commit_leaves_no_files_or_all_files(
    point: str, tree: ArchiveTree, deliver: Deliver
) -> None:
    event = deliver("1", mp4=b"film", jpg=b"picture", vtt={"en": b"words"})
    assert commit_killed_at(point, tree.root, event)
    recovery = commit.recover(tree, VIDEO)
    if point in BEFORE_THE_INTENT:
        assert not recovery.rolled_forward
        assert snapshot(tree.root) == {}
    else:
        assert_manifest_matches_files(tree)
    take_in(tree, event)
    assert sorted(assert_manifest_matches_files(tree).fixity) == [
        f"captions/{VIDEO}_en.vtt",
        f"{VIDEO}.mp4",
        f"{VIDEO}_thumb.jpg",
    ]


def test_copying_stops_on_request_and_leaves_no_folder(
    tree: ArchiveTree, deliver: Deliver, other_disk: Callable[..., DownloadCompleted]
) -> None:
    event = other_disk(deliver("1", mp4=b"film"))
    with pytest.raises(TakeInFailed) as caught:
        commit.take_in(tree, event, now=NOW, trace_id="t", stop=lambda: True)
    assert caught.value.reason == "stopped"
    assert not tree.video_dir(VIDEO).exists()


def test_a_source_is_removed_only_if_it_is_a_hard_link_to_the_archived_file(tmp_path: Path) -> None:
    place, source, copy = tmp_path / "place", tmp_path / "source", tmp_path / "copy"
    place.write_text("x")
    source.hardlink_to(place)
    copy.write_text("x")
    for path in (source, copy, tmp_path / "none"):
        staging.remove_source(tmp_path, path, place)
    assert not source.exists()
    assert copy.exists()
    assert place.exists()


LOW_QUALITY = Wanted(quality="360p")


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("quality", ["360p", "best", "wv*+wa"])
def test_a_video_is_not_replaced_by_one_of_lower_resolution(
    tree: ArchiveTree, deliver: Deliver, quality: str, ending: str
) -> None:
    """Causes: a retried old job, fewer formats offered by YouTube, a selector of the worst quality."""
    take_in(tree, deliver("1", wanted=Wanted(quality="1080p"), height=1080, mp4=b"a fine film", json=b"of the film"))
    event = deliver(
        "2", wanted=Wanted(quality=quality), height=360, jpg=b"picture", json=b"of the lesser", **{ending: b"blur"}
    )
    manifest = take_in(tree, event)
    assert assert_manifest_matches_files(tree) == manifest
    files = snapshot(tree.video_dir(VIDEO))
    assert (files[f"{VIDEO}.mp4"], files[f"{VIDEO}_thumb.jpg"]) == (b"a fine film", b"picture")
    assert files[f"{VIDEO}.info.json"] == b"of the film"
    assert manifest.provenance.height == 1080
    assert kept_better(manifest, event)
    held = held_of(manifest, present=manifest.fixity, metadata=True)
    assert set(held.qualities) == {"1080p", quality}, "a held quality is not requested again"
    assert [one.dispatch_id for one in manifest.take_ins] == ["1", "2"]
    assert take_in(tree, event) == manifest


@pytest.mark.parametrize(
    ("wanted", "height", "lost"),
    [
        (LOW_QUALITY.model_copy(update={"force": True}), 360, False),
        (LOW_QUALITY, 1080, False),
        (LOW_QUALITY, 2160, False),
        (LOW_QUALITY, None, False),
        (LOW_QUALITY, 360, True),
    ],
)
def test_a_video_is_replaced_if_forced_not_worse_of_unknown_height_or_missing(
    tree: ArchiveTree, deliver: Deliver, wanted: Wanted, height: int | None, lost: bool
) -> None:
    take_in(tree, deliver("1", wanted=Wanted(quality="1080p"), height=1080, mp4=b"a fine film"))
    if lost:
        (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").unlink()
    event = deliver("2", wanted=wanted, height=height, mp4=b"another")
    manifest = take_in(tree, event)
    assert assert_manifest_matches_files(tree) == manifest
    assert not kept_better(manifest, event)
    assert snapshot(tree.video_dir(VIDEO))[f"{VIDEO}.mp4"] == b"another"
    assert manifest.provenance.height == height


def test_a_video_kept_against_two_worse_ones_is_replaced_by_a_better_one(tree: ArchiveTree, deliver: Deliver) -> None:
    take_in(tree, deliver("1", wanted=Wanted(quality="1080p"), height=1080, mp4=b"a fine film"))
    for dispatch in ("2", "3"):
        take_in(tree, deliver(dispatch, wanted=LOW_QUALITY, height=360, mp4=b"blur"))
    assert snapshot(tree.video_dir(VIDEO))[f"{VIDEO}.mp4"] == b"a fine film"
    manifest = take_in(tree, deliver("4", wanted=Wanted(quality="best"), height=2160, mp4=b"finer"))
    assert (manifest.provenance.height, assert_manifest_matches_files(tree)) == (2160, manifest)


# --- peculiar disks -------------------------------------------------------------------------------------------------

needs_fuse = pytest.mark.skipif(bool(why_not()), reason=why_not())


def tree_on(disk: Path) -> ArchiveTree:
    return ArchiveTree(disk, disk / "metadata", disk / "videos")


@needs_fuse
def test_a_disk_that_ignores_case_keeps_the_first_of_two_videos_and_refuses_the_second(
    tmp_path: Path, deliver: Deliver
) -> None:
    with fuse_disk(tmp_path / "disk", "--fold-case") as disk:
        tree = tree_on(disk)
        take_in(tree, deliver("1", mp4=b"first"))
        before = snapshot(disk)
        other = deliver("2", mp4=b"second").model_copy(update={"video_id": VIDEO.swapcase()})
        with pytest.raises(TakeInFailed, match="upper and lower case") as refused:
            take_in(tree, other)
        assert (refused.value.reason, refused.value.kind) == ("name_taken", FailureKind.LOCAL)
        assert snapshot(disk) == before


@needs_fuse
def test_a_disk_that_cannot_sync_folders_is_used_and_reported_once(tmp_path: Path, deliver: Deliver) -> None:
    with fuse_disk(tmp_path / "disk", "--no-folder-sync") as disk, capture_logs() as logs:
        tree = tree_on(disk)
        take_in(tree, deliver("1", mp4=b"first"))
        take_in(tree, deliver("2", mp4=b"second"))
        assert (tree.video_dir(VIDEO) / f"{VIDEO}.mp4").read_bytes() == b"second"
    assert [log["event"] for log in logs].count("folder_sync_refused") == 1


def test_the_configured_modes_are_those_of_all_archived_files_and_folders(tmp_path: Path, deliver: Deliver) -> None:
    root = tmp_path / "archive"
    tree = ArchiveTree(root, root / "metadata", root / "videos", file_mode=0o640, dir_mode=0o2750)
    take_in(tree, deliver("1", mp4=b"media", vtt={"en": b"WEBVTT\n"}))
    folder = tree.video_dir(VIDEO)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    folders = (tree.videos, folder, folder / "captions")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o2750}
