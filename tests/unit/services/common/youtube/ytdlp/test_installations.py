"""Which yt-dlp is used: the installed one, or an update below the data directory."""

import os
from pathlib import Path

import pytest

from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.installations import (
    Installations,
    Update,
    UpdateRecord,
    YtDlpInUse,
    digest_of,
    this_python,
)

NEWER, OLDER = "2099.1.1", "2020.1.1"
INSTALLED = release.installed()


@pytest.fixture
def installations(tmp_path: Path) -> Installations:
    """Folder with an update to NEWER in use."""
    found = Installations(tmp_path / "yt-dlp")
    put(found, NEWER)
    return found


def put(installations: Installations, version: str) -> Update:
    folder = installations.folder_of(version)
    (folder / "yt_dlp").mkdir(parents=True)
    installations.folder.chmod(0o700)
    folder.chmod(0o700)
    (folder / "yt_dlp" / "__init__.py").write_text(f"# {version}\n")
    update = Update(version=version, digest=digest_of(folder), python=this_python())
    installations.write(UpdateRecord(current=update))
    return update


def test_without_an_update_the_installed_version_is_used(tmp_path: Path) -> None:
    assert INSTALLED is not None
    assert Installations(tmp_path / "yt-dlp").in_use() == YtDlpInUse(INSTALLED)
    assert list(tmp_path.iterdir()) == []


def test_an_update_is_used_and_noticed_at_once(installations: Installations) -> None:
    assert installations.in_use() == YtDlpInUse(NEWER, installations.folder_of(NEWER))
    put(installations, "2099.2.1")
    assert installations.in_use() == YtDlpInUse("2099.2.1", installations.folder_of("2099.2.1"))


def test_a_newer_installed_version_comes_first(installations: Installations) -> None:
    put(installations, OLDER)
    assert installations.in_use() == YtDlpInUse(INSTALLED)


def test_compiled_files_change_nothing(installations: Installations) -> None:
    compiled = installations.folder_of(NEWER) / "yt_dlp" / "__pycache__"
    compiled.mkdir()
    (compiled / "some.pyc").write_bytes(b"x")
    assert installations.in_use().version == NEWER


def damaged(installations: Installations) -> None:
    (installations.folder_of(NEWER) / "yt_dlp" / "__init__.py").write_text("")


def half(installations: Installations) -> None:
    (installations.folder_of(NEWER) / "yt_dlp" / "__init__.py").unlink()


def missing(installations: Installations) -> None:
    installations.folder_of(NEWER).rename(installations.folder / "elsewhere")


def linked(installations: Installations) -> None:
    missing(installations)
    installations.folder_of(NEWER).symlink_to(installations.folder / "elsewhere")


def open_to_a_group(installations: Installations) -> None:
    installations.folder_of(NEWER).chmod(0o770)


def open_to_all(installations: Installations) -> None:
    installations.folder.chmod(0o777)


def of_another_python(installations: Installations) -> None:
    current = installations.read().current
    assert current is not None
    installations.write(UpdateRecord(current=current.model_copy(update={"python": "cpython-27-plan9"})))


def unreadable_record(installations: Installations) -> None:
    (installations.folder / "current.json").write_text("{")


def outside_of_the_folder(installations: Installations) -> None:
    record = (installations.folder / "current.json").read_text()
    (installations.folder / "current.json").write_text(record.replace(NEWER, "../elsewhere"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (damaged, "not those that were tried"),
        (half, "not those that were tried"),
        (missing, "No such file"),
        (linked, "is no folder"),
        (open_to_a_group, "other users can write"),
        (open_to_all, "other users can write"),
        (of_another_python, "another Python (cpython-27-plan9)"),
        (unreadable_record, "cannot be read"),
        (outside_of_the_folder, "cannot be read"),
    ],
)
def test_what_was_not_tried_or_is_not_ours_alone_is_not_used(
    installations: Installations, change: object, why: str
) -> None:
    assert callable(change)
    change(installations)
    found = installations.in_use()
    assert (found.version, found.folder) == (INSTALLED, None)
    assert found.problem is not None and why in found.problem and "`ytarchive update`" in found.problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_not_used(installations: Installations) -> None:
    os.chown(installations.folder_of(NEWER), 12345, -1)
    found = installations.in_use()
    assert found.folder is None and "uid 12345" in (found.problem or "")
