"""The modes of our own state."""

from pathlib import Path

import pytest

from services.common.infra.private_files import protect
from services.common.settings.sections import Storage


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(
        base_data_dir=tmp_path / "state" / "data", base_path=tmp_path / "archive", logs_dir=tmp_path / "logs"
    )


def test_a_new_data_folder_is_for_its_owner_only(storage: Storage) -> None:
    protect(storage)
    assert mode_of(storage.base_data_dir) == 0o700
    assert mode_of(storage.base_data_dir.parent) == 0o755


def test_a_data_folder_with_an_archive_root_is_open_for_others(storage: Storage) -> None:
    protect(storage.model_copy(update={"roots": (storage.base_data_dir / "archive",)}))
    assert mode_of(storage.base_data_dir) == 0o755


def test_only_our_own_files_in_the_data_folder_are_closed_for_others(storage: Storage, tmp_path: Path) -> None:
    ours = [
        storage.base_data_dir / "catalogue.db-wal",
        storage.jobs_dir / "jobs.db",
        storage.work_plans_dir / "plan.json",
        storage.registry_dir / "services.json",
    ]
    outside = tmp_path / "outside"
    others = [storage.base_data_dir / "notes.txt", storage.logs_dir / "2026-01-01.jsonl", outside]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o644)
    (storage.work_plans_dir / "link.json").symlink_to(outside)
    protect(storage)
    assert [mode_of(path) for path in ours] == [0o600] * 4
    assert [mode_of(path) for path in others] == [0o644] * 3
