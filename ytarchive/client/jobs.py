"""Where `jobs list` and `jobs show` look: a running system over REST, else jobs.db as it lies on the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from services.common.errors import InvalidRequest, NotFound
from services.common.models import Item, Job
from services.common.settings.load import Config
from services.jobs.offline import OfflineJobs
from services.jobs.rest_models import ItemList, ItemQuery, JobList, JobQuery
from ytarchive.cli.render.text import safe_text
from ytarchive.client.endpoints import find_system
from ytarchive.client.rest import Rest

PAGE = 500
ITEMS = 1000


class JobSource(Protocol):
    async def jobs(self, status: str | None, limit: int, offset: int) -> JobList: ...
    async def job(self, job_id: str) -> Job:
        """Raises NotFound."""

    async def items(self, job_id: str, offset: int) -> ItemList: ...


class RunningJobs:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def jobs(self, status: str | None, limit: int, offset: int) -> JobList:
        chosen = {"status": status} if status else {}
        return JobList.model_validate(await self._rest.get("jobs", limit=limit, offset=offset, **chosen))

    async def job(self, job_id: str) -> Job:
        data = await self._rest.get(f"jobs/{job_id}")
        return Job.model_validate(data["job"])

    async def items(self, job_id: str, offset: int) -> ItemList:
        return ItemList.model_validate(await self._rest.get(f"jobs/{job_id}/items", limit=ITEMS, offset=offset))


class StoppedJobs:
    def __init__(self, offline: OfflineJobs) -> None:
        self._offline = offline

    async def jobs(self, status: str | None, limit: int, offset: int) -> JobList:
        query = {"limit": limit, "offset": offset, "status": status}
        return await self._offline.jobs(JobQuery.model_validate(query))

    async def job(self, job_id: str) -> Job:
        job = await self._offline.find(job_id)
        if job is None:
            raise NotFound(f"There is no job {safe_text(job_id)}.")
        return job

    async def items(self, job_id: str, offset: int) -> ItemList:
        return await self._offline.items(job_id, ItemQuery(limit=ITEMS, offset=offset))


@asynccontextmanager
async def open_jobs(config: Config) -> AsyncIterator[JobSource]:
    system = await find_system(config)
    if system is not None:
        async with Rest.open(system.services["jobs"]) as rest:
            yield RunningJobs(rest)
        return
    async with OfflineJobs.open(config) as offline:
        yield StoppedJobs(offline)


async def find_job(source: JobSource, wanted: str) -> Job:
    """By its id or a prefix of it that no other job has. Raises NotFound, InvalidRequest."""
    matches: list[Job] = []
    offset = 0
    while wanted:
        page = await source.jobs(None, PAGE, offset)
        matches += [job for job in page.jobs if job.job_id.startswith(wanted)]
        exact = [job for job in matches if job.job_id == wanted]
        if exact:
            return exact[0]
        offset += PAGE
        if offset >= page.total:
            break
    if len(matches) > 1:
        ids = ", ".join(job.job_id for job in matches[:5])
        raise InvalidRequest(f"{safe_text(wanted)} begins the ids of {len(matches)} jobs ({ids}): give more of it.")
    if not matches:
        raise NotFound(f"There is no job {safe_text(wanted)}: `ytarchive jobs list` shows all.")
    return matches[0]


async def all_items(source: JobSource, job_id: str) -> list[Item]:
    found: list[Item] = []
    while True:
        page = await source.items(job_id, len(found))
        found += page.items
        if not page.items or len(found) >= page.total:
            return found
