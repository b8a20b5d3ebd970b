"""Folders, disks and ports. Pure."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ytarchive.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import size

# SQLite's WAL needs shared memory and locks between processes, which these do not support
_OVER_A_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "davfs", "davfs2", "beegfs"}
    | {"fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.davfs2", "gpfs", "orangefs"}
)
_SHARED_WITH_A_HOST = frozenset({"9p", "virtiofs", "drvfs", "vboxsf", "fuse.vmhgfs-fuse", "prl_fs"})

_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


@dataclass(frozen=True)
class Place:
    """A configured folder. `free`: bytes. `usable`: it exists or can be created, and is writable. `syncs`,
    `folds_case`: properties of its file system, as far as they are known."""

    key: str
    path: Path
    usable: bool
    free: int
    syncs: bool = True
    folds_case: bool = False


def writable(place: Place) -> Finding:
    check = f"{place.key} writable"
    if place.usable:
        return ok(check, str(place.path))
    return problem(
        check, f"{place.path} is not writable", f"Grant write permission, or set another [storage] {place.key}."
    )


def space(place: Place, min_free: int) -> Finding:
    """`min_free`: bytes that are kept free; a download that needs them waits."""
    check = f"{place.key} space"
    found = f"{size(place.free)} free on the disk of {place.path}"
    remedy = f"Free space there, or lower [storage] min_free ({size(min_free)})."
    if place.free < min_free:
        return problem(check, found, remedy)
    if place.free < 2 * min_free:
        return warning(check, found, remedy)
    return ok(check, found)


def peculiarities(place: Place) -> list[Finding]:
    """Return what the file system does not do that an archive relies on."""
    found = []
    if not place.syncs and place.key == "base_data_dir":
        found.append(
            problem(
                f"{place.key} sync",
                f"the file system of {place.path} cannot sync folders, which the broker requires",
                "Set [storage] base_data_dir to a folder on a disk of this machine; base_path may be on a NAS.",
            )
        )
    elif not place.syncs:
        found.append(
            warning(
                f"{place.key} sync",
                f"the file system of {place.path} cannot sync folders: a power cut may lose the newest files",
                "Run `ytarchive verify` after a power cut, or use a file system of this machine.",
            )
        )
    if place.folds_case:
        found.append(
            warning(
                f"{place.key} names",
                f"the file system of {place.path} ignores case: of two videos whose ids differ only in it, one is"
                " refused",
                "Use a disk that does not, such as ext4, for the archive.",
            )
        )
    return found


# --- file systems -------------------------------------------------------------------------------------------------


def data_disk(path: Path, mounts: str) -> Finding:
    """`path`: without symbolic links. `mounts`: the text of /proc/mounts, empty where it does not exist."""
    kind = file_system(path, mounts)
    remedy = "Set [storage] base_data_dir to a folder on a disk of this machine; base_path may be on a NAS."
    if kind is None:
        return ok("data disk", f"{path}: the file system is unknown on this system")
    if kind in _OVER_A_NETWORK:
        return problem("data disk", f"{path} is on a network file system ({kind}), which corrupts databases", remedy)
    if kind in _SHARED_WITH_A_HOST:
        return warning("data disk", f"{path} is on another system ({kind}), which may corrupt databases", remedy)
    return ok("data disk", f"{path} is on {kind}")


def file_system(path: Path, mounts: str) -> str | None:
    """Return the type of the mount that contains `path`: the longest mount point, the last of equal ones."""
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
    """Return the path without symbolic links. The folder may not exist."""
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
            f"Stop the programs that use them, or set {keys}. Only `ytarchive up` needs these ports.",
        )
    ours = sum(1 for port in found if port.holder == "ours")
    chosen = ", ".join(str(port.number) if port.number else "any" for port in found)
    return ok("ports", f"{chosen}: in use by the running stack" if ours else f"{chosen}: free")


def stack(pid: int | None, starting: bool, services: int) -> Finding:
    """`starting`: the lock is held, but there is no stack.json."""
    if pid is None and starting:
        return warning(
            "stack", "a stack is starting or stopping", "Check again in a minute. If it stays so, end that process."
        )
    return ok("stack", f"runs as process {pid}, with {services} services" if pid else "not running")
