"""Which instances of the services are alive: announced, heard of lately, and not known to be dead."""

import json
import os
import platform
import time
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from services.common.files import write_atomically
from services.common.models import ServiceInfo

GONE_AFTER = 20.0  # seconds without a heartbeat (one comes every 5)


class _File(BaseModel):
    services: list[ServiceInfo]


_LIST = TypeAdapter(list[ServiceInfo])


class Registry:
    """Kept in registry/services.json too, so that after a restart an instance of a dead process is known to be gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, ServiceInfo] = {}
        self._heard: dict[str, float] = {}
        self._started = time.monotonic()
        if path.exists():
            self._known = {info.instance: info for info in _File.model_validate_json(path.read_bytes()).services}

    def heard(self, info: ServiceInfo) -> None:
        new = info.instance not in self._known
        self._known[info.instance] = info
        self._heard[info.instance] = time.monotonic()
        if new:
            self._save()

    def stopped(self, instance: str) -> None:
        self._heard.pop(instance, None)
        if self._known.pop(instance, None):
            self._save()

    def live(self, name: str) -> list[ServiceInfo]:
        return [info for info in self._known.values() if info.name == name and self._recently(info.instance)]

    def everyone(self) -> list[ServiceInfo]:
        return list(self._known.values())

    def gone(self, instance: str | None) -> bool:
        """Is this instance certainly not at work? Silence counts once it could have been heard."""
        if instance is None:
            return False
        info = self._known.get(instance)
        if info and info.host == platform.node() and not _runs(info.pid):
            return True
        if self._recently(instance):
            return False
        last = self._heard.get(instance, self._started)
        return time.monotonic() - last > GONE_AFTER

    def _recently(self, instance: str) -> bool:
        return time.monotonic() - self._heard.get(instance, -GONE_AFTER) < GONE_AFTER

    def _save(self) -> None:
        """Forget those of this machine whose process is dead, and write the rest."""
        host = platform.node()
        self._known = {
            name: info for name, info in self._known.items() if info.host != host or _runs(info.pid)
        }  # fmt: skip
        body = {"services": _LIST.dump_python(self.everyone(), mode="json")}
        write_atomically(self._path, json.dumps(body, indent=2).encode())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
