"""The registry of service instances: announced, heard from lately, and not known to be dead."""

import asyncio
import json
import platform
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from bus.embedded.probe import process_exists
from services.common.domain.registry import ServiceInfo
from services.common.infra.files import write_atomically

GONE_AFTER = 20.0  # seconds without a heartbeat (one comes every 5)
_SILENT_AFTER = 10.0  # seconds without a heartbeat of anybody, not even of jobs itself: the broker is silent


class _File(BaseModel):
    services: list[ServiceInfo]


_log = structlog.get_logger("services.jobs", service="jobs")
_LIST = TypeAdapter(list[ServiceInfo])


class Registry:
    """Live instances, kept in memory and copied to registry/services.json by a background task.

    After a restart the file tells which instances are gone, because their process is dead, and which of those on this
    machine still run, before their first heartbeat arrives.

    Time in which no heartbeat at all arrives counts for nobody: jobs receives its own, so it is the broker, or jobs
    itself, that stood still. Afterwards everybody gets the whole time again.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file: use a thread."""
        self._path = path
        self._clock = clock
        self._gone: set[str] = set()  # instances
        self._lost: dict[str, datetime] = {}  # service name -> when an instance of it was last found to be gone
        self._changed = asyncio.Event()  # since the file was written
        self._writing = threading.Lock()
        self._started = self._received = clock()
        self._known = {info.instance: info for info in _read(path)}
        here = platform.node()
        self._seen = {name: self._started for name, info in self._known.items() if info.host == here}
        self.forget_dead()

    # --- changes

    def seen(self, info: ServiceInfo) -> bool:
        """Record a registration or a heartbeat. Return whether it changes what can be dispatched."""
        self._end_silence()
        if _dead(info):
            return False  # sent before it died
        before = self._known.get(info.instance) if info.instance not in self._gone else None
        self._gone.discard(info.instance)
        new = info.instance not in self._known
        self._known[info.instance] = info
        self._seen[info.instance] = self._clock()
        if new:
            self.forget_dead()
            self._changed.set()
        return before is None or (before.slots, before.egress) != (info.slots, info.egress)

    def stopped(self, instance: str) -> None:
        """Record an orderly stop: the instance has given back its messages."""
        if self._forget(instance):
            self._changed.set()

    def forget_dead(self) -> None:
        """Remove the instances that are gone by now."""
        lost = [info for info in self._known.values() if self.gone(info.instance)]
        for info in lost:
            self._forget(info.instance)
            self._lost[info.name] = datetime.now(UTC)
        if lost:
            self._changed.set()

    def clock_set_back(self, now: datetime) -> None:
        """Move times that lie in the future: what begins now would count as lost."""
        self._lost = {name: min(at, now) for name, at in self._lost.items()}

    def _end_silence(self) -> None:
        now = self._clock()
        if now - self._received > _SILENT_AFTER:
            self._started = now
            self._seen = dict.fromkeys(self._seen, now)
        self._received = now

    # --- queries

    def live(self, name: str) -> list[ServiceInfo]:
        """Return the instances of a service that are at work."""
        return [info for info in list(self._known.values()) if info.name == name and self._at_work(info)]

    def lost(self, name: str) -> datetime | None:
        """Return when an instance of this service was last found to be gone: the messages it had are unanswered."""
        return self._lost.get(name)

    def everyone(self) -> list[ServiceInfo]:
        return list(self._known.values())

    def gone(self, instance: str | None) -> bool:
        """Return whether this instance is certainly not at work. Silence counts only after a heartbeat was due."""
        if instance is None:
            return False
        info = self._known.get(instance)
        if instance in self._gone or (info and _dead(info)):
            return True
        return self._heard_until() - self._seen.get(instance, self._started) > GONE_AFTER

    def _at_work(self, info: ServiceInfo) -> bool:
        seen = self._seen.get(info.instance)
        return seen is not None and self._heard_until() - seen < GONE_AFTER and not _dead(info)

    def _heard_until(self) -> float:
        """Return the time until which a heartbeat would have arrived."""
        now = self._clock()
        return self._received if now - self._received > _SILENT_AFTER else now

    def _forget(self, instance: str) -> bool:
        self._gone.add(instance)
        self._seen.pop(instance, None)
        return self._known.pop(instance, None) is not None

    # --- the file

    async def save_changes(self) -> None:
        """Write the file after each change, in a thread. Never returns."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.to_thread(self.save)

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._changed.is_set():
            await asyncio.to_thread(self.save)

    def save(self) -> None:
        """Write the current state to the file: use a thread. The file written last has the latest state."""
        with self._writing:
            body = {"services": _LIST.dump_python(self.everyone(), mode="json")}
            try:
                write_atomically(self._path, json.dumps(body, indent=2).encode())
            except OSError as error:  # for example a full disk: the file only helps the next start
                _log.warning("registry_not_saved", path=str(self._path), error_message=str(error))


def _read(path: Path) -> list[ServiceInfo]:
    """Return nothing when the file is damaged: it only helps this start."""
    try:
        return _File.model_validate_json(path.read_bytes()).services
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        first = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        _log.warning("registry_unreadable", path=str(path), error_message=first, remedy="none needed: it is replaced")
        return []


def _dead(info: ServiceInfo) -> bool:
    """Return whether its process ran on this machine and has ended."""
    return info.host == platform.node() and not process_exists(info.pid)
