"""Which ffmpeg is used."""

import os
from pathlib import Path

import imageio_ffmpeg
import pytest

from services.common.errors import ConfigError
from services.common.settings.load import load_config
from services.common.youtube.settings import ChildSettings
from services.common.youtube.tools import find_ffmpeg


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_the_static_ffmpeg_comes_before_that_of_the_system(on_path: Path) -> None:
    assert find_ffmpeg() == Path(imageio_ffmpeg.get_ffmpeg_exe()) != on_path


def test_that_of_the_system_is_used_where_the_package_has_none(
    on_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imageio_ffmpeg, "__file__", str(tmp_path / "package" / "__init__.py"))
    assert find_ffmpeg() == on_path


def test_the_configured_ffmpeg_comes_first(on_path: Path) -> None:
    assert find_ffmpeg(on_path) == on_path


def test_a_configured_ffmpeg_that_cannot_be_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = load_config(env={"YTARCHIVE_DOWNLOAD__FFMPEG": str(tmp_path / "nowhere")}, cwd=tmp_path)
    with pytest.raises(ConfigError, match="is not a program that can be run"):
        ChildSettings.of(config)
