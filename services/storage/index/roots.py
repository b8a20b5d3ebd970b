"""The configured archive roots, and whether their disks are mounted.

An empty folder whose videos the catalogue has is a disk that is not mounted, and not an empty archive
(docs/decisions/0016).
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from services.common.errors import InvalidRequest, ServiceUnavailable
from services.common.infra.files import is_read_only
from services.common.settings.load import Storage
from services.storage.formats.layout import ArchiveTree, tree_of
from services.storage.index.catalogue import Catalogue

_log = structlog.get_logger()


@dataclass(frozen=True)
class UnavailableRoot:
    """Why the root's disk is not usable and what to do about it; `since` in monotonic seconds."""

    reason: str
    since: float = field(default_factory=time.monotonic)


class ArchiveRoots:
    def __init__(self, settings: Storage, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self.unavailable: dict[str, UnavailableRoot] = {}  # by root, until its disk is back

    @property
    def all(self) -> tuple[Path, ...]:
        return tuple(self._settings.all_roots)

    @property
    def default(self) -> Path:
        return self._settings.base_path

    def tree(self, root: str | Path) -> ArchiveTree:
        """Return the tree of a configured root, or of a folder below one. Raises InvalidRequest for any other path."""
        return tree_of(root, self._settings)

    async def was_scanned(self, root: str) -> bool:
        """Return whether the catalogue has read `root`, whether it is configured now or not."""
        return await self._catalogue.is_scanned(root)

    async def expect_mounted(self, tree: ArchiveTree) -> None:
        """Raise ServiceUnavailable when the disk of the tree, or of a root above it, is not mounted, not readable, or
        read-only.

        Without this check a whole archive would be downloaded again, into the folder below the mount point. Such a root
        stays in `unavailable` until it is back.
        """
        above = [root for root in self._settings.all_roots if root in tree.root.parents]
        for one in dict.fromkeys((*(self.tree(root) for root in above), tree)):
            if (reason := await self._problem(one)) is None:
                if self.unavailable.pop(one.key, None):
                    _log.info("archive_back", root=one.key)
                continue
            if one.key not in self.unavailable:
                _log.error("archive_away", root=one.key, error_code=ServiceUnavailable.code, error_message=reason)
            known = self.unavailable.get(one.key, UnavailableRoot(reason))
            self.unavailable[one.key] = replace(known, reason=reason)
            raise ServiceUnavailable(reason, root=one.key)

    async def _problem(self, tree: ArchiveTree) -> str | None:
        try:
            exists, read_only = await asyncio.to_thread(_examine, tree.videos)
        except OSError as error:  # a stale NFS handle, a disk that was pulled
            return f"{tree.root} cannot be read ({error.strerror}). Check its disk."
        if exists:
            return (
                f"{tree.root} is read-only. Make its disk writable; what is to be saved waits." if read_only else None
            )
        if not (known := await self._catalogue.count_videos(tree.key)):
            return None
        held, they = ("1 video", "it is") if known == 1 else (f"{known} videos", "they are")
        return (
            f"{tree.root} held {held} and is empty now. Is its disk mounted? If {they} really gone, create the folder "
            f"{tree.videos} to start with an empty archive."
        )

    async def recheck_unavailable(self) -> None:
        """Check the roots in `unavailable` again, so that health recovers although nothing uses them."""
        for root in list(self.unavailable):
            with suppress(ServiceUnavailable, InvalidRequest):
                await self.expect_mounted(self.tree(root))


def _examine(folder: Path) -> tuple[bool, bool]:
    """Return whether a folder exists, and whether its disk is read-only."""
    exists = folder.exists()
    return exists, exists and is_read_only(folder)
