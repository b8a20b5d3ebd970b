"""Backups of our state: jobs.db, catalogue.db, watching.db and the work plans. All calls block: use a thread.

    DIR/backup.json         what the backup has, with digests; written last
    DIR/jobs.db             catalogue.db and watching.db: consistent copies, also while services run
    DIR/work_plans/*.json
    DIR/configuration.json  the configuration as `config show`, without secrets; for people, it is not restored

The archive itself, logs and the broker's store are not part of it (docs/decisions/0020).
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ValidationError

from bus.fault_injection import fault_point
from services.common.errors import InvalidRequest, StateDamaged, StorageFull
from services.common.infra.disk_full import NO_SPACE
from services.common.infra.files import locked, sha256, sync_directory, write_atomically
from services.common.infra.sqlite_files import copy_database, damage_in, find_damage
from services.common.settings.load import Config, describe
from services.jobs.offline import database_path, mark_restored
from services.storage.index.schema import catalogue_path
from services.storage.offline import forget_scans
from services.storage.watching import watching_path
from ytarchive.running_stack import held_stopped

_CONTENTS = "backup.json"
_JOBS, _CATALOGUE, _WATCHING, _PLANS = "jobs.db", "catalogue.db", "watching.db", "work_plans"


class BackupFile(BaseModel):
    name: str  # relative to the backup's folder
    size: int
    sha256: str


class Backup(BaseModel):
    """backup.json. `left_out`: why a file is not in it; `directory` is where it is now."""

    format: Literal[1] = 1
    ytarchive: str
    created_at: AwareDatetime
    files: list[BackupFile]
    left_out: list[str] = []
    directory: Path | None = None


class Restored(BaseModel):
    """`set_aside`: the new names of the files that were there before."""

    directory: Path
    created_at: AwareDatetime
    restored: list[Path]
    set_aside: list[Path]


# --- backup -----------------------------------------------------------------------------------------------------------


def write_backup(config: Config, directory: Path | None) -> Backup:
    """Write a backup to a new folder, by default below `{base_data_dir}/backups`. It appears complete or not at all.

    Raises InvalidRequest when the folder is not empty or cannot be written, StateDamaged, StorageFull.
    """
    now = datetime.now(UTC)
    target = (directory or config.storage.base_data_dir / "backups" / f"{now:%Y%m%dT%H%M%SZ}").absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InvalidRequest(f"{target} exists and is not empty. Name a new folder.")
    try:
        return _write(config, target, now)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(f"There is no space for the backup {target}. Free some, or name another disk.") from error
        raise InvalidRequest(
            f"The backup {target} cannot be written ({error.strerror}). Name another folder."
        ) from error


def _write(config: Config, target: Path, now: datetime) -> Backup:
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(config.storage.run_dir / "backup.lock"):
        for killed in target.parent.glob(f".{target.name}.*.new"):
            shutil.rmtree(killed)
        staging = target.with_name(f".{target.name}.{uuid4().hex[:8]}.new")
        staging.mkdir(mode=0o700)
        try:
            left_out = list(_copy_all(config, staging))
            files = [_described(path, staging) for path in sorted(staging.rglob("*")) if path.is_file()]
            written = Backup(ytarchive=version("ytarchive"), created_at=now, files=files, left_out=left_out)
            write_atomically(staging / _CONTENTS, written.model_dump_json(indent=2, exclude={"directory"}), mode=0o600)
            fault_point("backup.complete")
            staging.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    sync_directory(target.parent)
    return written.model_copy(update={"directory": target})


def _copy_all(config: Config, staging: Path) -> Iterator[str]:
    """Copy everything. Yield why a file is left out."""
    database, catalogue = database_path(config), catalogue_path(config.storage.base_data_dir)
    if database.exists():
        copy_database(database, staging / _JOBS)
    fault_point("backup.jobs_copied")
    try:
        if catalogue.exists():
            copy_database(catalogue, staging / _CATALOGUE)
    except StateDamaged as error:
        yield f"{error.message} It is rebuilt from the archive."
    watching = watching_path(config.storage.base_data_dir)
    try:
        if watching.exists():
            copy_database(watching, staging / _WATCHING)
    except StateDamaged as error:
        yield f"{error.message} It only has what was watched; the next start sets it aside."
    plans = staging / _PLANS
    plans.mkdir(mode=0o700)
    for path in sorted(config.storage.work_plans_dir.glob("*.json")):
        write_atomically(plans / path.name, path.read_bytes(), mode=0o600)
    write_atomically(staging / "configuration.json", json.dumps(describe(config), indent=2), mode=0o600)


def _described(path: Path, folder: Path) -> BackupFile:
    return BackupFile(name=str(path.relative_to(folder)), size=path.stat().st_size, sha256=sha256(path))


# --- restoration ------------------------------------------------------------------------------------------------------


def restore_backup(config: Config, directory: Path) -> Restored:
    """Put the files of a backup in place while no stack runs. What is there is kept as `NAME.before-TIME`; work plans
    that the backup does not have stay. Can be repeated after it was interrupted: no file is ever missing.

    Raises InvalidRequest while a stack runs, and for a folder that is no complete, unchanged backup.
    """
    directory = directory.absolute()
    backup = read_backup(directory)
    with held_stopped(config):
        ending = f"before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        staged: list[tuple[Path, Path]] = []  # hidden copy, target
        try:
            for source, target in _targets(config, directory, backup):
                staged.append((_stage(source, target), target))
            for hidden, target in staged:
                if target == catalogue_path(config.storage.base_data_dir):
                    forget_scans(hidden, config.storage)
                elif target == database_path(config):
                    mark_restored(hidden, backup.created_at)
            fault_point("restore.staged")
            aside = [kept for hidden, target in staged if (kept := _exchange(hidden, target, ending))]
        finally:
            for hidden, _target in staged:
                hidden.unlink(missing_ok=True)
    return Restored(
        directory=directory,
        created_at=backup.created_at,
        restored=[target for _hidden, target in staged],
        set_aside=aside,
    )


def read_backup(directory: Path) -> Backup:
    """Check a backup completely. Raises InvalidRequest."""
    try:
        backup = Backup.model_validate_json((directory / _CONTENTS).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidRequest(f"{directory} is no complete backup: it has no {_CONTENTS}. Name another.") from error
    except ValidationError as error:
        raise InvalidRequest(f"{directory / _CONTENTS} is damaged, or of a newer ytarchive. Use another.") from error
    for file in backup.files:
        path = directory / file.name
        if ".." in Path(file.name).parts or not path.is_file() or sha256(path) != file.sha256:
            raise InvalidRequest(f"{path} is not as it was backed up: it is not restored. Use another backup.")
    for name in (_JOBS, _CATALOGUE, _WATCHING):
        path = directory / name
        if path.exists() and (reason := find_damage(path)):
            raise InvalidRequest(f"{path} is damaged ({reason}): it is not restored. Use another backup.")
    return backup


def _targets(config: Config, directory: Path, backup: Backup) -> Iterator[tuple[Path, Path]]:
    """Yield source and target of each file, jobs.db last: its mark starts what follows a restoration."""
    names = {file.name for file in backup.files}
    if _CATALOGUE in names:
        yield directory / _CATALOGUE, catalogue_path(config.storage.base_data_dir)
    if _WATCHING in names:
        yield directory / _WATCHING, watching_path(config.storage.base_data_dir)
    for name in sorted(names):
        if name.startswith(f"{_PLANS}/"):
            target = config.storage.work_plans_dir / Path(name).name
            if not target.exists() or target.read_bytes() != (directory / name).read_bytes():
                yield directory / name, target
    if _JOBS in names:
        yield directory / _JOBS, database_path(config)


def _stage(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    for killed in target.parent.glob(f".{target.name}.restored*"):
        killed.unlink()
    hidden = target.with_name(f".{target.name}.restored")
    write_atomically(hidden, b"", mode=0o600)
    shutil.copyfile(source, hidden)
    return hidden


def _exchange(hidden: Path, target: Path, ending: str) -> Path | None:
    """Replace the target at once. Return the name under which it is kept, None if there was none."""
    with hidden.open("rb") as file:
        os.fsync(file.fileno())
    aside = target.with_name(f"{target.name}.{ending}")
    if target.suffix == ".db":
        _fold_log(target, aside)
    existed = target.exists()
    if existed:
        os.link(target, aside)
    hidden.replace(target)
    sync_directory(target.parent)
    fault_point(f"restore.exchanged.{target.name}")
    return aside if existed else None


def _fold_log(database: Path, aside: Path) -> None:
    """Write the log of transactions into its database: SQLite would apply it to the new file."""
    log = database.with_name(f"{database.name}-wal")
    if not log.exists():
        return
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.DatabaseError as error:
        if damage_in(error) is None:
            raise
    if log.exists():
        log.replace(aside.with_name(f"{aside.name}-wal"))
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
