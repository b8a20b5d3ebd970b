"""The history of a video or a playlist, read from the archive tree and the work plans; the catalogue is not used.

Blocks (use a thread); needs no running service.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from services.common.errors import NotFound
from services.common.infra.no_links import NotAFile, read_below
from services.common.settings.load import Storage
from services.common.validation import validate_channel_id, validate_video_id
from services.common.web.paging import Page
from services.storage.archive.json_file import expect_readable
from services.storage.archive.manifest_file import RECORD_REMEDY, read_manifest
from services.storage.archive.tree_walk import trees_below
from services.storage.archive.video_metadata_file import read_video_file
from services.storage.formats.layout import ArchiveTree, tree_of
from services.storage.formats.manifest import Manifest
from services.storage.formats.playlist import PlaylistFile
from services.storage.formats.work_plan import WorkPlan
from services.storage.playlists.playlist_file import PLAYLIST_REMEDY, read_playlist_file
from services.storage.reporting import timeline
from services.storage.reporting.timeline import TimelineEvent
from services.storage.workplans.plan_file import read_plan

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class HistoryPage(Page):
    """Newest first. `id` is that of the video or playlist; for a channel, that of its uploads playlist."""

    id: str
    kind: Literal["video", "playlist"]
    title: str | None
    events: list[TimelineEvent]


class HistoryReader:
    """`revisit_after`: [revisit] after."""

    def __init__(self, settings: Storage, revisit_after: Sequence[timedelta] = ()) -> None:
        self._settings = settings
        self._revisit_after = revisit_after

    def read(self, id: str, limit: int, offset: int) -> HistoryPage:
        """Raises NotFound when neither the archive nor a work plan names the id, StateDamaged when its files are all
        unreadable."""
        video = validate_video_id(id)
        if validate_channel_id(id):
            id = f"UU{id[2:]}"
        titles: list[str | None] = []
        lines = timeline.sort_events(self._of_video(id, titles) if video else self._of_playlist(id, titles))
        if not lines:
            self._expect_readable(id, video=video)
            raise NotFound(f"Nothing is known of {id!a}: neither the archive nor a work plan names it.", id=id)
        return HistoryPage(
            id=id,
            kind="video" if video else "playlist",
            title=next(filter(None, titles), None),
            events=lines[::-1][offset : offset + limit],
            total=len(lines),
            limit=limit,
            offset=offset,
        )

    def _of_playlist(self, playlist_id: str, titles: list[str | None]) -> Iterator[TimelineEvent]:
        if not _ID.fullmatch(playlist_id):
            return
        for tree in self._trees():
            if file := read_playlist_file(tree.playlist_metadata(playlist_id)):
                titles.append(file.title)
                yield from timeline.playlist_events(file, tree.key)

    def _of_video(self, video_id: str, titles: list[str | None]) -> Iterator[TimelineEvent]:
        for tree in self._trees():
            if described := read_video_file(tree.video_metadata(video_id)):
                titles.append(described.title)
                yield from timeline.title_events(described, tree.key)
            for file in _playlists_naming(tree, video_id):
                yield from timeline.video_events_in_playlist(file, video_id, tree.key)
                titles += [entry.title for entry in file.entries if entry.video_id == video_id and not entry.marked]
            if manifest := read_manifest(tree.manifest(video_id)):
                titles.append(manifest.metadata.title)
                yield from timeline.take_in_events(manifest, tree.key)
                yield from timeline.look_events(manifest, self._revisit_after, datetime.now(UTC), tree.key)
        plans = [*_plans_naming(self._settings.work_plans_dir, video_id)]
        titles += [entry.title for plan in plans if (entry := plan.entry(video_id))]
        yield from timeline.work_plan_events(plans, video_id)

    def _expect_readable(self, id: str, *, video: bool) -> None:
        for tree in self._trees():
            if video:
                expect_readable(tree.manifest(id), Manifest, RECORD_REMEDY)
            elif _ID.fullmatch(id):
                expect_readable(tree.playlist_metadata(id), PlaylistFile, PLAYLIST_REMEDY)

    def _trees(self) -> Iterator[ArchiveTree]:
        roots = [path for root in self._settings.all_roots for path in (root, *trees_below(root))]
        for root in dict.fromkeys(roots):
            yield tree_of(root, self._settings)


def _playlists_naming(tree: ArchiveTree, video_id: str) -> Iterator[PlaylistFile]:
    for path in _naming(tree.metadata / "playlists", video_id):
        if file := read_playlist_file(path):
            yield file


def _plans_naming(directory: Path, video_id: str) -> Iterator[WorkPlan]:
    for path in _naming(directory, video_id):
        if plan := read_plan(path):
            yield plan


def _naming(folder: Path, video_id: str) -> Iterator[Path]:
    """Yield the JSON files that contain the id: only those are parsed."""
    wanted = f'"{video_id}"'.encode()
    for path in sorted(folder.glob("*.json")):
        with suppress(NotAFile):
            if not path.name.startswith(".") and wanted in read_below(folder, path):
                yield path
