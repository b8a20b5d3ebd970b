"""Commands that tell of the archive: beside a running stack and without one they say the same."""

import json
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample


@pytest.fixture(scope="module")
def saved(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with two videos and a work plan, and nothing that runs."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("archive") / "home")
    assert cli("download", sample.VIDEO_OK, sample.VIDEO_480P, sample.VIDEO_DELETED).code == 3
    return cli


def told(cli: Any, *words: str) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_the_same_with_and_without_a_stack(saved: Any) -> None:
    (job,) = told(saved, "jobs", "list")["jobs"]
    commands = [
        ("storage", "list", "--sort", "title"),
        ("storage", "list", "part -hello", "--status", "complete"),
        (
            "storage",
            "search",
            "say*",
            "-nobody",
            "--in",
            "captions",
            "--language",
            "en",
            "--channel",
            "loopback lectures",
        ),
        ("storage", "show", sample.VIDEO_OK),
        ("workplan", "list"),
        ("workplan", "show", job["job_id"]),
        ("trace", job["trace_id"]),
        ("storage", "history", sample.VIDEO_DELETED),
    ]
    before = [told(saved, *words) for words in commands]
    assert [video["video_id"] for video in before[0]["videos"]] == [sample.VIDEO_OK, sample.VIDEO_480P]
    assert [hit["moments_total"] for hit in before[2]["hits"]] == [1, 1]
    subjects = [entry["subject"] for entry in before[6]["entries"] if "subject" in entry]
    assert subjects[0] == "job.created"
    assert "job.completed" in subjects
    up = saved.start("up")
    up.wait_for("Ready.")
    assert [told(saved, *words) for words in commands] == before
    again = told(saved, "workplan", "retry", job["job_id"])
    assert again["video_ids"] == [sample.VIDEO_DELETED]
    assert told(saved, "storage", "rescan")["roots"] == [str(saved.archive)]
    names = [service["name"] for service in told(saved, "services")["services"]]
    assert names == ["download", "jobs", "logging", "metadata", "storage"]
    assert "slots" in saved("services").out
    assert told(saved, "quota")["keys"] == []
    assert "The quota is renewed at" in saved("quota").out
    up.process.terminate()
    up.end()


def test_for_people(saved: Any) -> None:
    listed = saved("storage", "list", "480p")
    assert listed.code == 0
    assert "nothing above 480p" in listed.out
    assert "1 video" in listed.out
    assert "Loopback Lectures" in saved("storage", "stats").out
    assert "deleted" in saved("workplan", "show", told(saved, "workplan", "list")["work_plans"][-1]["plan_id"]).out
    story = saved("storage", "history", sample.VIDEO_OK)
    assert (story.code, f"archived: captions/{sample.VIDEO_OK}_en.vtt" in story.out) == (0, True)
    assert "unavailable: it was deleted" in saved("storage", "history", sample.VIDEO_DELETED).out
    assert "service_started" in saved("logs", "--level", "info", "--limit", "500").out


def test_words_are_found_with_their_time(saved: Any) -> None:
    ran = saved("storage", "search", "goodbye", "part 8", "--limit", "5")
    assert ran.code == 0, ran.err
    title, said, _, total = ran.out.splitlines()
    assert title == f"Part 8: nothing above 480p  Loopback Lectures  {sample.VIDEO_480P}"
    assert said == "  0:01  and goodbye  en"
    assert total == "1 video"
    assert "No results." in saved("storage", "search", "goodbye", "-and").out
    for typed in ('"', "AND OR NOT", "-", "title:x", "*", "(("):
        assert saved("storage", "search", typed).code == 0, typed
    assert "--language" in saved("storage", "search", "x", "--language", "../en").err
    assert saved("storage", "search", "x" * 201).code == 2


def test_what_there_is_not(saved: Any) -> None:
    assert saved("storage", "show", sample.VIDEO_DELETED).code == 1
    assert saved("storage", "show", "nothing").code == 2
    unknown = saved("storage", "history", "nobodyknows")
    assert (unknown.code, "Nothing is known of 'nobodyknows'" in unknown.err) == (2, True)
    assert "There is no work plan" in saved("workplan", "show", "nobody").err
    assert "Start `ytarchive up`" in saved("workplan", "delete", "nobody").err
    assert "--service" in saved("logs", "--service", "nobody").err


def test_an_archive_that_never_was(cli: Any) -> None:
    assert "No videos." in cli("storage", "list").out
    assert "No results." in cli("storage", "search", "words").out
    assert "No work plans." in cli("workplan", "list").out
    assert "No records." in cli("logs").out
    assert told(cli, "storage", "stats")["videos"] == 0
    assert not cli.data.exists()


def test_retention_is_told_before_and_done_by_a_running_system(make_cli: Any) -> None:
    cli = make_cli()
    assert cli("download", sample.VIDEO_OK).code == 0
    cli.env["YTARCHIVE_RETENTION__COMPLETED_JOBS"] = "0"
    old = cli.data / "logs" / "2020-01-01.jsonl"
    old.write_text("{}\n")
    assert cli("cleanup", "--dry-run").out.startswith("1 job and 1 log file (3 bytes) would be removed.")
    assert "Start `ytarchive up`" in cli("cleanup").err
    assert len(told(cli, "jobs", "list")["jobs"]) == 1
    cli.env["YTARCHIVE_RETENTION__COMPLETED_JOBS"] = "30"
    up = cli.start("up")
    up.wait_for("Ready.")
    old.write_text("{}\n")
    assert [file["name"] for file in told(cli, "cleanup", "--dry-run")["logs"]["files"]] in ([old.name], [])
    assert told(cli, "cleanup")["jobs"]["total"] == 0
    assert not old.exists()
    assert cli.mp4(sample.VIDEO_OK).exists()
    up.process.terminate()
    up.end()
