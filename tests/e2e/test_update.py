"""`ytarchive update`: a newer yt-dlp below the data directory, tried before it is used, and the way back. The newer
versions are wheels in a folder, made of the installed yt-dlp."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.youtube.ytdlp import release
from tests.fixtures.ytdlp_wheels import build_wheel, only_from, release_page
from ytarchive.emulator.site import sample

FIRST, SECOND = "2099.1.1", "2099.2.1"
NOBODY = "http://127.0.0.1:1/releases/latest"
INSTALLED = release.installed()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of FIRST."""
    folder = tmp_path_factory.mktemp("wheels")
    build_wheel(folder, FIRST)
    return folder


@pytest.fixture
def with_wheels(make_cli: Callable[..., Any]) -> Callable[..., Any]:
    """Create a Cli whose pip finds the wheels of these folders only."""

    def make(*folders: Path, **settings: str) -> Any:
        return make_cli(**({"YTARCHIVE_UPDATES__RELEASES_URL": NOBODY} | only_from(*folders) | settings))

    return make


def versions(cli: Any, *words: str) -> dict[str, Any]:
    run = cli("update", "--json", *words)
    assert run.code == 0, run.out + run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def fetched_with(cli: Any, video_id: str) -> str:
    """Return the version of yt-dlp that a video was archived with."""
    run = cli("download", video_id)
    assert run.code == 0, run.out + run.err
    manifest = json.loads((cli.archive / "videos" / video_id / f"{video_id}_metadata.json").read_text())
    return str(manifest["provenance"]["tools"]["yt-dlp"])


def finding(cli: Any, check: str) -> dict[str, Any] | None:
    checks = json.loads(cli("doctor", "--json").out)["checks"]
    return next((found for found in checks if found["check"] == check), None)


def test_a_running_stack_uses_the_update_without_a_restart_and_goes_back(with_wheels: Any, wheels: Path) -> None:
    with release_page(FIRST) as page:
        cli = with_wheels(wheels, YTARCHIVE_UPDATES__RELEASES_URL=page)
        up = cli.start("--verbose", "up")
        up.wait_for("Ready.")
        up.wait_for(f"ytdlp_in_use (download) ytdlp={INSTALLED} origin=installed with ytarchive")
        assert fetched_with(cli, sample.VIDEO_OK) == INSTALLED

        asked = versions(cli, "--check")
        assert (asked["version"], asked["newest"], asked["back"]) == (INSTALLED, FIRST, None)
        shown = cli("update")

    assert shown.code == 0, shown.err
    assert f"yt-dlp {FIRST} is in use, in {cli.data}/yt-dlp/{FIRST}." in shown.out
    assert "need no restart" in shown.out and f"goes back to {INSTALLED}" in shown.out
    assert fetched_with(cli, sample.VIDEO_TWO_CAPTIONS) == FIRST
    found = finding(cli, "yt-dlp")
    assert found is not None and found["found"].startswith(f"{FIRST}, ")
    assert json.loads(cli("version", "--json").out)["yt-dlp"] == FIRST

    back = versions(cli, "--back")
    assert (back["version"], back["before"], back["folder"], back["back"]) == (INSTALLED, FIRST, None, None)
    assert fetched_with(cli, sample.VIDEO_NO_MAXRES) == INSTALLED
    again = cli("update", "--back")
    assert again.code == 2 and "none to go back to" in again.err


def test_the_version_before_is_kept_and_a_version_can_be_chosen(with_wheels: Any, wheels: Path, tmp_path: Path) -> None:
    build_wheel(tmp_path / "more", SECOND)
    cli = with_wheels(wheels, tmp_path / "more")

    assert versions(cli, "--version", FIRST)["version"] == FIRST
    second = versions(cli)
    assert (second["version"], second["back"]) == (SECOND, FIRST)
    unchanged = cli("update")
    assert f"yt-dlp {SECOND} is in use" in unchanged.out and "pip offers no newer one." in unchanged.out
    assert versions(cli, "--back")["version"] == FIRST
    assert versions(cli, "--back")["version"] == INSTALLED


def test_a_version_that_fails_the_trial_is_not_used(with_wheels: Any, tmp_path: Path) -> None:
    build_wheel(tmp_path / "wheels", FIRST, "\ndel YoutubeDL.process_ie_result\n")
    cli = with_wheels(tmp_path / "wheels")

    run = cli("update")

    assert run.code == 1
    assert f"yt-dlp {FIRST} does not work with this version of ytarchive" in run.err
    assert "process_ie_result" in run.err and f"{INSTALLED} stays in use" in run.err
    assert {path.name for path in (cli.data / "yt-dlp").iterdir()} == {"update.lock"}
    assert versions(cli, "--check")["version"] == INSTALLED


def test_a_damaged_update_is_not_used_and_is_reported(with_wheels: Any, wheels: Path) -> None:
    cli = with_wheels(wheels)
    assert versions(cli)["version"] == FIRST
    (cli.data / "yt-dlp" / FIRST / "yt_dlp" / "YoutubeDL.py").write_bytes(b"\0" * 1000)

    run = cli("--verbose", "download", sample.VIDEO_OK)

    assert run.code == 0, run.err
    assert f"ytdlp={INSTALLED}" in run.err
    assert "ytdlp_update_not_used" in run.err and "not those that were tried" in run.err
    found = finding(cli, "yt-dlp update")
    assert found is not None and found["state"] == "warning" and "`ytarchive update`" in found["mend"]
    assert versions(cli)["version"] == FIRST, "it is installed anew"
    assert finding(cli, "yt-dlp update") is None


def test_what_lies_in_the_place_of_its_files_neither_hangs_nor_is_followed(
    with_wheels: Any, wheels: Path, tmp_path: Path
) -> None:
    cli = with_wheels(wheels)
    folder = cli.data / "yt-dlp"
    folder.mkdir(parents=True, mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.mkfifo(folder / "current.json")
    (folder / "update.lock").symlink_to(precious)
    (folder / FIRST).write_text("a file where the folder of the version is to be")

    assert json.loads(cli("version", "--json").out)["yt-dlp"] == INSTALLED
    linked = cli("update")
    (folder / "update.lock").unlink()

    assert linked.code == 2 and "update.lock" in linked.err, linked.err
    assert precious.read_text() == "precious"
    assert versions(cli)["version"] == FIRST
    assert {path.name for path in folder.iterdir()} == {"update.lock", "current.json", FIRST}


def test_what_cannot_be_updated_says_why_and_what_to_do(with_wheels: Any, tmp_path: Path) -> None:
    cli = with_wheels(tmp_path)

    missing = cli("update")
    old = cli("update", "--version", "2020.1.1")
    wrong = cli("update", "--version", "newest")
    both = cli("update", "--check", "--back")

    assert missing.code == 1 and "pip could not install yt-dlp>=" in missing.err, missing.err
    assert "No matching distribution found" in missing.err
    assert old.code == 2 and f"the oldest version is {release.lowest()}" in old.err
    assert wrong.code == 2 and "is no version of yt-dlp" in wrong.err
    assert both.code == 2 and "exclude each other" in both.err


def test_a_folder_that_others_can_write_to_is_not_filled(with_wheels: Any, wheels: Path) -> None:
    cli = with_wheels(wheels)
    folder = cli.data / "yt-dlp"
    folder.mkdir(parents=True)
    folder.chmod(0o777)

    run = cli("update")

    assert run.code == 2
    assert f"Other users can write to {folder}" in run.err and "remove it" in run.err
    assert [path.name for path in folder.iterdir()] == []
