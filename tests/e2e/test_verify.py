"""`ytarchive storage verify`, with a running stack that mends and without one."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.cli import main
from ytarchive.emulator.site import sample


@pytest.fixture(scope="module")
def saved(cli_at: Any, emulator_child: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with two videos, and nothing that runs."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("verify") / "home")
    assert cli("download", sample.VIDEO_OK, sample.VIDEO_TWO_CAPTIONS).code == 0
    return cli


def flip(path: Path) -> bytes:
    """One bit of it, with the size and the time as they were."""
    whole, times = path.read_bytes(), path.stat()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path.read_bytes()


def test_without_a_stack_the_files_are_looked_at_and_nothing_changes(saved: Any) -> None:
    clean = saved("storage", "verify")
    assert (clean.code, clean.out.splitlines()[-1][-11:]) == (0, " no damage.")
    assert "2 videos, 8 files" in clean.out
    thumbnail = saved.archive / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}_thumb.jpg"
    before = thumbnail.read_bytes()
    damaged = flip(thumbnail)
    try:
        told = saved("storage", "verify", sample.VIDEO_OK, "--json")
        assert told.code == 1
        (finding,) = json.loads(told.out)["findings"]
        assert (finding["name"], finding["kind"], finding["set_aside"]) == (thumbnail.name, "changed", None)
        words = saved("storage", "verify")
        assert words.code == 1
        assert "1 file damaged" in words.out
        assert "To repair, start `ytarchive up`" in words.out
        assert thumbnail.read_bytes() == damaged
    finally:
        thumbnail.write_bytes(before)


def test_what_is_not_read_is_told(saved: Any, tmp_path: Path) -> None:
    """A job with a folder of its own: its videos are known, but the configuration does not name the folder."""
    assert saved("download", sample.VIDEO_OK, "--output-dir", str(tmp_path)).code == 0
    words = saved("storage", "verify")
    assert "2 videos, 8 files" in words.out
    assert f"Not verified: 1 video in {tmp_path}. Add it to [storage] roots." in " ".join(words.err.split())
    assert saved("storage", "verify", sample.VIDEO_OK).err == ""
    named = replace(saved, env=saved.env | {"YTARCHIVE_STORAGE__ROOTS": json.dumps([str(tmp_path)])})
    assert "3 videos, 12 files" in named("storage", "verify").out


def test_what_cannot_be_verified_is_refused(saved: Any) -> None:
    unknown = saved("storage", "verify", sample.VIDEO_DELETED)
    assert (unknown.code, "Nothing is held of" in unknown.err) == (2, True)
    foreign = saved("storage", "verify", "--root", "/etc")
    assert (foreign.code, "not an archive root" in foreign.err) == (2, True)
    assert "Start `ytarchive up`" in saved("storage", "verify", "--watch").err


def test_beside_a_stack_the_damaged_file_is_fetched_again(saved: Any) -> None:
    video = sample.VIDEO_TWO_CAPTIONS
    whole = saved.mp4(video).read_bytes()
    damaged = flip(saved.mp4(video))
    up = saved.start("up")
    up.wait_for("Ready.")
    looked = saved("storage", "verify", "--no-repair")
    assert (looked.code, "Nothing was changed." in looked.out) == (1, True)
    assert saved.mp4(video).read_bytes() == damaged
    told = saved("storage", "verify")
    assert told.code == 1
    assert "1 file damaged." in told.out
    assert "ytarchive jobs watch" in told.out
    page = json.loads(saved("storage", "verify", "--watch", "--json").out)
    (finding,) = page["findings"]
    until(lambda: saved("jobs", "show", finding["job_id"]).code == 0, "jobs has heard of it")
    assert saved("jobs", "watch", finding["job_id"]).code == 0
    assert saved.mp4(video).read_bytes() == whole
    assert Path(finding["set_aside"]).read_bytes() == damaged
    told_of = ["fixity.failed", "job.created", "video.archived", "job.completed"]

    def story() -> list[str]:
        entries = json.loads(saved("trace", page["verification"]["trace_id"], "--json").out)["entries"]
        return [entry["subject"] for entry in entries if entry.get("subject") in told_of]

    until(lambda: "job.completed" in story(), "logging has heard of the end")
    assert story() == told_of
    up.signal(signal.SIGTERM)
    up.end()


@pytest.mark.parametrize(
    "words", [("nothing",), ("--watch", "--stop"), ("--watch", sample.VIDEO_OK), ("--stop", "--no-repair")]
)
def test_words_that_make_no_sense(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "verify", *words]) == 2
    assert "E007" in capsys.readouterr().err
