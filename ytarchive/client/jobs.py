"""Jobs and their items: over REST where a system runs, else from jobs.db."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from services.common.domain.jobs import Item, Job
from services.common.errors import InvalidRequest, NotFound
from services.common.settings.load import Config
from services.jobs.offline import OfflineJobs
from services.jobs.rest_models import OPEN, ItemList, ItemQuery, JobDetail, JobList, JobQuery, JobSummary
from ytarchive.client.endpoints import System, find_system, query_of
from ytarchive.text import safe_text

if TYPE_CHECKING:
    from ytarchive.client.rest import Rest

_JOBS_PAGE = 500
_ITEMS_PAGE = 1000


class JobReader(Protocol):
    async def jobs(self, query: JobQuery) -> JobList:
        """Return a page of the jobs, newest first."""

    async def find(self, job_id: str) -> Job | None: ...
    async def summary(self, job_id: str) -> JobSummary: ...
    async def items(self, job_id: str, query: ItemQuery) -> ItemList: ...


class JobsClient:
    """`running`: jobs come from a running service, else from the file."""

    def __init__(self, reader: JobReader, *, running: bool) -> None:
        self._reader = reader
        self.running = running

    async def jobs(self, query: JobQuery) -> JobList:
        return await self._reader.jobs(query)

    async def job(self, job_id: str) -> Job:
        """Raises NotFound."""
        job = await self._reader.find(job_id)
        if job is None:
            raise NotFound(f"There is no job {safe_text(job_id)}. `ytarchive jobs list` shows all jobs.")
        return job

    async def summary(self, job_id: str) -> JobSummary:
        """Return a job with the videos that deserve attention. Raises NotFound."""
        return await self._reader.summary(job_id)

    async def open_jobs(self) -> list[Job]:
        """Return all jobs that have not ended, newest first."""
        return [job async for job in self._all(JobQuery(status=OPEN, limit=_JOBS_PAGE))]

    async def find(self, id_or_prefix: str) -> Job:
        """Return a job by its id, or by a prefix of it that no other job has. Raise NotFound, InvalidRequest."""
        matches: list[Job] = []
        if id_or_prefix:
            async for job in self._all(JobQuery(limit=_JOBS_PAGE)):
                if job.job_id == id_or_prefix:
                    return job
                if job.job_id.startswith(id_or_prefix):
                    matches.append(job)
        shown = safe_text(id_or_prefix)
        if not matches:
            raise NotFound(f"There is no job {shown}. `ytarchive jobs list` shows all jobs.")
        if len(matches) > 1:
            ids = ", ".join(job.job_id for job in matches[:5])
            raise InvalidRequest(f"{shown} is a prefix of {len(matches)} job ids ({ids}). Give more characters.")
        return matches[0]

    async def items(self, job_id: str) -> AsyncIterator[Item]:
        """Yield all items of a job."""
        query = ItemQuery(limit=_ITEMS_PAGE)
        while True:
            page = await self._reader.items(job_id, query)
            for item in page.items:
                yield item
            if page.next is None:
                return
            query = ItemQuery(limit=_ITEMS_PAGE, after=page.next)

    async def item(self, job_id: str, video_id: str) -> Item | None:
        async for item in self.items(job_id):
            if item.video_id == video_id:
                return item
        return None

    async def _all(self, query: JobQuery) -> AsyncIterator[Job]:
        offset = 0
        while True:
            page = await self._reader.jobs(query.model_copy(update={"offset": offset}))
            for job in page.jobs:
                yield job
            offset += len(page.jobs)
            if not page.jobs or offset >= page.total:
                return


class RestJobs:
    """The REST routes of the jobs service."""

    def __init__(self, rest: "Rest") -> None:
        self._rest = rest

    async def jobs(self, query: JobQuery) -> JobList:
        return JobList.model_validate(await self._rest.get("jobs", **query_of(query)))

    async def find(self, job_id: str) -> Job | None:
        try:
            return (await self.detail(job_id)).job
        except NotFound:
            return None

    async def summary(self, job_id: str) -> JobSummary:
        """Raises NotFound."""
        return JobSummary.model_validate(await self._rest.get(f"jobs/{job_id}/summary"))

    async def detail(self, job_id: str) -> JobDetail:
        """Return a job, its first items and the progress of its downloads. Raise NotFound."""
        return JobDetail.model_validate(await self._rest.get(f"jobs/{job_id}"))

    async def items(self, job_id: str, query: ItemQuery) -> ItemList:
        return ItemList.model_validate(await self._rest.get(f"jobs/{job_id}/items", **query_of(query)))


@asynccontextmanager
async def open_jobs(config: Config) -> AsyncIterator[JobsClient]:
    system = await find_system(config)
    if system is None:
        async with OfflineJobs.open(config) as offline:
            yield JobsClient(offline, running=False)
        return
    async with open_running_jobs(system) as (jobs, _rest):
        yield jobs


@asynccontextmanager
async def open_running_jobs(system: System) -> AsyncIterator[tuple[JobsClient, RestJobs]]:
    async with system.rest("jobs") as rest:
        reader = RestJobs(rest)
        yield JobsClient(reader, running=True), reader
