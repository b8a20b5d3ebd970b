"""Scheduled re-checks of videos that could not be saved."""

import json
from typing import Any

from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

RETURNING_VIDEO = sample.VIDEO_PRIVATE
INTERVAL = 3.0  # seconds


def run_json(cli: Any, *words: str) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_scheduled_recheck_downloads_a_video_that_became_available(make_cli: Any, emulator: EmulatorClient) -> None:
    cli = make_cli(YTARCHIVE_RECHECK__INTERVAL_DAYS=f"{INTERVAL / 86_400:.9f}")
    up = cli.start("up")
    up.wait_for("Ready.")
    assert cli("download", RETURNING_VIDEO, "--quality", "144p").code == 3
    (plan,) = run_json(cli, "workplan", "list")["work_plans"]
    first_rechecks = until(lambda: [job for job in rechecks(cli) if job["status"] == "completed"])
    assert first_rechecks[-1]["counts"]["unavailable"] == 1
    assert first_rechecks[-1]["options"]["quality"] == "144p"

    emulator.set_kind(RETURNING_VIDEO, "ok")
    until(lambda: run_json(cli, "workplan", "list")["work_plans"][0]["resolved"])

    assert cli.mp4(RETURNING_VIDEO).exists()
    assert [one["plan_id"] for one in run_json(cli, "workplan", "list")["work_plans"]] == [plan["plan_id"]]
    (gap,) = run_json(cli, "workplan", "show", plan["plan_id"])["unavailable_videos"]
    assert gap["resolved_at"]
    assert [(one["reason"], one["since"] < one["last"]) for one in gap["findings"]] == [("private", True)]
    lines = run_json(cli, "storage", "history", RETURNING_VIDEO)["events"]
    assert sorted(line["change"] for line in lines) == ["archived", "came_back", "found_gone"]
    assert lines[-1]["change"] == "found_gone"  # newest first
    until(lambda: all(job["status"] == "completed" for job in rechecks(cli)))
    up.process.terminate()
    up.end()


def rechecks(cli: Any) -> list[Any]:
    return [job for job in run_json(cli, "jobs", "list")["jobs"] if job["job_id"].startswith("recheck-")]
