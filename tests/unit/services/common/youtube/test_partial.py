"""The directory of a partial download: ownership, locking, reuse and removal."""

from pathlib import Path

import pytest

from services.common.infra.no_links import NotAFile
from services.common.youtube.partial import PartialBusy, holding, keep_if_same, media_of, remove_partial, working_in

VIDEO = "dQw4w9WgXcQ"
STREAM = {"format_id": "137", "filesize": 1000}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / f"{VIDEO}.part"


def test_only_one_dispatch_can_work_in_the_directory(directory: Path) -> None:
    with working_in(directory, "d1"):
        with pytest.raises(PartialBusy), working_in(directory, "d2"):
            raise AssertionError("locked twice")
        assert not remove_partial(directory, "d1")
    with working_in(directory, "d2"):
        assert directory.is_dir()


def test_only_the_owning_dispatch_can_remove_the_directory(directory: Path) -> None:
    with working_in(directory, "d1"):
        (directory / "left.over").touch()
    assert not remove_partial(directory, "d0")
    assert remove_partial(directory, "d1")
    assert not directory.exists()
    assert not remove_partial(directory, "d1")


def test_a_later_dispatch_takes_over_the_ownership(directory: Path) -> None:
    for dispatch in ("d1", "d2"):
        with working_in(directory, dispatch):
            pass
    assert not remove_partial(directory, "d1")
    assert remove_partial(directory, "d2")


def test_a_directory_without_an_owner_file_is_not_removed(directory: Path) -> None:
    directory.mkdir(parents=True)
    assert not remove_partial(directory, "d1")
    assert directory.exists()


def test_partial_media_is_kept_only_if_the_streams_are_unchanged(directory: Path) -> None:
    directory.mkdir(parents=True)
    keep_if_same(directory, VIDEO, [STREAM])
    partial = directory / f"{VIDEO}.f137.mp4.part"
    others = [directory / f"{VIDEO}_en.vtt", directory / f"{VIDEO}_thumb.jpg", directory / f"{VIDEO}.info.json"]
    for path in (partial, *others):
        path.touch()
    keep_if_same(directory, VIDEO, [STREAM])
    assert media_of(directory, VIDEO) == [partial]
    keep_if_same(directory, VIDEO, [{**STREAM, "filesize": 1001}])
    assert media_of(directory, VIDEO) == []
    assert all(path.exists() for path in others)


def test_a_dispatch_can_remove_the_directory_of_an_earlier_one_of_its_fetch(tmp_path: Path) -> None:
    directory = tmp_path / "v.part"
    with working_in(directory, "fetch-a.9"):
        pass

    assert not remove_partial(directory, "fetch-a.8"), "a later dispatch owns it"
    assert not remove_partial(directory, "fetch-b.10"), "another fetch owns it"
    assert remove_partial(directory, "fetch-a.10"), "a later dispatch of the same fetch can remove it"


def test_working_in_the_directory_and_holding_its_files_exclude_each_other(directory: Path) -> None:
    with working_in(directory, "d1"), pytest.raises(PartialBusy), holding(directory, patience=0.0):
        raise AssertionError("held while a dispatch works in it")
    with holding(directory), pytest.raises(PartialBusy), working_in(directory, "d2"):
        raise AssertionError("a dispatch works in it while it is held")
    with holding(directory.with_name("gone.part"), patience=0.0):
        pass  # a missing directory needs no lock
    assert not directory.with_name("gone.part").exists()


def test_files_hard_linked_into_the_archive_are_not_overwritten(directory: Path, tmp_path: Path) -> None:
    """Storage hard-links the files into the archive; after an interrupted commit the links remain."""
    with working_in(directory, "d1"):
        (directory / "x.info.json").write_text("archived")
        (directory / "x.f137.mp4.part").write_text("half")
    (tmp_path / "archived").hardlink_to(directory / "x.info.json")
    with working_in(directory, "d2"):
        (directory / "x.info.json").write_text("of a later download")
        assert (directory / "x.f137.mp4.part").read_text() == "half"
    assert (tmp_path / "archived").read_text() == "archived"


def test_any_directory_can_be_removed_once_no_dispatch_works_in_it(directory: Path) -> None:
    with working_in(directory, "d1"):
        assert not remove_partial(directory, None)
    assert remove_partial(directory, None)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside, directory = tmp_path / "outside", tmp_path / "a.part"
    outside.mkdir()
    (outside / "film").write_bytes(b"theirs")
    directory.symlink_to(outside)
    with pytest.raises(NotAFile, match="symbolic link"), working_in(directory, "d1"):
        pass
    assert not remove_partial(directory, None)
    directory.unlink()
    directory.mkdir()
    (directory / "film").symlink_to(outside / "film")
    with working_in(directory, "d1"):
        assert not (directory / "film").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["film"]
