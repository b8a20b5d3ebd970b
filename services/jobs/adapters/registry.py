"""Which instances of the services are alive: announced, heard of lately, and not known to be dead."""

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from services.common.infra.files import write_atomically
from services.common.models import ServiceInfo

GONE_AFTER = 20.0  # seconds without a heartbeat (one comes every 5)


class _File(BaseModel):
    services: list[ServiceInfo]


_log = structlog.get_logger("services.jobs", service="jobs")
_LIST = TypeAdapter(list[ServiceInfo])


class Registry:
    """Kept in registry/services.json too: after a restart an instance of a dead process is known to be gone, and one
    whose process runs on this machine to be at work, before it is heard."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._gone: set[str] = set()  # instances
        self._lost: dict[str, datetime] = {}  # name of a service -> when an instance of it was last found to be gone
        self._started = clock()
        self._known = {info.instance: info for info in _read(path)}
        here = platform.node()
        self._heard = {name: self._started for name, info in self._known.items() if info.host == here}
        self.look()

    def heard(self, info: ServiceInfo) -> None:
        if _dead(info):
            return  # what it said before it died
        self._gone.discard(info.instance)
        new = info.instance not in self._known
        self._known[info.instance] = info
        self._heard[info.instance] = self._clock()
        if new:
            self.look()
            self._save()

    def stopped(self, instance: str) -> None:
        """It said goodbye, after it had given back what it held."""
        if self._forget(instance):
            self._save()

    def look(self) -> None:
        """Note who is gone by now."""
        lost = [info for info in self._known.values() if self.gone(info.instance)]
        for info in lost:
            self._forget(info.instance)
            self._lost[info.name] = datetime.now(UTC)
        if lost:
            self._save()

    def live(self, name: str) -> list[ServiceInfo]:
        return [info for info in list(self._known.values()) if info.name == name and self._at_work(info)]

    def lost(self, name: str) -> datetime | None:
        """When an instance of this service was last found to be gone; what it had in hand is nobody's."""
        return self._lost.get(name)

    def everyone(self) -> list[ServiceInfo]:
        return list(self._known.values())

    def gone(self, instance: str | None) -> bool:
        """Is this instance certainly not at work? Silence counts once it could have been heard."""
        if instance is None:
            return False
        info = self._known.get(instance)
        if instance in self._gone or (info and _dead(info)):
            return True
        return self._clock() - self._heard.get(instance, self._started) > GONE_AFTER

    def _at_work(self, info: ServiceInfo) -> bool:
        heard = self._heard.get(info.instance)
        return heard is not None and self._clock() - heard < GONE_AFTER and not _dead(info)

    def _forget(self, instance: str) -> bool:
        self._gone.add(instance)
        self._heard.pop(instance, None)
        return self._known.pop(instance, None) is not None

    def _save(self) -> None:
        body = {"services": _LIST.dump_python(self.everyone(), mode="json")}
        try:
            write_atomically(self._path, json.dumps(body, indent=2).encode())
        except OSError as error:  # a full disk, say: the file only helps the next start
            _log.warning("registry_not_saved", path=str(self._path), error_message=str(error))


def _read(path: Path) -> list[ServiceInfo]:
    """Nothing where the file is damaged: it only helps this start."""
    try:
        return _File.model_validate_json(path.read_bytes()).services
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        _log.warning("registry_unreadable", path=str(path), error_message=str(error))
        return []


def _dead(info: ServiceInfo) -> bool:
    """Its process ran on this machine and does no more."""
    return info.host == platform.node() and not _runs(info.pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
