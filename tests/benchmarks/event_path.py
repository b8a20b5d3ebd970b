"""What the event path costs per video: a row of tests.benchmarks.archiving.

A running system archives the playlist of W2. Counted are all messages at the broker (events, requests and answers,
acknowledgements, pulls), the stored ones among them, and their bytes; the CPU time of the stack's own process, without
its children; the time from job.created to the first request for media. In a run of its own, because it slows
everything down, `strace` counts the syncs of files by the stack and by the broker.
"""

import asyncio
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg

from bus import Delivery
from services.common.events import JobCreated, JobQueued, catalogue
from ytarchive.client.rest import Rest
from ytarchive.emulator import EmulatorClient
from ytarchive.running_stack import StackInfo

_STORED = {kind.subject for kind in catalogue() if kind.delivery in {Delivery.STREAM, Delivery.LOG}}
_SYNCS = ("fsync", "fdatasync", "sync_file_range", "msync")


async def archive(info: StackInfo, playlist: str, emulator: EmulatorClient) -> dict[str, float]:
    """Archive a playlist on a running system. Return what it took per video, `first_byte_ms` for the whole job."""
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    begun: dict[str, float] = {}

    async def count(message: Msg) -> None:
        delivered = message.reply.startswith("$JS.ACK.")  # to a consumer, under the subject of the event
        messages["delivered" if delivered else message.subject] += 1
        sizes[message.subject] += len(message.data)
        begun.setdefault(message.subject, time.time())

    token = info.nats_token.get_secret_value() if info.nats_token else None
    client = await nats.connect(info.nats_url, token=token)
    try:
        await client.subscribe(">", cb=count, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await client.flush()
        since, cpu, wall = emulator.last(), _cpu(info.pid), time.monotonic()
        videos = await _run(info, playlist)
        cpu, wall = _cpu(info.pid) - cpu, time.monotonic() - wall
        await client.flush()
    finally:
        await client.close()
    media = emulator.log(since=since, kind="media")
    assert messages[JobQueued.subject], "the broker shows its messages"
    stored = {subject: number for subject, number in messages.items() if subject in _STORED}
    return {
        "messages": messages.total() / videos,
        "stored": sum(stored.values()) / videos,
        "delivered": messages["delivered"] / videos,
        "bytes": sizes.total() / videos,
        "cpu_ms": 1000 * cpu / videos,
        "wall_ms": 1000 * wall / videos,
        "first_byte_ms": 1000 * (media[0]["t"] - begun[JobCreated.subject]),
    }


def syncs(info: StackInfo, processes: Sequence[int], playlist: str, folder: Path) -> dict[str, float]:
    """Archive a playlist. Return the syncs of files per video, of the stack's process and of its children (the
    broker); nothing without strace."""
    if shutil.which("strace") is None:
        return {}
    log = folder / "syncs.txt"
    command = ["strace", "-f", "-qq", "-e", f"trace={','.join(_SYNCS)}", "-o", str(log)]
    command += [word for pid in processes for word in ("-p", str(pid))]
    own = _threads(info.pid)
    with subprocess.Popen(command) as tracing:
        time.sleep(1.0)  # it is attached
        videos = asyncio.run(_run(info, playlist))
        own |= _threads(info.pid)
        tracing.send_signal(signal.SIGINT)
    calls = [int(line.split()[0]) for line in log.read_text().splitlines() if "resumed>" not in line and "(" in line]
    ours = sum(pid in own for pid in calls)
    return {"syncs_stack": round(ours / videos, 1), "syncs_broker": round((len(calls) - ours) / videos, 1)}


def _threads(pid: int) -> set[int]:
    return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}


async def _run(info: StackInfo, playlist: str) -> int:
    """Run a job to its end. Return the number of its videos."""
    async with Rest.open(info.services["jobs"]) as rest:
        job: dict[str, Any] = await rest.send("POST", "jobs", {"targets": [playlist], "options": {"quality": "720p"}})
        while job["finished_at"] is None:
            await asyncio.sleep(0.25)
            job = (await rest.get(f"jobs/{job['job_id']}/summary"))["job"]
    assert job["status"] == "completed", job
    total: int = job["counts"]["archived"]
    return total


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
