"""The folders and file names of an archive tree."""

from pathlib import Path

import pytest

from services.common.domain.archive import FileFact, FileRole
from services.common.errors import InvalidRequest
from services.common.settings.load import Config
from services.storage.formats import layout
from services.storage.formats.layout import ArchiveTree, HiddenFile

VIDEO = "dQw4w9WgXcQ"
PLAYLIST = "PL0123456789abcdef"


@pytest.fixture
def tree(config: Config) -> ArchiveTree:
    return layout.tree_of(config.storage.base_path, config.storage)


def test_the_paths_of_a_tree_are_those_of_the_specification(tree: ArchiveTree, config: Config) -> None:
    base = config.storage.base_path
    assert tree.video_metadata(VIDEO) == base / f"metadata/videos/{VIDEO}.json"
    assert tree.playlist_metadata(PLAYLIST) == base / f"metadata/playlists/{PLAYLIST}.json"
    assert tree.video_dir(VIDEO) == base / f"videos/{VIDEO}"
    assert tree.manifest(VIDEO) == base / f"videos/{VIDEO}/{VIDEO}_metadata.json"


@pytest.mark.parametrize(
    ("role", "language", "name"),
    [
        (FileRole.VIDEO, None, f"{VIDEO}.mp4"),
        (FileRole.AUDIO, None, f"{VIDEO}.m4a"),
        (FileRole.THUMBNAIL, None, f"{VIDEO}_thumb.jpg"),
        (FileRole.INFO, None, f"{VIDEO}.info.json"),
        (FileRole.CAPTION, "en", f"captions/{VIDEO}_en.vtt"),
        (FileRole.CAPTION, "zh-Hans", f"captions/{VIDEO}_zh-Hans.vtt"),
    ],
)
def test_the_archived_name_depends_on_the_role_not_on_the_downloaded_name(
    role: FileRole, language: str | None, name: str
) -> None:
    fact = FileFact(name="any thing.bin", role=role, size=1, sha256="0", language=language)
    assert layout.archive_fact(VIDEO, fact) == fact.model_copy(update={"name": name})


@pytest.mark.parametrize("language", [None, "", "../x", "a/b", "en.vtt", ".", "x" * 65])
def test_an_invalid_caption_language_is_refused(language: str | None) -> None:
    with pytest.raises(InvalidRequest):
        layout.file_name(VIDEO, FileRole.CAPTION, language)


def test_invalid_ids_are_refused(tree: ArchiveTree) -> None:
    for path in (tree.video_dir, tree.video_metadata, tree.manifest, tree.playlist_metadata):
        for text in ("..", "../../etc/x", "a/b", "", f"{VIDEO}\n"):
            with pytest.raises(InvalidRequest):
                path(text)


def test_an_additional_root_contains_both_metadata_and_videos(config: Config, tmp_path: Path) -> None:
    storage = config.storage.model_copy(
        update={"roots": (tmp_path / "nas",), "videos_dir": tmp_path / "elsewhere", "metadata_dir": tmp_path / "notes"}
    )
    assert layout.tree_of(storage.base_path, storage) == ArchiveTree(
        storage.base_path, tmp_path / "notes", tmp_path / "elsewhere"
    )
    for root in (tmp_path / "nas", tmp_path / "nas/music", storage.base_path / "sub"):
        assert layout.tree_of(str(root), storage) == ArchiveTree(root, root / "metadata", root / "videos")


@pytest.mark.parametrize("root", ["/", "/etc", "relative", "", "{base}-other", "{base}/../x", "{base}/a\0b"])
def test_folders_outside_the_roots_are_refused(config: Config, root: str) -> None:
    with pytest.raises(InvalidRequest):
        layout.tree_of(root.format(base=config.storage.base_path), config.storage)


def test_hidden_file_names_are_parsed_back_to_their_parts() -> None:
    place = Path("/a/videos") / VIDEO / f"{VIDEO}.info.json"
    made = layout.hidden_path(place, "d-1_x")
    assert made == place.with_name(f".{VIDEO}.info.json.d-1_x.new")
    assert layout.parse_hidden(made.name, VIDEO) == HiddenFile(f"{VIDEO}.info.json", "d-1_x", "new")
    caption = layout.hidden_path(Path(f"{VIDEO}_pt-BR.vtt"), "7", "tmp")
    assert layout.parse_hidden(caption.name, VIDEO) == HiddenFile(f"{VIDEO}_pt-BR.vtt", "7", "tmp")
    manifest = layout.hidden_path(Path(f"{VIDEO}_metadata.json"), "7", "intent")
    assert layout.parse_hidden(manifest.name, VIDEO) == HiddenFile(f"{VIDEO}_metadata.json", "7", "intent")


@pytest.mark.parametrize(
    "name",
    [".DS_Store", f"{VIDEO}.mp4", f".{VIDEO}.mp4", f".{VIDEO}.mp4.new", ".notes.txt.1.new", ".AAAAAAAAAAA.mp4.1.new"],
)
def test_names_of_other_programs_are_not_parsed_as_hidden_files(name: str) -> None:
    assert layout.parse_hidden(name, VIDEO) is None


def test_any_dispatch_id_is_converted_to_a_safe_tag() -> None:
    assert layout.dispatch_tag("3f2a-1") == "3f2a-1"
    strange = layout.dispatch_tag("../../etc/passwd")
    assert "/" not in strange
    assert strange != layout.dispatch_tag("../../etc/shadow")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_source_path_outside_its_directory_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        layout.source_path(Path("/tmp/x.part"), name)  # noqa: S108 - never opened
