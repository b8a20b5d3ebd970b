"""Service registry, quota and retention of a running system; backups."""

import asyncio
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from services.common.errors import InvalidRequest
from services.common.settings.load import Config
from services.jobs.offline import OfflineJobs
from services.jobs.rest_models import Cleanup, ServiceList
from services.logging.offline import OfflineLogs
from services.logging.retention import LogCleanup
from services.metadata.quota_status import QuotaStatus
from ytarchive.backup import Backup, Restored, restore_backup, write_backup
from ytarchive.client.endpoints import find_system, require_system


class CleanupReport(BaseModel):
    """What the retention rules removed, or would remove."""

    jobs: Cleanup
    logs: LogCleanup


async def live_services(config: Config) -> ServiceList:
    """Return the live service instances. Raise ServiceUnavailable when nothing runs."""
    return ServiceList.model_validate(await _get(config, "jobs", "registry/services"))


async def quota(config: Config) -> QuotaStatus:
    """Return the Data API's quota of today. Raise ServiceUnavailable when nothing runs."""
    return QuotaStatus.model_validate(await _get(config, "metadata", "metadata/quota"))


async def clean_up(config: Config, *, dry_run: bool) -> CleanupReport:
    """Apply the retention rules, or with `dry_run` only report. Without a running system only a dry run is possible:
    else raise ServiceUnavailable."""
    if dry_run and await find_system(config) is None:
        async with OfflineJobs.open(config) as offline:
            jobs = await offline.cleanup_preview()
        return CleanupReport(jobs=jobs, logs=await OfflineLogs(config).cleanup_preview())
    system = await require_system(config)
    body = {"dry_run": dry_run}
    async with system.rest("jobs") as jobs_rest, system.rest("logging") as logging_rest:
        return CleanupReport(
            jobs=Cleanup.model_validate(await jobs_rest.send("POST", "jobs/cleanup", body)),
            logs=LogCleanup.model_validate(await logging_rest.send("POST", "logs/cleanup", body)),
        )


async def back_up(config: Config, directory: Path | None) -> Backup:
    """Write a backup, running or not. Raise InvalidRequest when the folder is not empty."""
    return await asyncio.to_thread(write_backup, config, directory)


async def restore(config: Config, directory: Path) -> Restored:
    """Restore a backup. Raise InvalidRequest while services run, or when it is not intact."""
    if await find_system(config) is not None:
        raise InvalidRequest(f"Services run on {config.storage.base_data_dir}. Stop them first.")
    return await asyncio.to_thread(restore_backup, config, directory)


async def _get(config: Config, service: str, path: str) -> Any:
    system = await require_system(config)
    async with system.rest(service) as rest:
        return await rest.get(path)
