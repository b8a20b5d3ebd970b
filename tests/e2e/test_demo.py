"""`ytarchive demo`: the first thing that a newcomer runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest


def test_the_demo_and_the_demo_again(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.env["YTARCHIVE_STORAGE__BASE_PATH"] = str(cli.home / "mine")
    folder = cli.home / "show"

    first = cli("demo", "--dir", str(folder))

    assert first.code == 0, first.out + first.err
    assert "10 saved, 0 already archived, 2 unavailable" in first.out
    assert "As expected" in first.out
    assert "Work plan (videos that could not be saved, and why):" in first.out
    films = sorted((folder / "archive").rglob("*.mp4"))
    assert len(films) == 10
    assert len({film.read_bytes() for film in films}) == 10
    for film in films:
        assert film.name in first.out
        decode(film)
    assert not (cli.home / "mine").exists()
    assert not cli.data.exists()

    second = cli("demo", "--dir", str(folder))

    assert second.code == 0, second.out + second.err
    assert "0 saved, 10 already archived, 2 unavailable" in second.out
    assert second.out.count("deleted") >= 1 and second.out.count("private") >= 1

    listed = cli("--config", str(folder / "config.toml"), "config", "check")
    assert listed.code == 0


def decode(film: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    ran = subprocess.run([ffmpeg, "-v", "error", "-i", str(film), "-f", "null", "-"], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_the_demo_leaves_other_folders_alone(cli: Any) -> None:
    folder = cli.home / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("precious")

    run = cli("demo", "--dir", str(folder), "--fresh")

    assert run.code == 2
    assert (folder / "chapter1.txt").read_text() == "precious"


def test_versions(cli: Any) -> None:
    told = json.loads(cli("version", "--json").out)

    assert set(told) == {"ytarchive", "python", "yt-dlp", "nats-server", "ffmpeg", "deno"}
    assert all(told.values())
    assert cli("--version").out == f"ytarchive {told['ytarchive']}\n"
