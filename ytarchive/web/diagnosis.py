"""What is wrong with an installation, and what to do: the checks of `doctor`, the versions, the dead letters."""

import asyncio
import os
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from bus.dead_letter_store import DeadLetterStore
from services.common.events import DeadLettered
from services.common.settings.load import Config
from services.common.web.paging import Page, PageQuery
from services.common.web.routing import Call, Route
from services.common.youtube.ytdlp.installations import Installations
from ytarchive.client.connect import connected
from ytarchive.client.dead_letters import DeadLetter, DeadLettersClient
from ytarchive.doctor.examination import examine
from ytarchive.doctor.finding import Finding, healthy
from ytarchive.doctor.versions import versions
from ytarchive.web.services import Services


class DoctorQuery(BaseModel):
    """`online`: also check the proxy (or YouTube) and, with an API key, the Data API, which costs one unit of quota."""

    model_config = ConfigDict(extra="forbid")

    online: bool = False


class Diagnosis(BaseModel):
    """The checks of `ytarchive doctor`. `healthy`: no check found a problem; warnings do not count."""

    examined_at: AwareDatetime
    online: bool
    healthy: bool
    checks: list[Finding]


class Version(BaseModel):
    """`version` null: the program was not found, or does not run."""

    name: str
    version: str | None


class Versions(BaseModel):
    programs: list[Version]


class DeadLetterRow(BaseModel):
    """A message that could not be handled. `number` is what `ytarchive events dead show` takes. `unreadable`: the
    message was not valid, which is the fault of its sender."""

    number: int
    at: AwareDatetime
    type: str
    consumer: str
    error: str
    unreadable: bool
    trace_id: str
    job_id: str | None
    video_id: str | None


class DeadLetterPage(Page):
    """Newest first."""

    dead_letters: list[DeadLetterRow]


class Examinations:
    """Runs the checks, one examination at a time: they start programs and read the disks. `config`: that of this
    process; its file is read again, because it may have been changed since."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._one_at_a_time = asyncio.Lock()

    async def examine(self, *, online: bool) -> Diagnosis:
        async with self._one_at_a_time:
            found = await examine(self._config.source, os.environ, online=online)
        return Diagnosis(examined_at=datetime.now(UTC), online=online, healthy=healthy(found), checks=found)

    async def versions(self) -> Versions:
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._versions)
        return Versions(programs=[Version(name=name, version=version) for name, version in found.items()])

    def _versions(self) -> dict[str, str | None]:
        in_use = Installations.of(self._config.storage).in_use().version
        return {**versions(self._config.download.ffmpeg), "yt-dlp": in_use}


async def diagnose(_call: Call, query: DoctorQuery, examinations: Examinations) -> Diagnosis:
    """All checks, with a remedy for each that found something."""
    return await examinations.examine(online=query.online)


async def show_versions(_call: Call, examinations: Examinations) -> Versions:
    """This program and those that it uses."""
    return await examinations.versions()


async def list_dead_letters(_call: Call, query: PageQuery, services: Services) -> DeadLetterPage:
    """The broker keeps them for 14 days."""
    async with connected(await services.system()) as bus:
        letters, total = await DeadLettersClient(DeadLetterStore(bus, DeadLettered)).newest(query.offset + query.limit)
    return DeadLetterPage(
        dead_letters=[_row(letter) for letter in letters[query.offset :]],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


def _row(letter: DeadLetter) -> DeadLetterRow:
    event = letter.event
    return DeadLetterRow(
        number=letter.number,
        at=letter.at,
        type=event.type,
        consumer=event.consumer,
        error=event.error,
        unreadable=event.unreadable,
        trace_id=letter.trace_id,
        job_id=event.job_id,
        video_id=event.video_id,
    )


ROUTES = (
    Route(
        "GET", "/api/v1/doctor", diagnose, "Checks of this installation, with remedies",
        query=DoctorQuery, response=Diagnosis, scope="operate", quiet=True,
    ),
    Route("GET", "/api/v1/versions", show_versions, "Versions of all programs", response=Versions, quiet=True),
    Route(
        "GET", "/api/v1/dead-letters", list_dead_letters, "Messages that could not be handled, newest first",
        query=PageQuery, response=DeadLetterPage, scope="operate", quiet=True,
    ),
)  # fmt: skip
