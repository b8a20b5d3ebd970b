"""SIGKILL at each step of a look: the next run finds everything, each video once."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bus.fault_injection import VARIABLE
from tests.conftest import Cli
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

VIDEOS = [f"other-{n:05d}" for n in range(120)]  # two pages
WANTED = set(VIDEOS[::15])
POINTS = [
    "jobs.committed.follow.created",
    "jobs.committed.follow.look_requested",
    "jobs.publishing.follow.look_due",
    "bus.published.follow.look_due",
    "bus.taken.follow.look_due",
    "bus.published.follow.listed",
    "bus.published.follow.listed:2",
    "jobs.committed.follow.listed",
    "bus.published.follow.looked",
    "jobs.committed.follow.looked",
    "jobs.publishing.follow.found",
    "bus.handled.follow.look_due",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_look_loses_no_find(point: str, make_cli: Callable[..., Cli], emulator: EmulatorClient) -> None:
    cli = make_cli()
    for video_id in VIDEOS:
        video = {"title": video_id, "channel": sample.OTHER_CHANNEL, "duration": 20 if video_id in WANTED else 2}
        emulator.put_video(video_id, **video)
    emulator.put_channel(sample.OTHER_CHANNEL, handle="@SecondSource", title="Second Source", uploads=VIDEOS)
    killing = replace(cli, env={**cli.env, VARIABLE: point})
    add = ("follow", "add", sample.OTHER_CHANNEL, "--metadata-only", "--min-length", "10s")
    if point == POINTS[0]:
        assert killing(*add).code == -signal.SIGKILL
    else:
        assert cli(*add).code == 0
        assert killing("follow", "run").code == -signal.SIGKILL
    ran = cli("follow", "run", "--json")
    assert ran.code == 0, ran.err
    for job in json.loads(cli("jobs", "list", "--status", "open", "--json").out)["jobs"]:  # created before the kill
        assert cli("jobs", "resume", job["job_id"], "--json").code == 0
    saved = {path.stem for path in Path(cli.archive / "metadata" / "videos").glob("*.json")}
    assert saved == WANTED
    jobs = json.loads(cli("jobs", "list", "--json").out)["jobs"]
    assert sum(job["counts"]["total"] for job in jobs) == len(WANTED)
    follow = json.loads(cli("follow", "list", "--json").out)["follows"][0]
    assert (follow["videos"], follow["taken"], follow["left_out"]) == (120, 8, 112)
