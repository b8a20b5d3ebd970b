"""`ytarchive demo` and `ytarchive version`, the first commands of a new user."""

import json
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest


def test_the_first_demo_run_saves_all_videos_and_the_second_skips_them(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.env["YTARCHIVE_STORAGE__BASE_PATH"] = str(cli.home / "mine")
    folder = cli.home / "show"

    first = cli("demo", "--dir", str(folder))

    assert first.code == 0, first.out + first.err
    assert "10 saved, 0 already archived, 2 unavailable" in first.out
    assert "As expected" in first.out
    assert "Work plan (videos that could not be saved, and why):" in first.out
    videos = sorted((folder / "archive").rglob("*.mp4"))
    assert len(videos) == 10
    assert len({video.read_bytes() for video in videos}) == 10
    for video in videos:
        assert video.name in first.out
        assert_decodable(video)
    assert not (cli.home / "mine").exists()
    assert not cli.data.exists()

    second = cli("demo", "--dir", str(folder))

    assert second.code == 0, second.out + second.err
    assert "0 saved, 10 already archived, 2 unavailable" in second.out
    assert second.out.count("deleted") >= 1 and second.out.count("private") >= 1

    listed = cli("--config", str(folder / "config.toml"), "config", "check")
    assert listed.code == 0


def assert_decodable(video: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    ran = subprocess.run([ffmpeg, "-v", "error", "-i", str(video), "-f", "null", "-"], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_the_demo_leaves_other_folders_alone(cli: Any) -> None:
    folder = cli.home / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("precious")

    run = cli("demo", "--dir", str(folder), "--fresh")

    assert run.code == 2
    assert (folder / "chapter1.txt").read_text() == "precious"


def test_version_reports_the_version_of_every_program(cli: Any) -> None:
    versions = json.loads(cli("version", "--json").out)

    assert set(versions) == {"ytarchive", "python", "yt-dlp", "nats-server", "ffmpeg", "deno"}
    assert all(versions.values())
    assert cli("--version").out == f"ytarchive {versions['ytarchive']}\n"
