"""GET /api/v1/attention: what needs a person, from all services, each with what to do. It decides nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from bus import BusError
from bus.dead_letter_store import DeadLetterStore
from services.common.domain.failures import GoneReason
from services.common.domain.follows import Follow
from services.common.domain.jobs import Job
from services.common.errors import YTArchiveError
from services.common.events import DeadLettered
from services.common.models import HealthCheck, JobStatus
from services.common.names import SERVICES
from services.common.settings.load import Config
from services.common.web.routing import Call, Route
from services.jobs.rest_models import FollowList, JobList
from services.storage.fixity.report import VerificationPage, VerificationState
from services.storage.workplans.missing import MissingPage
from ytarchive.client.connect import connected
from ytarchive.client.endpoints import System
from ytarchive.web.services import Services

_KNOWN_FOR = 3.0  # seconds: several parts of the page, and tabs, ask for the same
_PATIENCE = 10.0  # seconds for one service
_JOBS_READ = 200
_REPAIRS_READ = 20
_FOLLOWS_READ = 500
_FAILURES = 3  # looks of a follow, one after the other: less often passes by itself
_NAMED = 3  # follows that are named
_LOGIN = frozenset({"SAPISID", "__Secure-1PSID", "__Secure-3PSID", "LOGIN_INFO"})

NeedKind = Literal["service", "disk", "blocked", "waiting", "damage", "follow", "cookies", "gaps", "dead_letters"]


class Need(BaseModel):
    """`urgent`: nothing, or not everything, is done until somebody acts. `until`: when it is tried again without them.
    `path`: the page that shows more."""

    kind: NeedKind
    urgent: bool
    title: str
    text: str
    path: str
    until: AwareDatetime | None = None


class Attention(BaseModel):
    """`unknown`: what could not be asked, and why."""

    needs: list[Need]
    unknown: list[str]


class AttentionReader:
    """Asks all services at once, at most every few seconds."""

    def __init__(self, config: Config, services: Services) -> None:
        self._config = config
        self._services = services
        self._lock = asyncio.Lock()
        self._known: Attention | None = None
        self._known_at = 0.0

    async def read(self) -> Attention:
        """Raise ServiceUnavailable when nothing runs."""
        async with self._lock:
            if self._known is None or time.monotonic() - self._known_at > _KNOWN_FOR:
                self._known = await self._ask(await self._services.system())
                self._known_at = time.monotonic()
            return self._known

    async def _ask(self, system: System) -> Attention:
        questions: Mapping[str, Callable[[System], AsyncIterator[Need]]] = {
            "health": _health_needs,
            "jobs": _job_needs,
            "follows": _follow_needs,
            "verification": _damage_needs,
            "work plans": _gap_needs,
            "dead letters": _letter_needs,
        }
        answers = await asyncio.gather(*(_answer(name, ask(system)) for name, ask in questions.items()))
        needs = [need for found, _problem in answers for need in found]
        needs += await asyncio.to_thread(_cookie_needs, self._config)
        needs.sort(key=lambda need: not need.urgent)
        return Attention(needs=_once(needs), unknown=[problem for _found, problem in answers if problem])


async def _answer(name: str, needs: AsyncIterator[Need]) -> tuple[list[Need], str | None]:
    found: list[Need] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            async for need in needs:
                found.append(need)
    except (YTArchiveError, BusError, ValidationError, TimeoutError) as error:
        return found, f"{name}: {error or 'no answer in time'}"
    return found, None


def _once(needs: Iterable[Need]) -> list[Need]:
    """A block of the source is told by the jobs that wait, else by the service."""
    listed = list(needs)
    told = any(need.kind == "waiting" for need in listed)
    return [need for need in listed if need.kind != "blocked" or not told]


# --- the services -------------------------------------------------------------------------------------------------


async def _health_needs(system: System) -> AsyncIterator[Need]:
    answers = await asyncio.gather(*(_health(system, name) for name in SERVICES))
    for name, (check, errors) in zip(SERVICES, answers, strict=True):
        for need in health_needs(name, check, errors):
            yield need


async def _health(system: System, name: str) -> tuple[HealthCheck | None, list[str]]:
    if name not in system.services:
        return None, [f"It does not run here. Start it with `ytarchive service {name}`."]
    try:
        async with system.rest(name) as rest:
            answer, _status = await rest.request_once("health")
        check = HealthCheck.model_validate(answer.data)
    except YTArchiveError as error:
        return None, [error.message]
    except ValidationError:
        return None, ["Its answer cannot be understood. `ytarchive health` shows all services."]
    details = (answer.error and answer.error.details) or {}
    return check, [str(text) for text in details.get("critical_errors", ())]


def health_needs(name: str, check: HealthCheck | None, errors: Iterable[str]) -> Iterable[Need]:
    """Pure."""
    if check is None:
        yield Need(kind="service", urgent=True, title=f"The {name} service is away", text=" ".join(errors),
                   path="/system")  # fmt: skip
        return
    for text in errors:
        yield Need(kind="service", urgent=True, title=f"The {name} service has a problem", text=text, path="/system")
    if check.checks.get("disk_space_available") is False:
        yield Need(
            kind="disk", urgent=True, title=f"The disk of the {name} service is full",
            text="Less than [storage] min_free is left, and nothing more is written. Make room, and it goes on.",
            path="/care",
        )  # fmt: skip
    blocked = (check.metrics or {}).get("blocked_until")
    if blocked:
        yield Need(
            kind="blocked", urgent=True, title="YouTube blocks this machine",
            text="Nothing is asked of it for a while, so that the block ends. Nothing has to be done.",
            path="/system", until=datetime.fromisoformat(str(blocked)),
        )  # fmt: skip


# --- jobs and the archive -----------------------------------------------------------------------------------------


async def _job_needs(system: System) -> AsyncIterator[Need]:
    async with system.rest("jobs") as rest:
        page = JobList.model_validate(await rest.get("jobs", status="open", sort="queue", limit=_JOBS_READ))
    for need in waiting_needs(page.jobs):
        yield need


def waiting_needs(jobs: Iterable[Job]) -> Iterable[Need]:
    """Return each reason for which jobs wait once. Pure."""
    reasons: dict[str, list[Job]] = {}
    for job in jobs:
        if job.waiting_for and not job.paused:
            reasons.setdefault(job.waiting_for, []).append(job)
    for reason, waiting in reasons.items():
        title = "A job waits" if len(waiting) == 1 else f"{len(waiting)} jobs wait"
        path = f"/j/{waiting[0].job_id}" if len(waiting) == 1 else "/activity"
        yield Need(kind="waiting", urgent=True, title=title, text=reason, path=path, until=waiting[0].retry_at)


async def _follow_needs(system: System) -> AsyncIterator[Need]:
    async with system.rest("jobs") as rest:
        page = FollowList.model_validate(await rest.get("follows", limit=_FOLLOWS_READ))
    for need in failing_needs(page.follows):
        yield need


def failing_needs(follows: Iterable[Follow]) -> Iterable[Need]:
    """Return the follows whose looks fail one after the other: one with its error, several together. Pure."""
    failing = [follow for follow in follows if follow.failures >= _FAILURES and not follow.paused]
    match failing:
        case []:
            return
        case [follow]:
            yield Need(
                kind="follow", urgent=False, title=f"{follow.title or follow.target} cannot be looked at",
                text=f"{follow.failures} looks failed, one after the other."
                f" {follow.error.message if follow.error else ''}".rstrip(),
                path=f"/follow/{follow.follow_id}", until=follow.next_look,
            )  # fmt: skip
        case _:
            names = [follow.title or follow.target for follow in failing]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield Need(
                kind="follow", urgent=False, title=f"{len(names)} follows cannot be looked at",
                text=f"{', '.join(names[:_NAMED])}{more}: at least {_FAILURES} looks at each failed, one after the"
                " other. They are looked at again by themselves.",
                path="/follow",
            )  # fmt: skip


async def _damage_needs(system: System) -> AsyncIterator[Need]:
    async with system.rest("storage") as rest:
        page = VerificationPage.model_validate(await rest.get("storage/verify", limit=1))
    last = page.verification
    if last is None or not last.damaged or await _repaired(system, last):
        return
    files = "file was" if last.damaged == 1 else "files were"
    repair = "Jobs fetch them again." if last.jobs else "They are not fetched again by themselves."
    yield Need(
        kind="damage", urgent=not last.jobs, title=f"{last.damaged} damaged {files} found",
        text=f"Damaged files are set aside. {repair}", path="/care",
    )  # fmt: skip


async def _repaired(system: System, verification: VerificationState) -> bool:
    """Return whether the jobs that fetch damaged files again have saved all of them."""
    if not verification.jobs or len(verification.jobs) > _REPAIRS_READ:
        return False
    async with system.rest("jobs") as rest:
        for job_id in verification.jobs:
            job = Job.model_validate((await rest.get(f"jobs/{job_id}/summary"))["job"])
            if job.status is not JobStatus.COMPLETED or job.counts.failed or job.counts.unavailable:
                return False
    return True


async def _gap_needs(system: System) -> AsyncIterator[Need]:
    async with system.rest("storage") as rest:
        page = MissingPage.model_validate(await rest.get("storage/missing", limit=1))
    gone = set(GoneReason)
    gaps = sum(count.videos for count in page.reasons if count.reason not in gone)
    if gaps:
        videos = "video" if gaps == 1 else "videos"
        yield Need(
            kind="gaps", urgent=False, title=f"{gaps} {videos} could not be saved, and may be had",
            text="What failed is tried again by itself after some days, or now if you say so.", path="/missing",
        )  # fmt: skip


async def _letter_needs(system: System) -> AsyncIterator[Need]:
    letters = 0
    async with connected(system) as bus:
        async for _letter in DeadLetterStore(bus, DeadLettered).letters():
            letters += 1
    if letters:
        messages = "message" if letters == 1 else "messages"
        yield Need(
            kind="dead_letters", urgent=False, title=f"{letters} {messages} could not be handled",
            text="`ytarchive events dead list` shows them; after the cause is removed, `replay` handles them again.",
            path="/system",
        )  # fmt: skip


# --- cookies ------------------------------------------------------------------------------------------------------


def _cookie_needs(config: Config) -> list[Need]:
    """The file may be on another machine, where the services run."""
    file = config.youtube.cookies_file
    text = ""
    if file is not None:
        with suppress(OSError, ValueError):
            text = file.expanduser().read_text("utf-8")
    expired = login_expired_at(text, datetime.now(UTC))
    if expired is None:
        return []
    return [
        Need(
            kind="cookies", urgent=True, title="The cookies of your account have expired",
            text=f"{file}: export them again, as docs/youtube.md describes. What only your account may see fails"
            " meanwhile.",
            path="/system",
        )
    ]  # fmt: skip


def login_expired_at(text: str, now: datetime) -> datetime | None:
    """Return when the login in a cookies file (Netscape format) has expired; None while it lasts, or without one.
    Pure."""
    ends: list[float] = []
    for line in text.splitlines():
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if len(fields) == 7 and fields[0].endswith("youtube.com") and fields[5] in _LOGIN and fields[4].isdecimal():
            ends.append(float(fields[4]))
    if not ends or 0.0 in ends or max(ends) > now.timestamp():  # 0: until the browser is closed
        return None
    return datetime.fromtimestamp(max(ends), UTC)


async def show_attention(_call: Call, reader: AttentionReader) -> Attention:
    """What needs a person now."""
    return await reader.read()


ROUTES = (Route("GET", "/api/v1/attention", show_attention, "What needs a person now", response=Attention, quiet=True),)
