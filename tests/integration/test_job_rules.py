"""Rules of a job: what the list decides costs no request, what only the video tells costs one extraction."""

from collections import Counter
from typing import Any

import aiohttp
import pytest

from services.common.domain.jobs import ItemStatus
from services.common.models import JobStatus
from tests.fixtures.stack_client import Archive
from ytarchive.emulator.site import sample

LIST = "PLrules0000000000000000000000000a"


def publish(archive: Archive) -> None:
    world = archive.emulator
    videos: dict[str, dict[str, Any]] = {
        "rule-film01": {"title": "A concert", "duration": 30, "description": "In Bern."},
        "rule-film02": {"title": "A talk", "duration": 30, "description": "In Basel."},
        "rule-short1": {"title": "A clip", "duration": 3, "description": "In Bern."},
        "rule-live01": {"title": "On air", "kind": "live", "description": "In Basel."},
    }
    for video_id, video in videos.items():
        world.put_video(video_id, channel=sample.CHANNEL, **video)
    world.put_playlist(LIST, title="Rules", channel=sample.CHANNEL, entries=list(videos))


async def test_a_job_leaves_out_what_its_rules_do_not_take(archive: Archive) -> None:
    publish(archive)
    archive.emulator.clear_log()
    job_id = await archive.create(LIST, rules={"min_length": "10s", "description_include": "bern"})
    job, items = await archive.wait_for_end(job_id)
    assert (job.status, job.counts.archived, job.counts.skipped, job.counts.failed) == (JobStatus.COMPLETED, 1, 3, 0)
    assert job.work_plan is None
    told = {video_id: item.message for video_id, item in items.items() if item.status is ItemStatus.SKIPPED}
    assert told == {
        "rule-film02": "left out: its description does not match 'bern'",
        "rule-short1": "left out: it is shorter than 10 s (3 s)",
        "rule-live01": "left out: its description does not match 'bern'",
    }
    log = archive.emulator.log()
    asked = Counter(entry["video_id"] for entry in log if entry["kind"] in {"watch", "player"})
    assert asked["rule-short1"] == 0
    assert asked["rule-film02"] == asked["rule-film01"] > 0
    assert {entry["video_id"] for entry in log if entry["kind"] in {"media", "caption", "thumbnail"}} == {"rule-film01"}
    assert not (archive.root / "metadata" / "videos" / "rule-film02.json").exists()


async def test_a_video_that_another_job_wants_is_saved_for_both(archive: Archive) -> None:
    publish(archive)
    strict = await archive.create(LIST, rules={"description_include": "bern", "max_length": 40})
    plain = await archive.create("rule-film02")
    job, items = await archive.wait_for_end(plain)
    assert items["rule-film02"].status is ItemStatus.ARCHIVED
    job, items = await archive.wait_for_end(strict)
    assert job.status is JobStatus.COMPLETED
    assert items["rule-film01"].status is ItemStatus.ARCHIVED


async def test_what_is_for_members_only_is_left_out_and_no_gap(archive: Archive) -> None:
    archive.emulator.put_video("rule-member", title="Thanks", channel=sample.CHANNEL, kind="members")
    job_id = await archive.create("rule-member", rules={"members_only": "exclude"})
    job, items = await archive.wait_for_end(job_id)
    assert (job.counts.skipped, job.counts.unavailable, job.work_plan) == (1, 0, None)
    assert items["rule-member"].message is not None
    assert items["rule-member"].message.startswith("left out: ")


@pytest.mark.parametrize("rules", [{"title_include": "("}, {"min_length": "soon"}, {"kind": ["video"]}])
async def test_wrong_rules_are_refused(archive: Archive, rules: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as http:
        body = {"targets": [LIST], "options": {"rules": rules}}
        async with http.post(f"{archive.stack.services['jobs'].url}/api/v1/jobs", json=body) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"]) == (400, "E007")
            assert "rules" in error["message"]
