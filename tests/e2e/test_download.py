"""`ytarchive download` end to end: saved files, output and exit codes."""

import json
import re
import signal
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.emulator.situations import ALBUM, ALBUM_PLAYLIST

PLAYLIST = f"https://www.youtube.com/playlist?list={sample.DEMO_PLAYLIST}"


def test_one_video_is_saved(cli: Any) -> None:
    run = cli("download", sample.VIDEO_OK)

    assert run.code == 0, run.out + run.err
    assert cli.mp4(sample.VIDEO_OK).stat().st_size > 10_000
    assert "saved          Loopback, part 1: Hello" in run.out
    assert "Done: 1 saved, 0 already archived" in run.out
    assert str(cli.archive) in run.out
    assert run.err == ""


def write_cookies(path: Path, *names: str) -> Path:
    lines = (f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{name}\tsecret\n" for name in names)
    path.write_text("# Netscape HTTP Cookie File\n" + "".join(lines))
    return path


def test_watch_later_is_saved_with_cookies_and_refused_without(
    make_cli: Any, emulator: EmulatorClient, tmp_path: Path
) -> None:
    emulator.begin("private_lists")
    cookies = write_cookies(tmp_path / "cookies.txt", "SAPISID", "LOGIN_INFO")
    cli = make_cli(YTARCHIVE_YOUTUBE__COOKIES_FILE=str(cookies))

    refused = make_cli("without")("download", "WL")
    run = cli("download", "https://www.youtube.com/playlist?list=WL", "--metadata-only")
    write_cookies(cookies, "PREF")
    expired = cli("download", "LL", "--metadata-only")

    assert refused.code == 2 and "WL (Watch later) is shown to its owner only" in refused.err
    assert "[youtube] cookies_file" in refused.err
    assert run.code == 0, run.out + run.err
    listed = json.loads((cli.archive / "metadata" / "playlists" / "WL.json").read_text())
    assert (listed["title"], len(listed["entries"])) == ("Watch later", 3)
    assert expired.code == 1
    assert "YouTube shows Liked videos to its owner only" in expired.out and "have expired" in expired.out
    assert "[E005]" in expired.out
    assert "secret" not in run.out + run.err + expired.out + expired.err


def test_an_album_of_youtube_music_is_saved_as_its_playlist(cli: Any, emulator: EmulatorClient) -> None:
    emulator.begin("album")

    planned = cli("plan", ALBUM, "--json")
    run = cli("download", f"https://music.youtube.com/browse/{ALBUM}", "--metadata-only")

    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["targets"][0]["videos"] == 3
    assert run.code == 0, run.out + run.err
    assert (cli.archive / "metadata" / "playlists" / f"{ALBUM_PLAYLIST}.json").exists()


def test_what_was_wanted_and_is_not_there_is_said_at_the_end(cli: Any, emulator: EmulatorClient) -> None:
    emulator.put_video("no-pictures", title="No picture", channel=sample.CHANNEL, thumbnails=[])
    broken = emulator.add_fault("caption", "status", video_id=sample.VIDEO_TWO_CAPTIONS, status=500)
    wanted = (sample.VIDEO_NO_CAPTIONS, sample.VIDEO_480P, "no-pictures", sample.VIDEO_TWO_CAPTIONS)

    run = cli("download", *wanted)
    emulator.remove_fault(broken)
    again = cli("download", *wanted, "--json")

    assert run.code == 0, run.out + run.err
    lines = run.out.splitlines()
    absent = f"1 video without captions that YouTube does not have: Part 3: nobody wrote it down ({wanted[0]}): en"
    low = f"1 video below 1080p, because YouTube offered no better: Part 8: nothing above 480p ({wanted[1]}): 480p"
    bare = "1 video without a thumbnail, which YouTube does not have: No picture (no-pictures)"
    for line in (absent, low, bare):
        assert line in lines, run.out
    failed = r"1 video without captions that could not be fetched \(next look [-\d: ]+\): Part 2: .+: en"
    assert any(re.fullmatch(failed, line) for line in lines), run.out
    assert again.code == 0 and again.result["short"] == [], "only of what this job has saved"
    assert again.result["job"]["counts"]["skipped"] == 4, "captions that were refused wait for the next look"


def test_the_result_for_programs_names_what_is_not_there(cli: Any) -> None:
    run = cli("download", sample.VIDEO_NO_CAPTIONS, "--json")

    (short,) = run.result["short"]
    assert (short["video_id"], short["shortfall"]) == (
        sample.VIDEO_NO_CAPTIONS, {"absent": ["captions/en"], "unfetched": [], "height": None, "next_look": None},
    )  # fmt: skip


def test_a_download_that_saves_nothing_says_so_and_exits_3(cli: Any) -> None:
    run = cli("download", sample.VIDEO_DELETED, sample.VIDEO_PRIVATE)

    assert run.code == 3, run.err
    assert "Nothing was saved: 0 saved, 0 already archived, 2 unavailable" in run.out
    assert json.loads(cli("jobs", "list", "--json").out)["jobs"][0]["status"] == "completed"


def test_a_playlist_with_unavailable_videos_exits_3_and_the_next_run_only_lists(
    cli: Any, emulator: EmulatorClient
) -> None:
    first = cli("download", PLAYLIST, "--json")

    assert first.code == 3, first.err
    result = first.result
    assert result["exit_code"] == 3
    assert result["job"]["counts"]["archived"] == 10
    assert {gap["video_id"]: gap["reason"] for gap in result["unavailable"]} == {
        sample.VIDEO_DELETED: "deleted",
        sample.VIDEO_PRIVATE: "private",
    }
    plan = json.loads(Path(result["work_plan"]).read_text())
    assert {gap["video_id"] for gap in plan["unavailable_videos"]} == {sample.VIDEO_DELETED, sample.VIDEO_PRIVATE}

    since = emulator.last()
    second = cli("download", PLAYLIST)

    assert second.code == 3
    assert "0 saved, 10 already archived, 2 unavailable" in second.out
    assert f"{sample.VIDEO_DELETED}  deleted" in second.out
    assert f"{sample.VIDEO_PRIVATE}  private" in second.out
    assert "Work plan: " in second.out
    assert {entry["kind"] for entry in emulator.log(since=since)} <= {"playlist_page", "browse"}


def test_all_invalid_targets_are_reported_and_no_download_starts(cli: Any, emulator: EmulatorClient) -> None:
    run = cli("download", "not a video", sample.VIDEO_OK, "https://example.org/x")

    assert run.code == 2
    assert "not a video" in run.err and "https://example.org/x" in run.err
    assert "or a bare id" in run.err
    assert run.out == ""
    assert not cli.data.exists()
    assert emulator.log() == []


def test_json_output_is_the_events_of_one_trace_and_a_final_result(cli: Any) -> None:
    run = cli("download", sample.VIDEO_OK, "--json")

    assert run.code == 0, run.err
    *events, result = run.lines
    types = [event["type"] for event in events]
    for expected in ("job.created", "listing.page_fetched", "metadata.fetched", "download.progress", "video.archived"):
        assert expected in types
    assert types[-1] == "job.completed"
    assert {event["trace_id"] for event in events} == {result["job"]["trace_id"]}
    assert (result["type"], result["exit_code"], result["job"]["status"]) == ("result", 0, "completed")
    assert result["bytes"] > 10_000


def test_an_error_with_json_output_is_a_json_object(cli: Any) -> None:
    run = cli("download", "nonsense", "--json")

    assert run.code == 2
    assert run.result["error"]["code"] == "E007"
    assert run.result["exit_code"] == 2


def test_a_video_id_that_begins_with_a_dash_is_accepted(cli: Any) -> None:
    run = cli("download", "--no-captions", sample.VIDEO_LEADING_DASH, "--quality", "144p")

    assert run.code == 0, run.out + run.err
    assert cli.mp4(sample.VIDEO_LEADING_DASH).exists()
    assert not (cli.mp4(sample.VIDEO_LEADING_DASH).parent / "captions").exists()


def test_targets_are_read_from_a_file_and_from_stdin(cli: Any) -> None:
    batch = cli.home / "list.txt"
    batch.write_text(f"# films\n\n  https://youtu.be/{sample.VIDEO_OK}\n")

    from_file = cli("download", "--batch", str(batch), "--metadata-only")
    from_stdin = cli("download", "--batch", "-", "--metadata-only", stdin=f"{sample.VIDEO_NO_CAPTIONS}\n")

    assert (from_file.code, from_stdin.code) == (0, 0), from_file.err + from_stdin.err
    assert "1 described" in from_file.out
    assert {path.stem for path in (cli.archive / "metadata" / "videos").iterdir()} == {
        sample.VIDEO_OK,
        sample.VIDEO_NO_CAPTIONS,
    }
    assert not cli.mp4(sample.VIDEO_OK).exists()


def test_output_dir_selects_the_archive_root_and_force_downloads_again(cli: Any, emulator: EmulatorClient) -> None:
    elsewhere = cli.home / "elsewhere"

    first = cli("download", sample.VIDEO_OK, "-o", "elsewhere")
    since = emulator.last()
    again = cli("download", sample.VIDEO_OK, "-o", str(elsewhere), "--force")

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert (elsewhere / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").exists()
    assert "1 saved, 0 already archived" in again.out
    assert emulator.log(since=since, kind="media")
    assert not cli.mp4(sample.VIDEO_OK).exists()


def test_a_playlist_that_does_not_exist_fails(cli: Any) -> None:
    run = cli("download", sample.PLAYLIST_MISSING)

    assert run.code == 1, run.out + run.err
    assert "Failed: 0 saved" in run.out
    assert "Error [E002]" in run.out


def test_control_characters_of_a_title_are_never_printed(cli: Any) -> None:
    plain = cli("download", sample.VIDEO_HOSTILE_TITLE)
    shown = cli("jobs", "list").out + cli("jobs", "show", first_job_id_prefix(cli)).out
    as_json = cli("download", sample.VIDEO_HOSTILE_TITLE, "--json", "--force")

    assert (plain.code, as_json.code) == (0, 0), plain.err + as_json.err
    assert "Ha␛[31mrm␛]0;owned␇less" in plain.out
    for text in (plain.out + plain.err + shown, as_json.out + as_json.err):
        assert not any(char in text for char in "\x1b\x07\x08\r\x00\u202e\u202c\u2066\u2069\u200b")
    assert as_json.out.isascii()


def first_job_id_prefix(cli: Any) -> str:
    job_id: str = json.loads(cli("jobs", "list", "--json").out)["jobs"][0]["job_id"]
    return job_id[:13]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_stops_cleanly_and_the_same_command_resumes_it(
    cli: Any, emulator: EmulatorClient, number: signal.Signals
) -> None:
    throttle = emulator.add_fault("media", "throttle", rate=1_000_000)
    download = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)
    partial = cli.data / "tmp"
    until(lambda: sum(path.stat().st_size for path in partial.rglob("*.part")) > 500_000)

    asked = time.monotonic()
    download.signal(number)
    stopped = download.end()

    assert stopped.code == 130, stopped.out + stopped.err
    assert time.monotonic() - asked < 30
    assert "Run the same command again to continue" in stopped.out
    assert "Traceback" not in stopped.err
    assert any(partial.rglob("*.part"))
    assert '"status": "running"' in cli("jobs", "list", "--status", "open", "--json").out

    emulator.remove_fault(throttle)
    since = emulator.last()
    again = cli("download", f"https://www.youtube.com/watch?v={sample.VIDEO_LARGE}")

    assert again.code == 0, again.out + again.err
    assert "Continuing job" in again.out
    assert cli.mp4(sample.VIDEO_LARGE).exists()
    ranges = [entry["range"] for entry in emulator.log(since=since, kind="media") if entry["range"]]
    assert any(not asked_for.startswith("bytes=0-") for asked_for in ranges), ranges
    assert json.loads(cli("jobs", "list", "--json").out)["total"] == 1


def test_a_second_signal_ends_the_command_immediately(cli: Any, emulator: EmulatorClient) -> None:
    emulator.add_fault("media", "throttle", rate=200_000)
    download = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)

    download.signal(signal.SIGINT)
    download.wait_for("Press Ctrl-C again to end at once")
    download.signal(signal.SIGINT)

    assert download.end().code == 130
    assert cli("jobs", "list").code == 0


def test_other_open_jobs_stay_parked_and_are_reported(cli: Any, emulator: EmulatorClient) -> None:
    throttle = emulator.add_fault("media", "throttle", rate=200_000)
    first = cli.start("download", sample.VIDEO_LARGE)
    emulator.wait_for(kind="media", video_id=sample.VIDEO_LARGE)
    first.signal(signal.SIGTERM)
    first.end()
    emulator.remove_fault(throttle)
    since = emulator.last()

    second = cli("download", sample.VIDEO_OK)

    assert second.code == 0, second.err
    assert "1 other open job of earlier runs stays parked" in second.out
    assert not emulator.log(since=since, video_id=sample.VIDEO_LARGE)


def test_a_job_with_only_distant_retries_is_parked_and_exits_4(cli: Any) -> None:
    run = cli("download", sample.VIDEO_OK, sample.KINDS["upcoming"])

    assert run.code == 4, run.out + run.err
    assert "Parked: 1 saved" in run.out
    assert "the next one is at" in run.out
    assert "Run the same command again then." in run.out


def test_a_better_archived_copy_is_kept_unless_forced(cli: Any) -> None:
    assert cli("download", sample.VIDEO_OK, "--quality", "360p").code == 0
    better = cli.mp4(sample.VIDEO_OK).read_bytes()

    worse = cli("download", sample.VIDEO_OK, "--quality", "wv*+wa")

    assert worse.code == 0, worse.err
    assert "the archive keeps its better copy (--force replaces it)" in worse.out
    assert cli.mp4(sample.VIDEO_OK).read_bytes() == better
    assert cli("download", sample.VIDEO_OK, "--quality", "wv*+wa", "--force").code == 0
    assert cli.mp4(sample.VIDEO_OK).read_bytes() != better


def test_a_full_disk_is_reported_and_the_download_waits(make_cli: Any) -> None:
    cli = make_cli(YTARCHIVE_STORAGE__MIN_FREE=str(10**15))
    download = cli.start("download", sample.VIDEO_OK)
    download.wait_for("The disk is full: ")
    download.signal(signal.SIGINT)

    ended = download.end()

    assert ended.code == 130
    assert "[storage] min_free keeps 1000000.0 GB: free some, or lower it" in ended.out
    [job] = json.loads(cli("jobs", "list", "--json").out)["jobs"]
    shown = json.loads(cli("jobs", "show", job["job_id"], "--json").out)
    assert (shown["items"][0]["status"], shown["items"][0]["reason"]) == ("waiting", "disk_full")
    assert "min_free" in cli("jobs", "show", job["job_id"]).out


def test_a_directory_that_cannot_be_scanned_does_not_block_downloads(cli: Any) -> None:
    """The initial scan of the archive fails, as on a broken network share; downloads do not depend on it."""
    assert cli("download", sample.VIDEO_OK).code == 0
    folder = cli.archive / "metadata" / "playlists"
    folder.symlink_to(folder)  # ELOOP stands for EIO

    ran = cli("download", sample.VIDEO_480P)

    assert ran.code == 0, ran.out + ran.err
    assert cli.mp4(sample.VIDEO_480P).exists()


def test_a_closed_output_pipe_causes_no_error_output(cli: Any) -> None:
    import subprocess

    words = " ".join(cli.command("jobs", "list"))
    ran = subprocess.run(
        ["bash", "-c", f"{words} --json | true; {words} | head -c 1 >/dev/null"],
        env=cli.env,
        cwd=cli.home,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.stderr == ""


def test_a_stream_that_never_ends_does_not_hide_what_was_added_later(cli: Any, emulator: EmulatorClient) -> None:
    playlist = "PLendless00000000000000000000000"
    entries = emulator.put_playlist(playlist, count=2, channel=sample.CHANNEL)["entries"]
    emulator.set_kind(entries[0], "live")
    first = cli("download", playlist, "--json")
    assert (first.code, first.result["job"]["counts"]["archived"]) == (4, 1), first.err

    emulator.put_playlist(playlist, title="Longer", channel=sample.CHANNEL, entries=[*entries, sample.VIDEO_OK])
    second = cli("download", playlist, "--json")

    assert (second.code, second.result["job"]["counts"]["archived"]) == (4, 2), second.err
    assert second.result["job"]["job_id"] == first.result["job"]["job_id"]
    assert cli.mp4(sample.VIDEO_OK).exists()
    listed = json.loads((cli.archive / "metadata" / "playlists" / f"{playlist}.json").read_text())
    assert [entry["video_id"] for entry in listed["entries"]] == [*entries, sample.VIDEO_OK]
    assert [line["change"] for line in listed["history"]] == ["first_look", "appeared"]


def test_a_command_says_why_it_waits_until_when_and_what_to_do(cli: Any, emulator: EmulatorClient) -> None:
    emulator.begin("reload")
    running = cli.start("download", sample.PLAYLIST_20)
    running.wait_for("Video after video fails with the same words")
    running.signal(signal.SIGINT)
    ended = running.end()

    (line,) = [line for line in ended.out.splitlines() if line.startswith("waiting ")]
    assert "The page needs to be reloaded." in line
    assert f"yt-dlp {metadata.version('yt-dlp')} (" in line and "Update it: `" in line
    assert "The next attempt is at " in line
    assert ended.code == 130, ended.err
    assert len(emulator.log(kind="watch")) <= 8
