"""The versions of yt-dlp on this machine: the one that was installed with us, and updates below
`{base_data_dir}/yt-dlp`, which `ytarchive update` fills.

    current.json    the update in use and the one before it; replaced atomically
    {version}/      an update with the packages that it needs, as `pip install --target` writes them

Only child processes import yt-dlp, apart from the syntax check of format selectors; a child imports the one in use. An
update is used while it is newer than the installed version, belongs to this user alone, and has the files that were
tried.
"""

import hashlib
import os
import stat
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.infra.files import read_regular, write_atomically
from services.common.settings.sections import Storage
from services.common.youtube.ytdlp import release

_COMPILED = "__pycache__"  # Python writes it when a child runs
_REMEDY = "`ytarchive update` installs it again"


class Update(BaseModel):
    """An update that was tried. `digest`: of its files; `python`: the one that its packages are for."""

    model_config = ConfigDict(frozen=True)

    version: Annotated[str, Field(pattern=f"^{release.VERSION}$")]
    digest: str
    python: str


class UpdateRecord(BaseModel):
    """current.json. `current` None: the installed version is used."""

    model_config = ConfigDict(frozen=True)

    current: Update | None = None
    previous: Update | None = None


@dataclass(frozen=True)
class YtDlpInUse:
    """`version` None: there is no yt-dlp. `folder`: of the update; None: the installed version is used. `problem`: why
    an update is not used, with the remedy."""

    version: str | None
    folder: Path | None = None
    problem: str | None = None


class Installations:
    """The choice is made anew at each call, so that a running service notices an update. All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = folder / "current.json"

    @classmethod
    def of(cls, storage: Storage) -> "Installations":
        return cls(storage.base_data_dir / "yt-dlp")

    def folder_of(self, version: str) -> Path:
        return self.folder / version

    def in_use(self) -> YtDlpInUse:
        """Return what children import. The first call for an update reads all its files."""
        installed = release.installed()
        try:
            update = self.read().current
        except (OSError, ValidationError):
            return YtDlpInUse(installed, problem=f"{self._record} cannot be read; {_REMEDY}")
        if update is None or not is_wanted(update.version, installed):
            return YtDlpInUse(installed)
        if (problem := self.problem_of(update)) is not None:
            return YtDlpInUse(installed, problem=f"the update of yt-dlp to {update.version} is not used: {problem}")
        return YtDlpInUse(update.version, self.folder_of(update.version))

    def read(self) -> UpdateRecord:
        """Return the record; an empty one before the first update. Raise OSError, ValidationError."""
        try:
            return UpdateRecord.model_validate_json(read_regular(self._record))
        except FileNotFoundError:
            return UpdateRecord()

    def write(self, record: UpdateRecord) -> None:
        write_atomically(self._record, record.model_dump_json(indent=2))

    def folder_problem(self) -> str | None:
        """Return why no update can be installed, with the remedy; None when one can. The folder exists."""
        return _problem_of_folder(self.folder)

    def problem_of(self, update: Update) -> str | None:
        """Return why an update must not be used, with the remedy; None when it may."""
        folder = self.folder_of(update.version)
        for path in (self.folder, folder):
            if (problem := _problem_of_folder(path)) is not None:
                return problem
        if update.python != this_python():
            return f"it was installed for another Python ({update.python}); {_REMEDY}"
        try:
            unchanged = _digest_once(folder, update.digest, folder.stat().st_mtime_ns) == update.digest
        except OSError as error:
            return f"{error.filename or folder}: {error.strerror}; {_REMEDY}"
        return None if unchanged else f"the files in {folder} are not those that were tried; {_REMEDY}"


def is_wanted(version: str, installed: str | None) -> bool:
    """Return whether an update is used: a newer version that came with the installation comes first."""
    return installed is None or release.is_newer(version, installed)


def this_python() -> str:
    """Return what compiled packages depend on."""
    return f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def digest_of(folder: Path) -> str:
    """Return a digest of the names and contents of all files, except compiled ones. Raise OSError."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if _COMPILED not in path.relative_to(folder).parts and (path.is_symlink() or path.is_file()):
            content = b"" if path.is_symlink() else path.read_bytes()
            kind = "link" if path.is_symlink() else "file"
            whole.update(f"{path.relative_to(folder)}\0{kind}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=8)
def _digest_once(folder: Path, _expected: str, _changed_at: int) -> str:
    """Return the digest of a folder, which a process computes once for each update. Raise OSError."""
    return digest_of(folder)


def _problem_of_folder(path: Path) -> str | None:
    """Return why code must not be loaded from a folder: others could put theirs into it."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"{path}: {error.strerror}; {_REMEDY}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is no folder; remove it, then {_REMEDY}"
    if found.st_uid != os.geteuid():
        return f"{path} belongs to another user (uid {found.st_uid}); remove it, then {_REMEDY}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users can write to {path}; remove it, then {_REMEDY}"
    return None
