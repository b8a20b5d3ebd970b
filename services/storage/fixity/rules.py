"""Compares a video's folder with its manifest. Pure.

`VideoState` is the result of one reading (services.storage.fixity.checksum_reader); `compare` turns it into findings.
metadata/videos/{video_id}.json has no checksum: only its existence and its format are checked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.storage.formats.layout import manifest_name
from services.storage.formats.manifest import Holding

FOLDER = "."  # the name in findings about the whole folder


class FindingKind(StrEnum):
    MISSING = "missing"
    CHANGED = "changed"  # another size or checksum, or not a regular file
    UNREADABLE = "unreadable"
    EXTRA = "extra"  # not in a manifest: reported, never changed

    @property
    def damage(self) -> bool:
        return self is not FindingKind.EXTRA


class FixityFinding(BaseModel):
    """One deviation. `name` is relative to the video's folder (`.`: the folder itself), or
    `metadata/videos/{video_id}.json`.

    `set_aside`: the path of the damaged file in quarantine. `job_id`: the job that downloads it again.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    video_id: str
    name: str
    kind: FindingKind
    message: str
    expected_size: int | None = None
    expected_sha256: str | None = None
    found_size: int | None = None
    found_sha256: str | None = None
    set_aside: str | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class FileState:
    """The state of a file when it was read. `identity` differs between a file and its replacement; None: there is no
    file.

    `sha256` is None when the size differs already. `error`: why the file could not be read; `broken`: because of the
    disk, and not, for example, of permissions.
    """

    identity: tuple[int, ...] | None
    size: int | None = None
    sha256: str | None = None
    error: str | None = None
    broken: bool = False
    regular: bool = True


ABSENT = FileState(None)


@dataclass(frozen=True)
class VideoState:
    """The state of one video when it was read. `manifest` is None when there is none, or (`manifest_error`) no valid
    one.

    `fingerprint` is that of the manifest. `others` are visible names that the manifest does not list, folders with a
    `/`.
    """

    fingerprint: str | None
    manifest: Holding | None
    files: Mapping[str, FileState] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    metadata: FileState = ABSENT
    manifest_error: str | None = None

    @property
    def bytes(self) -> int:
        """The number of hashed bytes."""
        return sum(state.size or 0 for state in self.files.values() if state.sha256 is not None)


def metadata_name(video_id: str) -> str:
    return f"metadata/videos/{video_id}.json"


def compare(root: str, video_id: str, video: VideoState, known: Holding | None) -> tuple[FixityFinding, ...]:
    """Return the deviations of a video. `known`: its holding according to the catalogue, the reference when the folder
    is gone."""

    def finding(name: str, kind: FindingKind, message: str, **facts: Any) -> FixityFinding:
        return FixityFinding(root=root, video_id=video_id, name=name, kind=kind, message=message, **facts)

    name = manifest_name(video_id)
    if video.manifest_error is not None:
        return (finding(name, FindingKind.UNREADABLE, video.manifest_error),)
    if video.manifest is not None:
        return tuple(_against(video.manifest, video, finding))
    if video.others and known is not None:
        text = f"the manifest is missing, and {len(video.others)} files are here without one"
        return (finding(name, FindingKind.MISSING, text),)
    if video.others:
        return (finding(FOLDER, FindingKind.EXTRA, "a folder without a manifest"),)
    if known is not None:
        gone = [finding(name, FindingKind.MISSING, "the manifest is missing")]
        return (*gone, *_against(known, video, finding))
    return ()


def _against(holding: Holding, video: VideoState, finding: Any) -> Iterator[FixityFinding]:
    for name, entry in holding.fixity.items():
        expected = {"expected_size": entry.size, "expected_sha256": entry.sha256}
        state = video.files.get(name, ABSENT)
        if state.error is not None:
            yield finding(name, FindingKind.UNREADABLE, f"cannot be read: {state.error}", **expected)
        elif not state.regular:
            yield finding(name, FindingKind.CHANGED, "is not a regular file", **expected)
        elif state.size is None:
            yield finding(name, FindingKind.MISSING, "is missing", **expected)
        elif state.size != entry.size:
            text = f"has {state.size} bytes, the manifest says {entry.size}"
            yield finding(name, FindingKind.CHANGED, text, **expected, found_size=state.size)
        elif state.sha256 != entry.sha256:
            text = f"its sha256 is {state.sha256}, the manifest says {entry.sha256}"
            found = {"found_size": state.size, "found_sha256": state.sha256}
            yield finding(name, FindingKind.CHANGED, text, **expected, **found)
    name = metadata_name(holding.video_id)
    if video.metadata.error is not None:
        yield finding(name, FindingKind.UNREADABLE, f"cannot be read: {video.metadata.error}")
    elif video.metadata.identity is None and holding.asked.metadata:
        yield finding(name, FindingKind.MISSING, "is missing, and metadata were requested")
    for name in video.others:
        yield finding(name, FindingKind.EXTRA, "not listed in the manifest")
