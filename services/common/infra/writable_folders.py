"""Folders of the configuration that cannot be written to: an error that names the key."""

from pathlib import Path

from services.common.errors import ConfigError
from services.common.infra.files import writable
from services.common.settings.sections import Storage


def expect_writable(path: Path, storage: Storage, user: str) -> None:
    """Raise ConfigError when a folder, or its nearest existing parent, is not writable. `user`: who needs it, such as
    `jobs service`. Blocks."""
    if not writable(path):
        raise unwritable(path, storage, user)


def unwritable(path: Path, storage: Storage, user: str, why: str = "") -> ConfigError:
    """Return the error. A folder below one that cannot be written to either is not the cause."""
    around = (folder for folder in (storage.base_data_dir, storage.base_path) if path.is_relative_to(folder))
    path = next((folder for folder in around if not writable(folder)), path)
    key = storage.key_of(path)
    return ConfigError(
        f"The {user} cannot write to {path}{f' ({why})' if why else ''}. Grant write access, or set [storage] {key} to"
        " another folder.",
        key=f"storage.{key}",
        path=str(path),
    )
