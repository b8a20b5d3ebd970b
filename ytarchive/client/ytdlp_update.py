"""`ytarchive update`: install a yt-dlp below the data directory, try it, and use it from then on; or go back."""

import asyncio
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp

from pydantic import BaseModel, ValidationError

from services.common.errors import ConfigError, InvalidRequest, ServiceUnavailable
from services.common.infra.files import LockHeld, locked
from services.common.infra.private_files import FOLDER_MODE, protect
from services.common.settings.load import API_KEY_VARIABLE, PREFIX, Config
from services.common.settings.masking import mask_text
from services.common.settings.sections import YouTube
from services.common.youtube import options, tools
from services.common.youtube.error_facts import ErrorFacts
from services.common.youtube.process import ChildCrashed, ChildFailed, YtDlpChild
from services.common.youtube.settings import ChildSettings
from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.installations import (
    Installations,
    Update,
    UpdateRecord,
    digest_of,
    is_wanted,
    this_python,
)

_LINES = 5  # of pip's errors
_STAGE = ".staged-"


class YtDlpVersions(BaseModel):
    """`version`: the one in use, `folder`: of an update, `installed`: the one that was installed with ytarchive.
    `before`: the one that was in use before this command, `back`: the one that `--back` leads to. `newest`: on yt-dlp's
    release page, if it answered. `problem`: why an update is not used."""

    version: str | None
    folder: str | None
    installed: str | None
    before: str | None
    back: str | None = None
    newest: str | None = None
    problem: str | None = None

    @property
    def changed(self) -> bool:
        return self.version != self.before


class YtDlpUpdate:
    """`notify` shows a line about what is done now."""

    def __init__(self, config: Config, notify: Callable[[str], None]) -> None:
        self._config = config
        self._notify = notify
        self._installations = Installations.of(config.storage)
        self._before = self._installations.in_use().version

    async def check(self) -> YtDlpVersions:
        """Ask for the newest version; change nothing."""
        return self._versions(await self._ask_newest())

    async def install(self, version: str | None) -> YtDlpVersions:
        """Install a version, or the newest one if it is newer than the one in use. Raise InvalidRequest for a version
        that would not be used, ServiceUnavailable when it cannot be had or does not work: nothing has changed then."""
        if version is not None:
            self._check_version(version)
        newest = None if version else await self._ask_newest()
        current = self._installations.in_use()
        if current.version and (version == current.version or (newest and not _newer(newest, current.version))):
            return self._versions(newest)
        with self._exclusively():
            await self._install_staged(version)
        return self._versions(newest)

    def back(self) -> YtDlpVersions:
        """Use the version before the one in use, or the installed one. Raise InvalidRequest without an update."""
        with self._exclusively():
            record = self._read()
            if record.current is None:
                raise InvalidRequest(
                    f"yt-dlp {self._before} is the one that was installed with ytarchive: there is none to go back to."
                )
            self._installations.write(UpdateRecord(current=record.previous))
        return self._versions(None)

    async def _ask_newest(self) -> str | None:
        found = await release.ask_newest(self._config.updates.releases_url)
        if found is None:
            return None
        with suppress(OSError):  # it is only advice
            await asyncio.to_thread(release.keep_newest, self._config.storage.run_dir, found)
        return found.version

    def _check_version(self, version: str) -> None:
        if not re.fullmatch(release.VERSION, version):
            raise InvalidRequest(f"{version!r} is no version of yt-dlp; an example is {self._before}.")
        installed = release.installed()
        if _newer(release.lowest(), version):
            raise InvalidRequest(f"yt-dlp {version} is not supported: the oldest version is {release.lowest()}.")
        if not is_wanted(version, installed):
            raise InvalidRequest(
                f"yt-dlp {version} would not be used: {installed} was installed with ytarchive, and an update must be"
                " newer. `ytarchive update --back` leads to it."
            )

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Hold the lock of updates, in a folder that belongs to this user alone. Raise ConfigError, LockHeld."""
        protect(self._config.storage)
        folder = self._installations.folder
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        if (problem := self._installations.folder_problem()) is not None:
            raise ConfigError(f"{problem[0].upper()}{problem[1:]}.")
        try:
            with locked(folder / "update.lock"):
                yield
        except LockHeld as error:
            process = f" (process {error.pid})" if error.pid else ""
            raise ServiceUnavailable(f"Another `ytarchive update` runs{process}: wait for it.") from error

    async def _install_staged(self, version: str | None) -> None:
        stage = Path(mkdtemp(prefix=_STAGE, dir=self._installations.folder))  # pip may outlive a killed command
        try:
            self._notify(f"Installing yt-dlp {version or ''}".rstrip() + " …")
            await _pip_install(stage, version)
            found = _version_in(stage)
            if version is None and self._before is not None and not _newer(found, self._before):
                return
            self._check_version(found)
            self._notify(f"Trying yt-dlp {found} …")
            await _try(stage, self._before)
            self._use(stage, found)
        finally:
            _remove(stage)

    def _use(self, stage: Path, version: str) -> None:
        """Move the staged version to its place and name it as the current one. Remove those that are older than the one
        before it."""
        record = self._read()
        update = Update(version=version, digest=digest_of(stage), python=this_python())
        folder = self._installations.folder_of(version)
        _remove(folder)
        stage.rename(folder)
        before = record.current if record.current and record.current.version != version else record.previous
        usable = before is not None and self._installations.problem_of(before) is None
        self._installations.write(UpdateRecord(current=update, previous=before if usable else None))
        kept = {version, before.version if before else version}
        for path in self._installations.folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)  # the pip of a killed update may still write into its own

    def _read(self) -> UpdateRecord:
        try:
            return self._installations.read()
        except (OSError, ValidationError):
            return UpdateRecord()  # it is written anew

    def _versions(self, newest: str | None) -> YtDlpVersions:
        found = self._installations.in_use()
        record, installed = self._read(), release.installed()
        back = record.previous.version if record.previous else installed
        return YtDlpVersions(
            version=found.version,
            folder=str(found.folder) if found.folder else None,
            installed=installed,
            before=self._before,
            back=back if record.current else None,
            newest=newest,
            problem=found.problem,
        )


def _newer(version: str, than: str) -> bool:
    return release.is_newer(version, than)


async def _pip_install(folder: Path, version: str | None) -> None:
    """Let pip install yt-dlp and what it needs into a folder. Raise ServiceUnavailable with pip's words."""
    if importlib.util.find_spec("pip") is None:
        uv = f"uv pip install --python {sys.executable} -U '{release.REQUIREMENT}'"
        raise ServiceUnavailable(
            f"This Python ({sys.executable}) has no pip: `{sys.executable} -m ensurepip` adds it. Or update the yt-dlp"
            f" that was installed with ytarchive: `{uv}` where uv did it, else `{release.installation_command()}`."
        )
    wanted = f"=={version}" if version else f">={release.lowest()}"
    command = ["-m", "pip", "install", "--target", str(folder), "--only-binary", ":all:", "--no-compile", "--no-input"]
    pip = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # do not import from the current directory
        *("-W", "ignore"),  # whatever PYTHONWARNINGS says: they are about pip itself
        *command,
        "--quiet",
        "--disable-pip-version-check",
        f"{release.REQUIREMENT}{wanted}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_without_our_secrets() | {"PIP_USER": "0"},
    )
    try:
        _out, errors = await pip.communicate()
    finally:
        if pip.returncode is None:
            pip.kill()
            await pip.wait()
    if pip.returncode:
        words = mask_text(_last_words(errors.decode(errors="replace")))
        raise ServiceUnavailable(f"pip could not install yt-dlp{wanted}: {words}. Nothing has changed.")


def _last_words(errors: str) -> str:
    """Return pip's error lines, else its last line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no reason was given"]
    named = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return " ".join((named or lines)[-_LINES:]).rstrip(".")


def _without_our_secrets() -> dict[str, str]:
    """Return the environment for pip, which has variables of its own (PIP_INDEX_URL, HTTPS_PROXY)."""
    return {name: text for name, text in os.environ.items() if name != API_KEY_VARIABLE and not name.startswith(PREFIX)}


def _version_in(folder: Path) -> str:
    for found in metadata.distributions(name="yt-dlp", path=[str(folder)]):
        return found.version
    raise ServiceUnavailable("pip installed no yt-dlp. Nothing has changed.")


async def _try(folder: Path, in_use: str | None) -> None:
    """Let a child try the yt-dlp in a folder. Raise ServiceUnavailable if it does not work with us."""
    base = options.base_options(YouTube(), socket_timeout=5.0, ffmpeg=tools.find_ffmpeg())
    environment = options.child_environment(
        YouTube(), os.environ, scripts=tools.scripts_directory(), code=tools.code_directory()
    )
    environment["PYTHONPATH"] = f"{folder}:{environment['PYTHONPATH']}"
    child = YtDlpChild(ChildSettings(base, environment, patience=60.0))

    async def ignore(_message: dict[str, object]) -> None:
        """The version is known already."""

    try:
        await child.run("try", {"folder": str(folder)}, on_message=ignore)
    except (ChildFailed, ChildCrashed) as error:
        why = _described(error.facts) if isinstance(error, ChildFailed) else str(error)
        raise ServiceUnavailable(
            f"yt-dlp {_version_in(folder)} does not work with this version of ytarchive, and is not used: {why}."
            f" {in_use or 'None'} stays in use."
        ) from error
    finally:
        await child.kill()


def _described(facts: ErrorFacts) -> str:
    return f"{facts.type}: {mask_text(facts.message)}".rstrip(".")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
