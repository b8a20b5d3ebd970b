"""`ytarchive storage verify`, with a running stack, which repairs, and without one."""

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
def cli_with_archive(cli_at: Any, emulator_child: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a CLI whose home has two videos; no stack is running."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("verify") / "home")
    assert cli("download", sample.VIDEO_OK, sample.VIDEO_TWO_CAPTIONS).code == 0
    return cli


def flip_a_bit(path: Path) -> bytes:
    """Flip one bit of a file without changing its size and times; return the new content."""
    whole, times = path.read_bytes(), path.stat()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path.read_bytes()


def test_without_a_stack_verify_reports_damage_and_changes_nothing(cli_with_archive: Any) -> None:
    clean = cli_with_archive("storage", "verify")
    assert (clean.code, clean.out.splitlines()[-1][-11:]) == (0, " no damage.")
    assert "2 videos, 8 files" in clean.out
    thumbnail = cli_with_archive.archive / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}_thumb.jpg"
    before = thumbnail.read_bytes()
    damaged = flip_a_bit(thumbnail)
    try:
        result = cli_with_archive("storage", "verify", sample.VIDEO_OK, "--json")
        assert result.code == 1
        (finding,) = json.loads(result.out)["findings"]
        assert (finding["name"], finding["kind"], finding["set_aside"]) == (thumbnail.name, "changed", None)
        words = cli_with_archive("storage", "verify")
        assert words.code == 1
        assert "1 file damaged" in words.out
        assert "To repair, start `ytarchive up`" in words.out
        assert thumbnail.read_bytes() == damaged
    finally:
        thumbnail.write_bytes(before)


def test_verify_reports_videos_below_roots_that_are_not_configured(cli_with_archive: Any, tmp_path: Path) -> None:
    """A job saved a video to its own output directory, which is not in the configuration."""
    assert cli_with_archive("download", sample.VIDEO_OK, "--output-dir", str(tmp_path)).code == 0
    words = cli_with_archive("storage", "verify")
    assert "2 videos, 8 files" in words.out
    assert f"Not verified: 1 video in {tmp_path}. Add it to [storage] roots." in " ".join(words.err.split())
    assert cli_with_archive("storage", "verify", sample.VIDEO_OK).err == ""
    named = replace(
        cli_with_archive, env=cli_with_archive.env | {"YTARCHIVE_STORAGE__ROOTS": json.dumps([str(tmp_path)])}
    )
    assert "3 videos, 12 files" in named("storage", "verify").out


def test_verify_rejects_unknown_videos_and_foreign_roots(cli_with_archive: Any) -> None:
    unknown = cli_with_archive("storage", "verify", sample.VIDEO_DELETED)
    assert (unknown.code, "Nothing is held of" in unknown.err) == (2, True)
    foreign = cli_with_archive("storage", "verify", "--root", "/etc")
    assert (foreign.code, "not an archive root" in foreign.err) == (2, True)
    assert "Start `ytarchive up`" in cli_with_archive("storage", "verify", "--watch").err


def test_with_a_running_stack_a_damaged_file_is_downloaded_again(cli_with_archive: Any) -> None:
    video = sample.VIDEO_TWO_CAPTIONS
    whole = cli_with_archive.mp4(video).read_bytes()
    damaged = flip_a_bit(cli_with_archive.mp4(video))
    up = cli_with_archive.start("up")
    up.wait_for("Ready.")
    checked = cli_with_archive("storage", "verify", "--no-repair")
    assert (checked.code, "Nothing was changed." in checked.out) == (1, True)
    assert cli_with_archive.mp4(video).read_bytes() == damaged
    result = cli_with_archive("storage", "verify")
    assert result.code == 1
    assert "1 file damaged." in result.out
    assert "ytarchive jobs watch" in result.out
    page = json.loads(cli_with_archive("storage", "verify", "--watch", "--json").out)
    (finding,) = page["findings"]
    until(lambda: cli_with_archive("jobs", "show", finding["job_id"]).code == 0, "jobs has created the repair job")
    assert cli_with_archive("jobs", "watch", finding["job_id"]).code == 0
    assert cli_with_archive.mp4(video).read_bytes() == whole
    assert Path(finding["set_aside"]).read_bytes() == damaged
    expected_subjects = ["fixity.failed", "job.created", "video.archived", "job.completed"]

    def subjects_of_trace() -> list[str]:
        entries = json.loads(cli_with_archive("trace", page["verification"]["trace_id"], "--json").out)["entries"]
        return [entry["subject"] for entry in entries if entry.get("subject") in expected_subjects]

    until(lambda: "job.completed" in subjects_of_trace(), "logging has recorded job.completed")
    assert subjects_of_trace() == expected_subjects
    up.signal(signal.SIGTERM)
    up.end()


@pytest.mark.parametrize(
    "words", [("nothing",), ("--watch", "--stop"), ("--watch", sample.VIDEO_OK), ("--stop", "--no-repair")]
)
def test_verify_rejects_invalid_argument_combinations(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "verify", *words]) == 2
    assert "E007" in capsys.readouterr().err
