"""Modes of our own state: databases, logs, work plans, registry and run files are for their owner only. The archive has
the modes of the umask, because others may read it (a NAS)."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.common.errors import ConfigError
from services.common.infra.files import writable
from services.common.infra.writable_folders import expect_writable
from services.common.settings.sections import Storage

_REMEDY = "Correct HOME, free some space or grant access, or set another [storage] base_data_dir."
FILE_MODE = 0o600
FOLDER_MODE = 0o700


def protect(storage: Storage) -> None:
    """Create the data folder for its owner only, and take the rights of others from the state in it. Blocks.

    A folder that contains an archive root stays open for others. What lies outside of the data folder, or belongs to
    another user, is not changed. Raises ConfigError when the folder cannot be created, or not be written to.
    """
    base = storage.base_data_dir
    mode = 0o777 if any(root.is_relative_to(base) for root in storage.all_roots) else FOLDER_MODE
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            base.mkdir(mode=mode)
    except OSError as error:
        raise ConfigError(f"The data folder {base} cannot be created ({error.strerror}). {_REMEDY}") from error
    if not writable(base):
        raise ConfigError(f"The data folder {base} is not writable. {_REMEDY}")
    expect_writable(storage.run_dir, storage, "running system")
    for path in _state_files(storage):
        with suppress(FileNotFoundError, PermissionError):
            found = path.lstat().st_mode
            if stat.S_ISREG(found) and stat.S_IMODE(found) & ~FILE_MODE:
                path.chmod(FILE_MODE)


def _state_files(storage: Storage) -> Iterator[Path]:
    base = storage.base_data_dir.resolve()
    for folder, pattern in (
        (storage.base_data_dir, "catalogue.db*"),
        (storage.jobs_dir, "jobs.db*"),
        (storage.registry_dir, "*.json*"),
        (storage.work_plans_dir, "*.json*"),
        (storage.logs_dir, "*.jsonl*"),
        (storage.run_dir, "*"),
    ):
        if folder.resolve().is_relative_to(base):
            yield from folder.glob(pattern)


def create_private(path: Path) -> None:
    """Create an empty file for its owner only. One that exists is not changed, and not opened: closing it would release
    SQLite's locks of this process."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
