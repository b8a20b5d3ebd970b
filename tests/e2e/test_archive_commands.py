"""Commands that read the archive, with and without a running stack."""

import json
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample


@pytest.fixture(scope="module")
def cli_with_archive(cli_at: Any, emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a CLI whose home has two videos and a work plan; no stack is running."""
    emulator_child.reset()
    cli = cli_at(tmp_path_factory.mktemp("archive") / "home")
    assert cli("download", sample.VIDEO_OK, sample.VIDEO_480P, sample.VIDEO_DELETED).code == 3
    return cli


def run_json(cli: Any, *words: str) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_archive_commands_answer_the_same_with_and_without_a_running_stack(cli_with_archive: Any) -> None:
    (job,) = run_json(cli_with_archive, "jobs", "list")["jobs"]
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
    before = [run_json(cli_with_archive, *words) for words in commands]
    assert [video["video_id"] for video in before[0]["videos"]] == [sample.VIDEO_OK, sample.VIDEO_480P]
    assert [hit["moments_total"] for hit in before[2]["hits"]] == [1, 1]
    subjects = [entry["subject"] for entry in before[6]["entries"] if "subject" in entry]
    assert subjects[0] == "job.created"
    assert "job.completed" in subjects
    up = cli_with_archive.start("up")
    up.wait_for("Ready.")
    assert [run_json(cli_with_archive, *words) for words in commands] == before
    again = run_json(cli_with_archive, "workplan", "retry", job["job_id"])
    assert again["video_ids"] == [sample.VIDEO_DELETED]
    assert run_json(cli_with_archive, "storage", "rescan")["roots"] == [str(cli_with_archive.archive)]
    names = [service["name"] for service in run_json(cli_with_archive, "services")["services"]]
    assert names == ["download", "jobs", "logging", "metadata", "storage"]
    assert "slots" in cli_with_archive("services").out
    assert run_json(cli_with_archive, "quota")["keys"] == []
    assert "The quota is renewed at" in cli_with_archive("quota").out
    up.process.terminate()
    up.end()


def test_output_without_json_is_readable_text(cli_with_archive: Any) -> None:
    listed = cli_with_archive("storage", "list", "480p")
    assert listed.code == 0
    assert "nothing above 480p" in listed.out
    assert "1 video" in listed.out
    assert "Loopback Lectures" in cli_with_archive("storage", "stats").out
    assert (
        "deleted"
        in cli_with_archive(
            "workplan", "show", run_json(cli_with_archive, "workplan", "list")["work_plans"][-1]["plan_id"]
        ).out
    )
    history = cli_with_archive("storage", "history", sample.VIDEO_OK)
    assert (history.code, f"archived: captions/{sample.VIDEO_OK}_en.vtt" in history.out) == (0, True)
    assert "unavailable: it was deleted" in cli_with_archive("storage", "history", sample.VIDEO_DELETED).out
    assert "service_started" in cli_with_archive("logs", "--level", "info", "--limit", "500").out


def test_search_prints_the_title_and_the_time_of_a_match(cli_with_archive: Any) -> None:
    ran = cli_with_archive("storage", "search", "goodbye", "part 8", "--limit", "5")
    assert ran.code == 0, ran.err
    title, said, _, total = ran.out.splitlines()
    assert title == f"Part 8: nothing above 480p  Loopback Lectures  {sample.VIDEO_480P}"
    assert said == "  0:01  and goodbye  en"
    assert total == "1 video"
    assert "No results." in cli_with_archive("storage", "search", "goodbye", "-and").out
    for typed in ('"', "AND OR NOT", "-", "title:x", "*", "(("):
        assert cli_with_archive("storage", "search", typed).code == 0, typed
    assert "--language" in cli_with_archive("storage", "search", "x", "--language", "../en").err
    assert cli_with_archive("storage", "search", "x" * 201).code == 2


def test_unknown_ids_and_services_are_reported(cli_with_archive: Any) -> None:
    assert cli_with_archive("storage", "show", sample.VIDEO_DELETED).code == 1
    assert cli_with_archive("storage", "show", "nothing").code == 2
    unknown = cli_with_archive("storage", "history", "nobodyknows")
    assert (unknown.code, "Nothing is known of 'nobodyknows'" in unknown.err) == (2, True)
    assert "There is no work plan" in cli_with_archive("workplan", "show", "nobody").err
    assert "Start `ytarchive up`" in cli_with_archive("workplan", "delete", "nobody").err
    assert "--service" in cli_with_archive("logs", "--service", "nobody").err


def test_commands_on_a_missing_archive_print_empty_results_and_create_nothing(cli: Any) -> None:
    assert "No videos." in cli("storage", "list").out
    assert "No results." in cli("storage", "search", "words").out
    assert "No work plans." in cli("workplan", "list").out
    assert "No records." in cli("logs").out
    assert run_json(cli, "storage", "stats")["videos"] == 0
    assert not cli.data.exists()


def test_cleanup_previews_without_a_stack_and_removes_with_a_running_one(make_cli: Any) -> None:
    cli = make_cli()
    assert cli("download", sample.VIDEO_OK).code == 0
    cli.env["YTARCHIVE_RETENTION__COMPLETED_JOBS"] = "0"
    old = cli.data / "logs" / "2020-01-01.jsonl"
    old.write_text("{}\n")
    assert cli("cleanup", "--dry-run").out.startswith("1 job and 1 log file (3 bytes) would be removed.")
    assert "Start `ytarchive up`" in cli("cleanup").err
    assert len(run_json(cli, "jobs", "list")["jobs"]) == 1
    cli.env["YTARCHIVE_RETENTION__COMPLETED_JOBS"] = "30"
    up = cli.start("up")
    up.wait_for("Ready.")
    old.write_text("{}\n")
    assert [file["name"] for file in run_json(cli, "cleanup", "--dry-run")["logs"]["files"]] in ([old.name], [])
    assert run_json(cli, "cleanup")["jobs"]["total"] == 0
    assert not old.exists()
    assert cli.mp4(sample.VIDEO_OK).exists()
    up.process.terminate()
    up.end()


def test_an_unreadable_work_plan_is_a_warning_on_stderr_and_the_json_stays_json(make_cli: Any) -> None:
    cli = make_cli()
    plans = cli.data / "work_plans"
    plans.mkdir(parents=True)
    (plans / "damaged.json").write_text("{")
    ran = cli("workplan", "list", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["total"] == 0
    assert "damaged.json" in ran.err


def test_an_id_that_begins_with_a_dash_is_an_id(make_cli: Any) -> None:
    cli = make_cli()
    for command in ("show", "history", "verify"):
        ran = cli("storage", command, "-aaaaaaaaaa", "--json")
        assert "option" not in ran.out + ran.err, (command, ran)
