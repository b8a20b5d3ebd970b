"""What is cut off in the middle: bytes on their way, a child at work, a whole machine."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import ItemStatus
from ytarchive.emulator import EmulatorClient

ENOUGH = 300_000  # bytes


async def _bytes_on_their_way(cluster: Any, emulator: EmulatorClient, deed: Any, until: Any) -> int:
    """Order a large video that comes slowly, and wait for a part of it. Returns the last request so far."""
    video_id = deed.videos[0]
    emulator.change_video(video_id, size=12 * 1024**2)
    emulator.add_fault("media", "throttle", rate=600_000, video_id=video_id)
    await deed.order()
    folder = cluster.config.storage.tmp_dir / f"{video_id}.part"
    await until(lambda: any(path.stat().st_size > ENOUGH for path in folder.glob("*.mp4.part")), "some bytes")
    return emulator.last()


def _resumed(emulator: EmulatorClient, since: int, video_id: str) -> bool:
    asked = [entry["range"] or "" for entry in emulator.log(since=since, kind="media", video_id=video_id)]
    return any(int(given.removeprefix("bytes=").partition("-")[0] or 0) >= ENOUGH for given in asked if given)


async def test_a_download_that_dies_takes_its_children_along_and_goes_on_by_range(
    patient: Any, deed_in: Any, until: Any, workers: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(patient)
    mark = await _bytes_on_their_way(patient, emulator, deed, until)
    children = patient.processes["download"].children()
    assert children
    patient.kill("download")
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "the children are gone")
    emulator.clear_faults()
    await patient.start("download")
    await deed.done_right(unacknowledged=workers)
    assert _resumed(emulator, mark, deed.videos[0])


async def test_a_child_that_dies_costs_an_attempt_and_goes_on_by_range(
    patient: Any, deed_in: Any, until: Any, workers: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(patient, count=2)
    mark = await _bytes_on_their_way(patient, emulator, deed, until)
    await _other_ended(deed, until)
    for pid in patient.processes["download"].children():
        os.kill(pid, signal.SIGKILL)
    emulator.clear_faults()
    await deed.done_right(attempts=1, unacknowledged=workers)
    assert _resumed(emulator, mark, deed.videos[0])


async def test_a_child_that_dies_at_extraction_costs_an_attempt(
    patient: Any, deed_in: Any, until: Any, workers: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(patient, count=2)
    emulator.add_fault("player", "delay", video_id=deed.videos[0])  # also when it is asked again
    await deed.order()
    await asyncio.to_thread(emulator.wait_for, kind="player", video_id=deed.videos[0])
    await _other_ended(deed, until)
    for pid in patient.processes["download"].children():
        os.kill(pid, signal.SIGKILL)
    emulator.clear_faults()
    await deed.done_right(attempts=1, unacknowledged=workers)


async def test_a_child_that_dies_while_it_lists_is_replaced(
    patient: Any, deed_in: Any, workers: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(patient)
    emulator.add_fault("browse", "delay", times=1)
    await deed.order()
    await asyncio.to_thread(emulator.wait_for, kind="browse")
    for pid in patient.processes["metadata"].children():
        os.kill(pid, signal.SIGKILL)
    await deed.done_right(unacknowledged=workers)


async def test_another_worker_takes_over_from_one_that_does_not_come_back(
    patient: Any, deed_in: Any, until: Any, workers: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(patient)
    mark = await _bytes_on_their_way(patient, emulator, deed, until)
    await patient.start("download", YTARCHIVE_SERVICES__DOWNLOAD__PORT="0", replaces=False)
    patient.kill("download")
    emulator.clear_faults()
    await deed.done_right(unacknowledged=workers)
    assert _resumed(emulator, mark, deed.videos[0])
    patient.kill("another download")


@pytest.mark.parametrize("broker_too", [False, True], ids=["services", "services and broker"])
async def test_the_lights_go_out(
    broker_too: bool, quick: Any, deed_in: Any, until: Any, emulator: EmulatorClient
) -> None:
    deed = await deed_in(quick)
    mark = await _bytes_on_their_way(quick, emulator, deed, until)
    quick.kill(*quick.processes)
    if broker_too:
        quick.broker.kill()
        await quick.broker.start()
    emulator.clear_faults()
    await quick.heal()
    await deed.done_right()
    assert _resumed(emulator, mark, deed.videos[0])


async def _other_ended(deed: Any, until: Any) -> None:
    """The private one has ended, so its child is idle and its death costs nothing."""

    async def look() -> bool:
        items = await deed.items()
        return deed.gone[0] in items and items[deed.gone[0]].status is ItemStatus.UNAVAILABLE

    await until(look, "the private one ends")
