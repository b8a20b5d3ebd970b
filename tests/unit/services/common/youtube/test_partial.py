"""The directory of a fetch: whose it is, what of it is kept, who may remove it."""

from pathlib import Path

import pytest

from services.common.youtube.partial import PartialBusy, holding, keep_if_same, media_of, remove_partial, working_in

VIDEO = "dQw4w9WgXcQ"
STREAM = {"format_id": "137", "filesize": 1000}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / f"{VIDEO}.part"


def test_only_one_works_in_it(directory: Path) -> None:
    with working_in(directory, "d1"):
        with pytest.raises(PartialBusy), working_in(directory, "d2"):
            raise AssertionError("two at once")
        assert not remove_partial(directory, "d1")
    with working_in(directory, "d2"):
        assert directory.is_dir()


def test_it_goes_when_its_own_dispatch_is_archived(directory: Path) -> None:
    with working_in(directory, "d1"):
        (directory / "left.over").touch()
    assert not remove_partial(directory, "d0")
    assert remove_partial(directory, "d1")
    assert not directory.exists()
    assert not remove_partial(directory, "d1")


def test_a_later_dispatch_owns_it(directory: Path) -> None:
    for dispatch in ("d1", "d2"):
        with working_in(directory, dispatch):
            pass
    assert not remove_partial(directory, "d1")
    assert remove_partial(directory, "d2")


def test_a_directory_of_others_is_left_alone(directory: Path) -> None:
    directory.mkdir(parents=True)
    assert not remove_partial(directory, "d1")
    assert directory.exists()


def test_media_are_kept_for_the_same_streams_only(directory: Path) -> None:
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


def test_an_earlier_dispatch_of_the_same_fetch_may_be_cleared_away(tmp_path: Path) -> None:
    directory = tmp_path / "v.part"
    with working_in(directory, "fetch-a.9"):
        pass

    assert not remove_partial(directory, "fetch-a.8"), "a later dispatch went on with it"
    assert not remove_partial(directory, "fetch-b.10"), "another fetch went on with it"
    assert remove_partial(directory, "fetch-a.10"), "a dispatch that never began leaves what the one before it left"


def test_nobody_downloads_into_it_while_its_files_are_taken(directory: Path) -> None:
    with working_in(directory, "d1"), pytest.raises(PartialBusy), holding(directory, patience=0.0):
        raise AssertionError("taken while it is worked in")
    with holding(directory), pytest.raises(PartialBusy), working_in(directory, "d2"):
        raise AssertionError("worked in while it is taken")
    with holding(directory.with_name("gone.part"), patience=0.0):
        pass  # what is gone needs no lock
    assert not directory.with_name("gone.part").exists()


def test_what_the_archive_shares_is_not_written_into(directory: Path, tmp_path: Path) -> None:
    """A take-in links the files; one that was cut short leaves them linked."""
    with working_in(directory, "d1"):
        (directory / "x.info.json").write_text("archived")
        (directory / "x.f137.mp4.part").write_text("half")
    (tmp_path / "archived").hardlink_to(directory / "x.info.json")
    with working_in(directory, "d2"):
        (directory / "x.info.json").write_text("of a later download")
        assert (directory / "x.f137.mp4.part").read_text() == "half"
    assert (tmp_path / "archived").read_text() == "archived"


def test_what_nobody_owns_goes_whoever_left_it(directory: Path) -> None:
    with working_in(directory, "d1"):
        assert not remove_partial(directory, None)
    assert remove_partial(directory, None)
