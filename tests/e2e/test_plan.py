"""`plan`, `metadata` and `playlist info`: lookups without downloads, with and without a running stack."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample


@pytest.fixture(scope="module")
def cli_with_archive(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a CLI whose home has ten saved and two unavailable videos and a job that waits for a stream; no stack is
    running."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("plan") / "home")
    assert cli("download", sample.DEMO_PLAYLIST).code == 3
    assert cli("download", sample.KINDS["upcoming"]).code == 4
    return cli


def run_json(cli: Any, *words: str, code: int = 0) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == code, ran.err + ran.out
    return json.loads(ran.out)


def archive_and_jobs_state(cli: Any) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Return size and time of every archived file, and jobs.db without the inbox, which also holds the ids of
    heartbeats."""
    files = {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(cli.archive.rglob("*"))}
    database = sqlite3.connect(f"{(cli.data / 'jobs' / 'jobs.db').as_uri()}?mode=ro", uri=True)
    try:
        return files, [line for line in database.iterdump() if 'INTO "inbox"' not in line]
    finally:
        database.close()


def test_a_plan_contains_the_estimate_and_changes_nothing(cli_with_archive: Any, emulator: EmulatorClient) -> None:
    before, since = archive_and_jobs_state(cli_with_archive), emulator.last()
    wanted = [sample.DEMO_PLAYLIST, sample.PLAYLIST_3, sample.VIDEO_LARGE, sample.KINDS["private"]]

    plan = run_json(cli_with_archive, "plan", *wanted)

    estimate = plan["estimate"]
    assert [target["videos"] for target in plan["targets"]] == [12, 3, 2]
    numbers = [estimate[name] for name in ("videos", "held", "gone", "to_fetch", "unknown_lengths")]
    assert numbers == [17, 10, 3, 4, 0]
    assert plan["gone"] == {
        sample.VIDEO_DELETED: "deleted", sample.VIDEO_PRIVATE: "private", sample.KINDS["private"]: "private",
    }  # fmt: skip
    assert (estimate["learned"], estimate["measured"], estimate["fits"]) == (True, True, True)
    assert estimate["free_after"] == estimate["free_bytes"] - estimate["bytes"]["likely"]
    assert estimate["quota_units"] is None
    assert archive_and_jobs_state(cli_with_archive) == before
    asked = {entry["video_id"] for entry in emulator.log(since=since) if entry.get("video_id")}
    assert asked == {sample.VIDEO_LARGE, sample.KINDS["private"]}, "a listing contains the durations of its videos"
    assert not emulator.log(since=since, kind="media")


def test_a_plan_skips_archived_files_like_a_job(cli_with_archive: Any) -> None:
    """For another caption language only captions are fetched; --force fetches everything."""
    captions = run_json(cli_with_archive, "plan", sample.DEMO_PLAYLIST, "--captions", "en,de")["estimate"]
    everything = run_json(cli_with_archive, "plan", sample.DEMO_PLAYLIST, "--force")["estimate"]
    assert captions["held"] < 10
    assert captions["to_fetch"] + captions["held"] == 10
    assert captions["video_seconds"] == 0
    assert (everything["held"], everything["to_fetch"], everything["gone"]) == (0, 10, 2)


def test_a_plan_limits_the_lookups_of_single_videos(cli_with_archive: Any, emulator: EmulatorClient) -> None:
    since = emulator.last()
    ids = [sample.VIDEO_OK, sample.VIDEO_LARGE, "upload-0001", "upload-0002"]
    estimate = run_json(cli_with_archive, "plan", *ids, "--look-ups", "1")["estimate"]
    asked = {entry["video_id"] for entry in emulator.log(since=since) if entry.get("video_id")}
    assert asked == {sample.VIDEO_LARGE}
    assert (estimate["held"], estimate["to_fetch"], estimate["unknown_lengths"]) == (1, 3, 2)


def test_a_plan_reports_playlists_that_do_not_exist(cli_with_archive: Any) -> None:
    nothing = run_json(cli_with_archive, "plan", sample.PLAYLIST_MISSING, code=1)
    assert nothing["error"]["code"] == "E002"
    some = run_json(cli_with_archive, "plan", sample.PLAYLIST_MISSING, sample.VIDEO_OK, code=3)
    assert some["targets"][0]["error"]["code"] == "E002"
    assert some["estimate"]["held"] == 1


def test_invalid_arguments_exit_2_and_create_nothing(cli: Any) -> None:
    for words in (["plan"], ["plan", "nonsense"], ["plan", sample.VIDEO_OK, "-q", "1081p"]):
        assert cli(*words).code == 2
    assert cli("metadata", sample.DEMO_PLAYLIST).code == 2
    assert cli("playlist", "info", sample.VIDEO_OK).code == 2
    assert not cli.data.exists()


def test_a_plan_for_a_new_output_dir_creates_no_directory(cli: Any) -> None:
    plan = run_json(cli, "plan", sample.PLAYLIST_3, "-o", str(cli.home / "new" / "place"))
    assert plan["root"] == str(cli.home / "new" / "place")
    assert (plan["estimate"]["to_fetch"], plan["estimate"]["learned"]) == (3, False)
    assert not (cli.home / "new").exists()
    assert not cli.archive.exists()


def test_a_plan_on_a_running_stack_counts_quota_units_and_creates_no_job(
    make_cli: Any, emulator: EmulatorClient
) -> None:
    cli = make_cli(YOUTUBE_API_KEY="a-key-of-a-test", YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint)
    cli.start("up").wait_for("Ready.")
    plan = run_json(cli, "plan", sample.PLAYLIST_120, sample.VIDEO_OK)
    assert (
        plan["estimate"]["quota_units"] == 8
    )  # 1 for the playlist, 3 for its pages, 3 for their videos, 1 for the single video
    assert plan["quota_left"] == 9_000 - 7, "the requests of the plan itself are spent"
    assert plan["estimate"]["unknown_lengths"] == 0
    assert "8 units of the Data API" in cli("plan", sample.PLAYLIST_120, sample.VIDEO_OK).out
    assert json.loads(cli("jobs", "list", "--json").out)["total"] == 0
    elsewhere = cli("plan", sample.VIDEO_OK, "-o", str(Path(cli.home, "elsewhere")))
    assert elsewhere.code == 2, "the running stack would reject that job"
    assert "is not an archive root" in elsewhere.err


def test_metadata_and_playlist_info_show_the_current_state(cli_with_archive: Any) -> None:
    words = ("metadata", f"https://youtu.be/{sample.VIDEO_LEADING_DASH}")
    video = run_json(cli_with_archive, *words)
    assert (video["video_id"], video["channel_handle"]) == (sample.VIDEO_LEADING_DASH, sample.CHANNEL_HANDLE)
    up = cli_with_archive.start("up")
    up.wait_for("Ready.")
    assert run_json(cli_with_archive, *words) == video, "a running stack gives the same answer"
    gone = cli_with_archive("metadata", sample.VIDEO_DELETED)
    assert (gone.code, "(deleted)" in gone.err, "E002" in gone.err) == (1, True, True), gone.err
    listed = run_json(cli_with_archive, "playlist", "info", sample.DEMO_PLAYLIST)
    assert listed["playlist"]["title"] == "YTArchive demo"
    assert [entry["marked"] for entry in listed["entries"] if not entry["held"]] == ["deleted", "private"]
    older = cli_with_archive("playlist", "info", f"youtube.com/c/{sample.CHANNEL_OLD_NAME}", "--entries")
    assert older.code == 0, older.err
    assert "36, of which 0 are archived and 0 marked as gone" in older.out
    assert "upload-0001" in older.out
    up.process.terminate()
    up.end()
