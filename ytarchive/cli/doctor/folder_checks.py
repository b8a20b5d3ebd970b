"""Folders, disks and ports. Pure."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ytarchive.cli.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import size

# SQLite's WAL needs shared memory and locks between processes, which these do not give
_OVER_A_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "davfs", "davfs2", "beegfs"}
    | {"fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.davfs2", "gpfs", "orangefs"}
)
_SHARED_WITH_A_HOST = frozenset({"9p", "virtiofs", "drvfs", "vboxsf", "fuse.vmhgfs-fuse", "prl_fs"})

_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


@dataclass(frozen=True)
class Place:
    """A folder that is used. `free` is in bytes; `usable`: it is a folder, or can be made one, that takes files."""

    key: str
    path: Path
    usable: bool
    free: int


def writable(place: Place) -> Finding:
    check = f"{place.key} writable"
    if place.usable:
        return ok(check, str(place.path))
    return problem(
        check, f"{place.path} cannot be written to", f"Grant that right, or set another [storage] {place.key}."
    )


def space(place: Place, min_free: int) -> Finding:
    """`min_free` bytes stay free: a download that would need them waits."""
    check = f"{place.key} space"
    found = f"{size(place.free)} free on the disk of {place.path}"
    remedy = f"Make room there, or lower [storage] min_free ({size(min_free)})."
    if place.free < min_free:
        return problem(check, found, remedy)
    if place.free < 2 * min_free:
        return warning(check, found, remedy)
    return ok(check, found)


# --- file systems -------------------------------------------------------------------------------------------------


def data_disk(path: Path, mounts: str) -> Finding:
    """`path` has no links in it; `mounts` is the text of /proc/mounts, empty where there is none."""
    kind = file_system(path, mounts)
    remedy = "Set [storage] base_data_dir to a folder on a disk of this machine; base_path may be on a NAS."
    if kind is None:
        return ok("data disk", f"{path}: its kind is not told on this system")
    if kind in _OVER_A_NETWORK:
        return problem("data disk", f"{path} is on a network ({kind}); its databases would break there", remedy)
    if kind in _SHARED_WITH_A_HOST:
        return warning("data disk", f"{path} is on a disk of another system ({kind}); databases may break", remedy)
    return ok("data disk", f"{path} is on {kind}")


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the mount that holds `path`: the longest mount point, and of equal ones the last (it covers)."""
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = Path(_unescaped(words[1]))
        if path.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), words[2])
    return best[1] if best else None


def _unescaped(text: str) -> str:
    for escape, char in _ESCAPES.items():
        text = text.replace(escape, char)
    return text


def nearest(path: Path) -> Path:
    """The path without links, of a folder that may not be there yet."""
    return Path(os.path.realpath(path))


# --- ports --------------------------------------------------------------------------------------------------------

Holder = Literal["nobody", "ours", "stranger"]


@dataclass(frozen=True)
class Port:
    service: str
    address: str  # host:port
    number: int
    holder: Holder


def ports(found: Sequence[Port]) -> Finding:
    taken = [port for port in found if port.holder == "stranger"]
    if taken:
        names = ", ".join(f"{port.address} ({port.service})" for port in taken)
        keys = ", ".join(f"[services.{port.service}] port" for port in taken)
        return warning(
            "ports",
            f"not free: {names}",
            f"Stop what uses them, or set {keys}. `ytarchive up` needs them; `ytarchive download` can take others.",
        )
    ours = sum(1 for port in found if port.holder == "ours")
    chosen = ", ".join(str(port.number) if port.number else "any" for port in found)
    return ok("ports", f"{chosen}: in use by the stack that runs" if ours else f"{chosen}: free")


def stack(pid: int | None, starting: bool, services: int) -> Finding:
    """`starting`: somebody holds the lock, and there is no word of how to reach it."""
    if pid is None and starting:
        return warning(
            "stack", "one is just starting or stopping", "Ask again in a minute. If that stays, end that process."
        )
    return ok("stack", f"runs as process {pid}, with {services} services" if pid else "none runs here")
