"""The registry of service instances: liveness of real processes, and its file after a restart."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bus.tasks import cancel_and_wait as end
from services.common.domain.registry import ServiceInfo
from services.jobs.adapters.registry import Registry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "services.json"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    _kill(child)
    assert child.stdin is not None
    child.stdin.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _info(pid: int, instance: str = "one", **more: str) -> ServiceInfo:
    fields = {"name": "download", "url": "http://x", "version": "1", **more}
    return ServiceInfo(**fields, instance=instance, pid=pid, started_at=datetime.now(UTC))


def _instances(registry: Registry) -> list[str]:
    return [info.instance for info in registry.live("download")]


def test_a_heartbeat_says_whether_it_changes_what_can_be_dispatched(file: Path) -> None:
    registry = Registry(file)
    first = _info(os.getpid())
    busy = first.model_copy(update={"free_slots": 1})
    more = first.model_copy(update={"slots": 3})
    assert [registry.seen(info) for info in (first, first, busy, more, more)] == [True, False, False, True, False]
    registry.stopped(first.instance)
    assert registry.seen(more)


def test_an_instance_is_gone_as_soon_as_its_process_dies(file: Path, process: subprocess.Popen[bytes]) -> None:
    registry = Registry(file)
    registry.seen(_info(process.pid))
    assert (_instances(registry), registry.gone("one"), registry.lost("download")) == (["one"], False, None)
    before = datetime.now(UTC)
    _kill(process)
    assert (_instances(registry), registry.gone("one")) == ([], True)
    registry.forget_dead()
    lost = registry.lost("download")
    assert lost is not None
    assert lost > before
    assert registry.lost("metadata") is None
    assert registry.everyone() == []


def test_a_dead_instance_is_gone_when_its_successor_registers(file: Path, process: subprocess.Popen[bytes]) -> None:
    registry = Registry(file)
    registry.seen(_info(process.pid))
    _kill(process)
    registry.seen(_info(os.getpid(), "two"))
    assert (_instances(registry), registry.gone("one"), registry.gone("two")) == (["two"], True, False)
    assert registry.lost("download")


def test_a_late_heartbeat_of_a_dead_process_does_not_register_it(file: Path, process: subprocess.Popen[bytes]) -> None:
    registry = Registry(file)
    _kill(process)
    registry.seen(_info(process.pid))
    assert registry.everyone() == []


def test_after_a_restart_running_local_instances_are_live_without_a_heartbeat(
    file: Path, process: subprocess.Popen[bytes]
) -> None:
    first = Registry(file)
    first.seen(_info(process.pid))
    first.seen(_info(os.getpid(), "two"))
    first.seen(_info(1, "far", host="elsewhere"))
    first.save()
    _kill(process)
    second = Registry(file)
    assert _instances(second) == ["two"]
    assert (second.gone("one"), second.gone("two"), second.gone("far")) == (True, False, False)
    assert second.lost("download")


def _pass(registry: Registry, clock: Any, seconds: int) -> None:
    """Let time pass while jobs receives its own heartbeats."""
    for _ in range(seconds):
        clock.seconds += 1
        registry.seen(_info(os.getpid(), "jobs", name="jobs"))


def test_a_remote_instance_is_gone_20_seconds_after_its_last_heartbeat(file: Path, clock: Any) -> None:
    registry = Registry(file, clock.monotonic)
    registry.seen(_info(1, "far", host="elsewhere"))
    _pass(registry, clock, 19)
    registry.forget_dead()
    assert (_instances(registry), registry.gone("far"), registry.gone("unheard")) == (["far"], False, False)
    registry.seen(_info(1, "far", host="elsewhere"))
    _pass(registry, clock, 19)
    assert (registry.gone("far"), registry.gone("unheard")) == (False, True)
    _pass(registry, clock, 2)
    assert (_instances(registry), registry.gone("far"), registry.lost("download")) == ([], True, None)
    registry.forget_dead()
    assert registry.lost("download")
    assert [info.name for info in registry.everyone()] == ["jobs"]


def test_a_time_in_which_no_heartbeat_at_all_arrives_counts_for_nobody(file: Path, clock: Any) -> None:
    """The broker was silent, or jobs itself was suspended: a worker that goes on must not be taken for dead."""
    registry = Registry(file, clock.monotonic)
    registry.seen(_info(1, "far", host="elsewhere"))
    registry.seen(_info(1, "stopped", host="elsewhere"))
    _pass(registry, clock, 15)
    registry.seen(_info(1, "far", host="elsewhere"))
    clock.seconds += 90
    registry.forget_dead()
    assert (_instances(registry), registry.gone("far"), registry.gone("unheard")) == (["far", "stopped"], False, False)
    _pass(registry, clock, 19)  # the worker connects again later than jobs
    registry.forget_dead()
    assert (_instances(registry), registry.gone("far"), registry.gone("unheard")) == (["far", "stopped"], False, False)
    registry.seen(_info(1, "far", host="elsewhere"))
    _pass(registry, clock, 3)
    registry.forget_dead()
    assert (_instances(registry), registry.gone("stopped"), registry.gone("unheard")) == (["far"], True, True)


def test_an_instance_that_stopped_normally_is_gone_but_not_lost(file: Path) -> None:
    registry = Registry(file)
    registry.seen(_info(os.getpid()))
    registry.stopped("one")
    assert (registry.gone("one"), registry.lost("download"), _instances(registry)) == (True, None, [])
    registry.save()
    assert _instances(Registry(file)) == []


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"services": [1]}', b"\xff"])
def test_a_damaged_registry_file_is_ignored(file: Path, damaged: bytes) -> None:
    file.write_bytes(damaged)
    registry = Registry(file)
    assert registry.everyone() == []
    registry.seen(_info(os.getpid()))
    registry.save()
    assert _instances(Registry(file)) == ["one"]


class SlowPath(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """A path whose writes block until `unblocked` is set."""

    unblocked = threading.Event()

    @property
    def parent(self) -> Path:
        assert self.unblocked.wait(60)
        return Path(self).parent


async def test_saving_to_a_slow_disk_does_not_block_the_loop_and_stores_the_latest_state(tmp_path: Path) -> None:
    SlowPath.unblocked = threading.Event()
    registry = Registry(SlowPath(tmp_path / "services.json"))
    timer = threading.Timer(20.0, SlowPath.unblocked.set)  # ends the test if the event loop is blocked
    timer.start()
    saving = asyncio.create_task(registry.save_changes())
    began = asyncio.get_running_loop().time()
    for n in range(10):
        registry.seen(_info(os.getpid(), f"instance-{n}"))
        await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() - began < 10
    timer.cancel()
    SlowPath.unblocked.set()
    await end([saving])
    await registry.close()
    registry.save()
    assert len(Registry(tmp_path / "services.json").everyone()) == 10
