"""What the archive has of one video: its manifest, its metadata, the paths of its files."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from services.common.errors import NotFound
from services.common.infra.no_links import NotAFile, open_below, read_below
from services.storage.archive.video_metadata_file import read_video_file
from services.storage.index.queries import CatalogueQueries
from services.storage.index.roots import ArchiveRoots


class VideoDescription(BaseModel):
    """`record`: {video_id}_metadata.json; `metadata`: metadata/videos/{video_id}.json. Either may be null."""

    video_id: str
    root: str
    record: dict[str, Any] | None
    metadata: dict[str, Any] | None


class VideoReader:
    def __init__(self, roots: ArchiveRoots, queries: CatalogueQueries) -> None:
        self._roots = roots
        self._queries = queries

    async def describe(self, video_id: str, root: str | None) -> VideoDescription:
        """Describe a video as `root` has it, or the first root that has something. Raises NotFound, InvalidRequest."""
        copies = (await self._queries.existence(video_id)).copies
        wanted = [root] if root is not None else [*(copy.root for copy in copies), *map(str, self._roots.all)]
        for one in dict.fromkeys(wanted):
            tree = self._roots.tree(one)
            record = await asyncio.to_thread(_read_json, tree.manifest(video_id))
            described = await asyncio.to_thread(read_video_file, tree.video_metadata(video_id))
            if record or described:
                metadata = described.model_dump(mode="json") if described else None
                return VideoDescription(video_id=video_id, root=tree.key, record=record, metadata=metadata)
        raise NotFound(f"The archive has nothing of {video_id}.", video_id=video_id)

    async def file(self, video_id: str, name: str, root: str | None) -> tuple[Path, Path]:
        """Return a file that the catalogue lists, in `root` or any: the folder of all videos, and the path below it.
        Raises NotFound, also for a link."""
        for copy in (await self._queries.existence(video_id)).copies:
            if name in {file.name for file in copy.files} and root in {None, copy.root}:
                tree = self._roots.tree(copy.root)
                path = tree.video_dir(video_id) / name
                if await asyncio.to_thread(_is_file_below, tree.videos, path):
                    return tree.videos, path
        raise NotFound(f"The archive has no file {name} of {video_id}.", video_id=video_id)


def _is_file_below(base: Path, path: Path) -> bool:
    try:
        os.close(open_below(base, path))
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return False
    return True


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_below(path.parents[1], path))
    except (FileNotFoundError, NotADirectoryError, NotAFile, ValueError):
        return None
    return found if isinstance(found, dict) else None
