"""Streaks of first attempts that fail: when they are about this machine, and what is taken back."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from bus.message import Event
from services.common import events as e
from services.common.domain.failures import FailureKind, Suspicion
from services.common.domain.jobs import ItemStatus
from services.common.models import JobStatus
from services.common.rechecks import recheck_id
from services.jobs.domain.rows import ItemRow
from services.jobs.domain.scheduler import Block
from services.jobs.domain.streaks import LEAST, MOST_ASKED, next_canary
from tests.fixtures.jobs_world import World, completed

HERE = "home/direct"
MINUTE = timedelta(minutes=1)
RELOAD = {"kind": FailureKind.PASSING, "reason": "reload", "message": "The page needs to be reloaded."}
PLAIN = {"kind": FailureKind.REFUSED, "reason": "unexplained", "message": "This content isn't available."}
PRIVATE = {"kind": FailureKind.GONE, "reason": "private", "message": "Private video"}


def videos(count: int) -> list[str]:
    return [f"video{n:06d}" for n in range(count)]


def listed(world: World, count: int = 20, job_id: str = "j1", **more: Any) -> list[str]:
    world.create(job_id)
    world.checked(job_id, *videos(count), **more)
    world.listed(job_id)
    return videos(count)


def look(world: World, video: str, words: dict[str, Any], egress: str = HERE) -> list[Event]:
    """Dispatch a video and let it fail, a second later."""
    request = world.dispatch(video, egress)
    world.now += timedelta(seconds=1)
    return fail(world, request, words)


def fail(world: World, request: e.DownloadRequested, words: dict[str, Any]) -> list[Event]:
    return world.failed(request, **words)


def save(world: World, *saved: str) -> None:
    for video in saved:
        request = world.dispatch(video, HERE)
        world.now += timedelta(seconds=1)
        completed(world, request)
        world.archived(request)


def streak(world: World, tried: Sequence[str], words: dict[str, Any]) -> None:
    for video in tried:
        for event in look(world, video, words):
            if isinstance(event, e.VideoFailed):
                world.answer_work_plan(event)


def block(world: World, reason: str = Suspicion.SAME_FAILURE) -> list[Event]:
    """The probe has confirmed the suspicion."""
    until = world.now + 5 * MINUTE
    return world.apply(e.SourceBlocked(egress=HERE, reason=reason, until=until, message="why"))


def item(world: World, video: str) -> ItemRow:
    return world.rows.items["j1", video]


@pytest.mark.parametrize("words", [RELOAD, PLAIN], ids=["unknown", "unexplained"])
def test_five_first_attempts_with_the_same_words_raise_a_question(world: World, words: dict[str, Any]) -> None:
    tried = listed(world)[:LEAST]
    streak(world, tried[:-1], words)
    assert world.rows.blocks == {}
    streak(world, tried[-1:], words)
    assert world.rows.blocks[HERE].reason == Suspicion.SAME_FAILURE
    assert world.rows.blocks[HERE].question
    assert world.rows.blocks[HERE].until == world.now, "the next dispatch is the probe"
    last = item(world, tried[-1])
    assert (last.status, last.attempts) == (ItemStatus.WAITING, 0), "one video is left to probe with"


@pytest.mark.parametrize("words", [RELOAD, PLAIN], ids=["unknown", "unexplained"])
def test_a_confirmed_streak_costs_no_attempt_and_its_findings_are_withdrawn(
    world: World, words: dict[str, Any]
) -> None:
    tried = listed(world)[:LEAST]
    streak(world, tried, words)
    given_up = {event.video_id: event.number for event in world.out if isinstance(event, e.VideoFailed)}
    out = block(world)
    for video in tried:
        found = item(world, video)
        assert (found.status, found.attempts, found.errors) == (ItemStatus.WAITING, 0, [])
        assert found.retry_at == world.rows.blocks[HERE].until
    withdrawn = {event.video_id: event.number for event in out if isinstance(event, e.FindingWithdrawn)}
    assert withdrawn == given_up
    job = world.rows.jobs["j1"]
    assert (job.open, job.failed, job.unavailable) == (20, 0, 0)
    assert job.status is JobStatus.RUNNING
    assert world.rows.streaks == {}


def test_a_finding_is_withdrawn_after_it_was_written_to_the_plan(world: World) -> None:
    """Storage handles both events on its own: withdrawn first, the finding would stay on the plan."""
    tried = listed(world, LEAST)[:LEAST]
    given_up = [event for video in tried for event in look(world, video, PLAIN) if isinstance(event, e.VideoFailed)]
    assert len(given_up) == LEAST - 1
    assert block(world) == []
    assert {item(world, video).status for video in tried[:-1]} == {ItemStatus.CLOSING}
    for event in given_up:
        (withdrawn,) = world.answer_work_plan(event)
        assert withdrawn == e.FindingWithdrawn(job_id="j1", video_id=event.video_id, number=event.number)
        assert world.answer_work_plan(event) == []
    assert {(item(world, video).status, item(world, video).attempts) for video in tried} == {(ItemStatus.WAITING, 0)}
    assert {item(world, video).retry_at for video in tried} == {world.rows.blocks[HERE].until}
    assert (world.rows.jobs["j1"].open, world.rows.jobs["j1"].work_plan) == (LEAST, "/plans/x.json")


def test_a_streak_counts_videos_and_takes_the_findings_of_all_their_jobs_back(world: World) -> None:
    tried = listed(world)[:LEAST]
    listed(world, job_id="j2")
    streak(world, tried[:-1], PLAIN)
    assert world.rows.blocks == {}, "four videos of two jobs are four"
    streak(world, tried[-1:], PLAIN)
    block(world)
    for job_id in ("j1", "j2"):
        found = {world.rows.items[job_id, video].status for video in tried}
        assert found == {ItemStatus.WAITING}, job_id
        assert world.rows.jobs[job_id].failed == 0


def test_a_served_canary_lets_the_findings_stand(world: World) -> None:
    tried = listed(world)[:LEAST]
    streak(world, tried, PLAIN)
    world.apply(e.SourceCleared(egress=HERE))
    assert world.rows.blocks == {}
    assert [item(world, video).status for video in tried[:-1]] == [ItemStatus.FAILED] * 4
    streak(world, tried[-1:], PLAIN)  # the one that was left
    assert item(world, tried[-1]).status is ItemStatus.FAILED
    assert world.rows.streaks[HERE].looks == (), "a video that has failed before is no first attempt"


def test_after_a_served_canary_it_takes_twice_as_many_to_ask_again(world: World) -> None:
    found = listed(world, 80)
    asked = []
    for number, video in enumerate(found):
        streak(world, [video], PLAIN)
        if world.rows.blocks:
            asked.append(number + 1)
            world.apply(e.SourceCleared(egress=HERE))
    assert asked == [5, 15, 35, 75], "four canaries for 80 videos that are refused indeed"
    save(world, *listed(world, 1, job_id="j2"))
    assert world.rows.streaks == {}, "a video that is served begins anew"


def test_another_block_of_the_site_confirms_the_suspicion_too(world: World) -> None:
    tried = listed(world)[:LEAST]
    streak(world, tried, PLAIN)
    block(world, "bot_check")
    assert {item(world, video).status for video in tried} == {ItemStatus.WAITING}


def test_a_failure_of_the_same_kind_during_the_block_costs_nothing(world: World) -> None:
    *tried, in_flight, other = listed(world)[: LEAST + 2]
    first, second = world.dispatch(in_flight, HERE), world.dispatch(other, HERE)
    streak(world, tried, RELOAD)
    block(world)
    assert fail(world, first, RELOAD) == []
    assert (item(world, in_flight).status, item(world, in_flight).attempts) == (ItemStatus.WAITING, 0)
    world.failed(second, FailureKind.PASSING, reason="http_503")
    assert item(world, other).attempts == 1


def answered_not_yet(world: World, video: str) -> None:
    look(world, video, {"kind": FailureKind.NOT_YET, "reason": "upcoming", "message": "Premieres in 5 days"})


@pytest.mark.parametrize("answer", [save, answered_not_yet, lambda world, video: streak(world, [video], PRIVATE)])
def test_an_answer_about_a_video_in_between_ends_the_streak(world: World, answer: Callable[[World, str], None]) -> None:
    tried = listed(world)
    streak(world, tried[: LEAST - 1], RELOAD)
    answer(world, tried[LEAST])
    streak(world, tried[LEAST + 1 : LEAST + 2], RELOAD)
    assert world.rows.blocks == {}


def test_a_download_from_before_the_streak_does_not_end_it(world: World) -> None:
    long_one, *tried = listed(world)[: LEAST + 1]
    request = world.dispatch(long_one, HERE)
    streak(world, tried[:-1], RELOAD)
    completed(world, request)
    streak(world, tried[-1:], RELOAD)
    assert world.rows.blocks[HERE].question


def test_a_download_that_began_after_the_streak_answers_its_question(world: World) -> None:
    *tried, good = listed(world)[: LEAST + 1]
    streak(world, tried[:-1], RELOAD)
    request = world.dispatch(good, HERE)
    streak(world, tried[-1:], RELOAD)
    assert world.rows.blocks[HERE].question
    completed(world, request)
    assert (world.rows.blocks, world.rows.streaks) == ({}, {})


def test_different_words_and_second_attempts_and_other_egresses_are_no_streak(world: World) -> None:
    tried = listed(world)
    for number, video in enumerate(tried[:LEAST]):
        look(world, video, RELOAD | {"message": f"words {'abcdefgh'[number]}"})
    for _ in range(2):
        world.now += MINUTE
        look(world, tried[0], RELOAD)
    for number, video in enumerate(tried[LEAST : 2 * LEAST]):
        look(world, video, RELOAD, egress=f"machine{number}")
    assert world.rows.blocks == {}


def test_rechecks_are_evidence_where_a_canary_can_decide(world: World) -> None:
    job_id = recheck_id("1")
    found = listed(world, job_id=job_id)
    for video in found[: 2 * LEAST]:
        look(world, video, PLAIN)
    assert world.rows.blocks == {}
    world.create("j1")
    world.checked("j1", "saved000001")
    save(world, "saved000001")
    for video in found[2 * LEAST : 3 * LEAST]:
        look(world, video, PLAIN)
    assert world.rows.blocks[HERE].question


def test_a_selector_of_a_user_that_fits_no_video_is_no_evidence(world: World) -> None:
    world.create("j1", quality="bv[height=4320]")
    world.checked("j1", *videos(LEAST))
    for video in videos(LEAST):
        look(world, video, {"kind": FailureKind.PASSING, "reason": "format_unavailable", "message": "not available"})
    assert world.rows.blocks == {}


# --- nothing but unavailable videos ---------------------------------------------------------------------------------


def test_unavailable_videos_far_above_the_rate_before_raise_a_question(world: World) -> None:
    saved, tried = (found := listed(world))[:4], found[4:]
    save(world, *saved)
    streak(world, tried[:5], PRIVATE)
    assert world.rows.blocks == {}, "one in six, five times in a row, happens"
    streak(world, tried[5:6], PRIVATE)
    assert world.rows.blocks[HERE].reason == Suspicion.ALL_GONE
    block(world, Suspicion.ALL_GONE)
    assert {item(world, video).status for video in tried[:6]} == {ItemStatus.WAITING}
    assert world.rows.jobs["j1"].unavailable == 0


def test_a_list_with_many_unavailable_videos_raises_no_question(world: World) -> None:
    found = listed(world, 40)
    for good, gone in zip(found[:10], found[10:20], strict=True):
        save(world, good)
        streak(world, [gone], PRIVATE)
    streak(world, found[20:30], PRIVATE)
    assert world.rows.blocks == {}


def test_unavailable_videos_are_believed_where_nothing_was_saved_before(world: World) -> None:
    streak(world, listed(world, 40), PRIVATE)
    assert world.rows.blocks == {}
    assert world.rows.jobs["j1"].unavailable == 40


def test_videos_that_the_listing_shows_as_unavailable_are_no_evidence(world: World) -> None:
    world.create("j1")
    world.checked("j1", "saved000001")
    world.checked("j1", *videos(30), marked="private", key="p2")
    save(world, "saved000001")
    streak(world, videos(30), PRIVATE)
    assert world.rows.blocks == {}


def test_each_probe_asks_for_another_canary_and_then_for_the_least_asked(world: World) -> None:
    found = listed(world)
    question = Block(world.now, Suspicion.SAME_FAILURE)
    assert next_canary(world.rows, question) is None
    save(world, *found[:2])
    asked = [next_canary(world.rows, question) for _ in range(2 * MOST_ASKED + 1)]
    assert asked == [found[1], found[0], found[1], found[0]] * 3 + [None]


# --- what people are told ---------------------------------------------------------------------------------------------


def test_the_words_of_a_block_say_what_happened_until_when_and_what_to_do(world: World) -> None:
    listed(world)
    block(world)
    assert world.rows.blocks[HERE].waiting_for() == "why The next attempt is at 12:05 UTC."
    bare = Block(world.now, "bot_check").waiting_for()
    assert bare == "YouTube blocks this machine (bot check). The next attempt is at 12:00 UTC."
