"""A running system looks again at what it could not save."""

import json
from typing import Any

from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

COMES_BACK = sample.VIDEO_PRIVATE
INTERVAL = 3.0  # seconds


def told(cli: Any, *words: str) -> Any:
    ran = cli(*words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_video_that_comes_back_is_fetched_by_the_schedule(make_cli: Any, emulator: EmulatorClient) -> None:
    cli = make_cli(YTARCHIVE_RECHECK__INTERVAL_DAYS=f"{INTERVAL / 86_400:.9f}")
    up = cli.start("up")
    up.wait_for("Ready.")
    assert cli("download", COMES_BACK, "--quality", "144p").code == 3
    (plan,) = told(cli, "workplan", "list")["work_plans"]
    asked_once = until(lambda: [job for job in rechecks(cli) if job["status"] == "completed"])
    assert asked_once[-1]["counts"]["unavailable"] == 1
    assert asked_once[-1]["options"]["quality"] == "144p"

    emulator.set_kind(COMES_BACK, "ok")
    until(lambda: told(cli, "workplan", "list")["work_plans"][0]["resolved"])

    assert cli.mp4(COMES_BACK).exists()
    assert [one["plan_id"] for one in told(cli, "workplan", "list")["work_plans"]] == [plan["plan_id"]]
    (gap,) = told(cli, "workplan", "show", plan["plan_id"])["unavailable_videos"]
    assert gap["resolved_at"]
    assert [(one["reason"], one["since"] < one["last"]) for one in gap["findings"]] == [("private", True)]
    lines = told(cli, "storage", "history", COMES_BACK)["events"]
    assert sorted(line["change"] for line in lines) == ["archived", "came_back", "found_gone"]
    assert lines[-1]["change"] == "found_gone"  # the newest first
    until(lambda: all(job["status"] == "completed" for job in rechecks(cli)))
    up.process.terminate()
    up.end()


def rechecks(cli: Any) -> list[Any]:
    return [job for job in told(cli, "jobs", "list")["jobs"] if job["job_id"].startswith("recheck-")]
