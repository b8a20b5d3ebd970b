"""Kills in the middle of work: during a transfer, of a child process, of all services and the broker."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import ItemStatus
from ytarchive.emulator import EmulatorClient

MIN_PARTIAL = 300_000  # bytes


async def _start_slow_download(cluster: Any, emulator: EmulatorClient, job_run: Any, until: Any) -> int:
    """Submit a job with a throttled large video and wait for part of it; return the id of the last request so far."""
    video_id = job_run.videos[0]
    emulator.change_video(video_id, size=12 * 1024**2)
    emulator.add_fault("media", "throttle", rate=600_000, video_id=video_id)
    await job_run.submit()
    folder = cluster.config.storage.tmp_dir / f"{video_id}.part"
    await until(
        lambda: any(path.stat().st_size > MIN_PARTIAL for path in folder.glob("*.mp4.part")), "part of the video"
    )
    return emulator.last()


def _resumed(emulator: EmulatorClient, since: int, video_id: str) -> bool:
    asked = [entry["range"] or "" for entry in emulator.log(since=since, kind="media", video_id=video_id)]
    return any(int(given.removeprefix("bytes=").partition("-")[0] or 0) >= MIN_PARTIAL for given in asked if given)


async def test_killing_download_ends_its_children_and_its_restart_resumes_by_range(
    default_ack_cluster: Any, new_job: Any, until: Any, worker_consumers: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(default_ack_cluster)
    mark = await _start_slow_download(default_ack_cluster, emulator, job_run, until)
    children = default_ack_cluster.processes["download"].children()
    assert children
    default_ack_cluster.kill("download")
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "the children have ended")
    emulator.clear_faults()
    await default_ack_cluster.start("download")
    await job_run.assert_completed(unacknowledged=worker_consumers)
    assert _resumed(emulator, mark, job_run.videos[0])


async def test_a_killed_download_child_costs_one_attempt_and_resumes_by_range(
    default_ack_cluster: Any, new_job: Any, until: Any, worker_consumers: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(default_ack_cluster, count=2)
    mark = await _start_slow_download(default_ack_cluster, emulator, job_run, until)
    await _wait_until_the_private_video_ends(job_run, until)
    for pid in default_ack_cluster.processes["download"].children():
        os.kill(pid, signal.SIGKILL)
    emulator.clear_faults()
    await job_run.assert_completed(attempts=1, unacknowledged=worker_consumers)
    assert _resumed(emulator, mark, job_run.videos[0])


async def test_a_child_killed_during_extraction_costs_one_attempt(
    default_ack_cluster: Any, new_job: Any, until: Any, worker_consumers: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(default_ack_cluster, count=2)
    emulator.add_fault("player", "delay", video_id=job_run.videos[0])  # also for repeated requests
    await job_run.submit()
    await asyncio.to_thread(emulator.wait_for, kind="player", video_id=job_run.videos[0])
    await _wait_until_the_private_video_ends(job_run, until)
    for pid in default_ack_cluster.processes["download"].children():
        os.kill(pid, signal.SIGKILL)
    emulator.clear_faults()
    await job_run.assert_completed(attempts=1, unacknowledged=worker_consumers)


async def test_a_child_killed_during_a_listing_is_replaced(
    default_ack_cluster: Any, new_job: Any, worker_consumers: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(default_ack_cluster)
    emulator.add_fault("browse", "delay", times=1)
    await job_run.submit()
    await asyncio.to_thread(emulator.wait_for, kind="browse")
    for pid in default_ack_cluster.processes["metadata"].children():
        os.kill(pid, signal.SIGKILL)
    await job_run.assert_completed(unacknowledged=worker_consumers)


async def test_another_worker_takes_over_the_download_of_a_killed_one(
    default_ack_cluster: Any, new_job: Any, until: Any, worker_consumers: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(default_ack_cluster)
    mark = await _start_slow_download(default_ack_cluster, emulator, job_run, until)
    await default_ack_cluster.start("download", YTARCHIVE_SERVICES__DOWNLOAD__PORT="0", replaces=False)
    default_ack_cluster.kill("download")
    emulator.clear_faults()
    await job_run.assert_completed(unacknowledged=worker_consumers)
    assert _resumed(emulator, mark, job_run.videos[0])
    default_ack_cluster.kill("another download")


@pytest.mark.parametrize("broker_too", [False, True], ids=["services", "services and broker"])
async def test_a_job_completes_and_resumes_by_range_after_all_services_are_killed(
    broker_too: bool, short_ack_cluster: Any, new_job: Any, until: Any, emulator: EmulatorClient
) -> None:
    job_run = await new_job(short_ack_cluster)
    mark = await _start_slow_download(short_ack_cluster, emulator, job_run, until)
    short_ack_cluster.kill(*short_ack_cluster.processes)
    if broker_too:
        short_ack_cluster.broker.kill()
        await short_ack_cluster.broker.start()
    emulator.clear_faults()
    await short_ack_cluster.start_missing()
    await job_run.assert_completed()
    assert _resumed(emulator, mark, job_run.videos[0])


async def _wait_until_the_private_video_ends(job_run: Any, until: Any) -> None:
    """The child of the private video is idle then, so that killing it costs no attempt."""

    async def look() -> bool:
        items = await job_run.items()
        return job_run.unavailable[0] in items and items[job_run.unavailable[0]].status is ItemStatus.UNAVAILABLE

    await until(look, "the private video ends")
