"""`plan`, `metadata` and `playlist info`: what is told before anything is fetched, beside a stack and without one."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample


@pytest.fixture(scope="module")
def saved(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with ten videos and two gaps, a job that waits for a stream, and nothing that runs."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("plan") / "home")
    assert cli("download", sample.DEMO_PLAYLIST).code == 3
    assert cli("download", sample.KINDS["upcoming"]).code == 4
    return cli


def told(cli: Any, *words: str, code: int = 0) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == code, ran.err + ran.out
    return json.loads(ran.out)


def state(cli: Any) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Every file of the archive, and all that jobs.db holds but the ids of messages that were read: services say that
    they are there."""
    files = {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(cli.archive.rglob("*"))}
    database = sqlite3.connect(f"{(cli.data / 'jobs' / 'jobs.db').as_uri()}?mode=ro", uri=True)
    try:
        return files, [line for line in database.iterdump() if 'INTO "inbox"' not in line]
    finally:
        database.close()


def test_a_plan_tells_all_and_changes_nothing(saved: Any, emulator: EmulatorClient) -> None:
    before, since = state(saved), emulator.last()
    wanted = [sample.DEMO_PLAYLIST, sample.PLAYLIST_3, sample.VIDEO_LARGE, sample.KINDS["private"]]

    plan = told(saved, "plan", *wanted)

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
    assert state(saved) == before
    asked = {entry["video_id"] for entry in emulator.log(since=since) if entry.get("video_id")}
    assert asked == {sample.VIDEO_LARGE, sample.KINDS["private"]}, "lists tell the lengths of theirs"
    assert not emulator.log(since=since, kind="media")


def test_the_same_rule_as_a_job(saved: Any) -> None:
    """Captions in another language are fetched, their videos are not; --force fetches all."""
    captions = told(saved, "plan", sample.DEMO_PLAYLIST, "--captions", "en,de")["estimate"]
    everything = told(saved, "plan", sample.DEMO_PLAYLIST, "--force")["estimate"]
    assert captions["held"] < 10
    assert captions["to_fetch"] + captions["held"] == 10
    assert captions["video_seconds"] == 0
    assert (everything["held"], everything["to_fetch"], everything["gone"]) == (0, 10, 2)


def test_polite_with_single_videos(saved: Any, emulator: EmulatorClient) -> None:
    since = emulator.last()
    ids = [sample.VIDEO_OK, sample.VIDEO_LARGE, "upload-0001", "upload-0002"]
    estimate = told(saved, "plan", *ids, "--look-ups", "1")["estimate"]
    asked = {entry["video_id"] for entry in emulator.log(since=since) if entry.get("video_id")}
    assert asked == {sample.VIDEO_LARGE}
    assert (estimate["held"], estimate["to_fetch"], estimate["unknown_lengths"]) == (1, 3, 2)


def test_lists_that_are_not_there(saved: Any) -> None:
    nothing = told(saved, "plan", sample.PLAYLIST_MISSING, code=1)
    assert nothing["error"]["code"] == "E002"
    some = told(saved, "plan", sample.PLAYLIST_MISSING, sample.VIDEO_OK, code=3)
    assert some["targets"][0]["error"]["code"] == "E002"
    assert some["estimate"]["held"] == 1


def test_wrong_words_start_nothing(cli: Any) -> None:
    for words in (["plan"], ["plan", "nonsense"], ["plan", sample.VIDEO_OK, "-q", "1081p"]):
        assert cli(*words).code == 2
    assert cli("metadata", sample.DEMO_PLAYLIST).code == 2
    assert cli("playlist", "info", sample.VIDEO_OK).code == 2
    assert not cli.data.exists()


def test_a_plan_for_a_new_place_leaves_no_folder(cli: Any) -> None:
    plan = told(cli, "plan", sample.PLAYLIST_3, "-o", str(cli.home / "new" / "place"))
    assert plan["root"] == str(cli.home / "new" / "place")
    assert (plan["estimate"]["to_fetch"], plan["estimate"]["learned"]) == (3, False)
    assert not (cli.home / "new").exists()
    assert not cli.archive.exists()


def test_beside_a_stack_with_an_api_key(make_cli: Any, emulator: EmulatorClient) -> None:
    cli = make_cli(YOUTUBE_API_KEY="a-key-of-a-test", YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint)
    cli.start("up").wait_for("Ready.")
    plan = told(cli, "plan", sample.PLAYLIST_120, sample.VIDEO_OK)
    assert plan["estimate"]["quota_units"] == 8  # 1 for the list, 3 for its lines, 3 for their videos, 1 for the video
    assert plan["quota_left"] == 9_000 - 7, "what the plan itself asked is spent"
    assert plan["estimate"]["unknown_lengths"] == 0
    assert "8 units of the Data API" in cli("plan", sample.PLAYLIST_120, sample.VIDEO_OK).out
    assert json.loads(cli("jobs", "list", "--json").out)["total"] == 0
    elsewhere = cli("plan", sample.VIDEO_OK, "-o", str(Path(cli.home, "elsewhere")))
    assert elsewhere.code == 2, "the stack that runs would reject that job"
    assert "is not an archive root" in elsewhere.err


def test_a_video_and_a_list_as_they_are_now(saved: Any) -> None:
    words = ("metadata", f"https://youtu.be/{sample.VIDEO_LEADING_DASH}")
    video = told(saved, *words)
    assert (video["video_id"], video["channel_handle"]) == (sample.VIDEO_LEADING_DASH, sample.CHANNEL_HANDLE)
    up = saved.start("up")
    up.wait_for("Ready.")
    assert told(saved, *words) == video, "beside a stack it is the same"
    gone = saved("metadata", sample.VIDEO_DELETED)
    assert (gone.code, "(deleted)" in gone.err, "E002" in gone.err) == (1, True, True), gone.err
    listed = told(saved, "playlist", "info", sample.DEMO_PLAYLIST)
    assert listed["playlist"]["title"] == "YTArchive demo"
    assert [entry["marked"] for entry in listed["entries"] if not entry["held"]] == ["deleted", "private"]
    older = saved("playlist", "info", f"youtube.com/c/{sample.CHANNEL_OLD_NAME}", "--entries")
    assert older.code == 0, older.err
    assert "36, of which 0 are archived and 0 marked as gone" in older.out
    assert "upload-0001" in older.out
    up.process.terminate()
    up.end()
