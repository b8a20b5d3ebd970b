"""The file names of an archive (SPEC: Output Organization, Video File Naming). Pure: names in, paths out.

    {root}/metadata/videos/{video_id}.json
    {root}/metadata/playlists/{playlist_id}.json
    {root}/videos/{video_id}/{video_id}.mp4 | .m4a | _thumb.jpg | _metadata.json | .info.json
    {root}/videos/{video_id}/captions/{video_id}_{lang}.vtt
    {root}/videos/.damaged/{video_id}/{time}/…   quarantine of damaged files; metadata/.damaged/ likewise

During a take-in, a file is hidden beside its destination until it is renamed: `.{name}.{tag}.new`. The tag is derived
from the dispatch id.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from services.common.domain.archive import FileFact, FileRole
from services.common.errors import InvalidRequest
from services.common.settings.load import Storage
from services.common.validation import validate_video_id

CAPTIONS = "captions"
DAMAGED = ".damaged"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # playlist ids, tags: no path separators
_LANGUAGE = re.compile(r"[A-Za-z0-9_-]{1,64}~?")  # with ~ a machine translation
_ENDINGS = {
    FileRole.VIDEO: ".mp4",
    FileRole.AUDIO: ".m4a",
    FileRole.THUMBNAIL: "_thumb.jpg",
    FileRole.INFO: ".info.json",
}
_RECORD = "_metadata.json"
_LISTED = re.compile(rf"(?:{CAPTIONS}/)?[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{{0,254}}")
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<tag>[A-Za-z0-9_-]{1,64})\.(?P<stage>new|intent|tmp)")


@dataclass(frozen=True)
class HiddenFile:
    """The parts of a hidden file's name. `stage`: `new` a file, `intent` the manifest, `tmp` half written."""

    name: str  # of the visible file, without the folder
    tag: str
    stage: str


@dataclass(frozen=True)
class ArchiveTree:
    """The two folders of one archive root. `key` identifies the root in the catalogue; all paths are absolute.
    `file_mode`, `dir_mode`: of new files and folders; None: those of the umask."""

    root: Path
    metadata: Path
    videos: Path
    file_mode: int | None = None
    dir_mode: int | None = None

    @property
    def key(self) -> str:
        return str(self.root)

    def video_dir(self, video_id: str) -> Path:
        if not validate_video_id(video_id):
            raise InvalidRequest(f"{video_id!r} is not a video id")
        return self.videos / video_id

    def video_metadata(self, video_id: str) -> Path:
        if not validate_video_id(video_id):
            raise InvalidRequest(f"{video_id!r} is not a video id")
        return self.metadata / "videos" / f"{video_id}.json"

    def playlist_metadata(self, playlist_id: str) -> Path:
        if not _NAME.fullmatch(playlist_id):
            raise InvalidRequest(f"{playlist_id!r} is not a playlist id")
        return self.metadata / "playlists" / f"{playlist_id}.json"

    def manifest(self, video_id: str) -> Path:
        """Return the path of the video's `_metadata.json`. Its rename is the commit of a take-in."""
        return self.video_dir(video_id) / manifest_name(video_id)

    def quarantine(self, video_id: str, time: str) -> Path:
        """Return the folder for damaged files of a video: on the same disk, outside of all video folders."""
        return self.videos / DAMAGED / self.video_dir(video_id).name / time

    def metadata_quarantine(self, video_id: str, time: str) -> Path:
        return self.metadata / DAMAGED / self.video_dir(video_id).name / time


def tree_of(root: str | Path, storage: Storage) -> ArchiveTree:
    """Return the tree of a configured root, or of a folder below one. Raises InvalidRequest for any other path."""
    try:
        path = Path(root).expanduser()
    except RuntimeError as error:  # ~name of an unknown user
        raise InvalidRequest(f"{str(root)!r} is not a path of this machine", root=str(root)) from error
    if not path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise InvalidRequest(f"{str(root)!r} is not an absolute path", root=str(root))
    if not any(path.is_relative_to(allowed) for allowed in storage.all_roots):
        known = ", ".join(str(allowed) for allowed in storage.all_roots)
        raise InvalidRequest(f"{path} is not an archive root, nor below one ({known}): add it to [storage] roots")
    if path == storage.base_path:
        metadata, videos = storage.metadata_dir, storage.videos_dir
    else:
        metadata, videos = path / "metadata", path / "videos"
    return ArchiveTree(path, metadata, videos, storage.file_mode, storage.dir_mode)


def manifest_name(video_id: str) -> str:
    return f"{video_id}{_RECORD}"


def file_name(video_id: str, role: FileRole, language: str | None = None) -> str:
    """Return the name relative to the video's folder, such as `captions/{video_id}_en.vtt`. Raises InvalidRequest for
    an invalid language."""
    if role is not FileRole.CAPTION:
        return f"{video_id}{_ENDINGS[role]}"
    if language is None or not _LANGUAGE.fullmatch(language):
        raise InvalidRequest(f"{language!r} is not a caption language")
    return f"{CAPTIONS}/{video_id}_{language}.vtt"


def archive_fact(video_id: str, fact: FileFact) -> FileFact:
    """Return the fact with the file's name in the archive."""
    return fact.model_copy(update={"name": file_name(video_id, fact.role, fact.language)})


def is_listed_name(name: str) -> bool:
    """Return whether a manifest may list the name: a visible file of the video's folder, or of its `captions` folder.
    A newer version may have other endings than this one."""
    return _LISTED.fullmatch(name) is not None


def dispatch_tag(dispatch_id: str) -> str:
    """Return a dispatch id in a form that is valid in a file name."""
    return dispatch_id if _NAME.fullmatch(dispatch_id) else hashlib.sha256(dispatch_id.encode()).hexdigest()[:32]


def hidden_path(path: Path, tag: str, stage: str = "new") -> Path:
    return path.with_name(f".{path.name}.{tag}.{stage}")


def parse_hidden(name: str, video_id: str) -> HiddenFile | None:
    """Return the parts of a hidden file's name; None unless `hidden_path` could have made it for that video."""
    match = _HIDDEN.fullmatch(name)
    if match is None or not _is_ours(match["name"], video_id):
        return None
    return HiddenFile(match["name"], match["tag"], match["stage"])


def _is_ours(name: str, video_id: str) -> bool:
    if name in {manifest_name(video_id), *(f"{video_id}{ending}" for ending in _ENDINGS.values())}:
        return True
    caption = name.removeprefix(f"{video_id}_").removesuffix(".vtt")
    return name == f"{video_id}_{caption}.vtt" and _LANGUAGE.fullmatch(caption) is not None


def source_path(directory: Path, name: str) -> Path:
    """Return the path of a file below `directory`. Raises InvalidRequest for a name that leads out of it."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
        raise InvalidRequest(f"{name!r} is not a file name below its directory")
    return directory / relative
