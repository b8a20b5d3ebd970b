"""Follows: which look is due, what it finds, when the next one is, and that no event changes anything twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common import events as e
from services.common.domain.follows import FollowVideoState
from services.common.domain.videos import Entry, PlaylistMetadata
from services.common.models import ErrorCode, ErrorDetail, JobOptions, JobType
from services.common.rules import Rules, VideoKind
from services.jobs.domain import follows, state_machine
from services.jobs.domain.rhythm import Pace, RequestBudget, interval_of
from services.jobs.domain.rows import FollowRow
from tests.fixtures.jobs_world import MemoryRows

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
PACE = Pace()
CHANNEL = "UCfollow0000000000000000"
ID = "0123456789ab"


class Follows:
    """One follow on rows in memory, whose clock a test moves."""

    def __init__(self, target: str = CHANNEL, *, rules: Rules | None = None, **more: Any) -> None:
        self.rows, self.now = MemoryRows(), NOW
        options = JobOptions(rules=rules or Rules())
        self.step(
            e.FollowCreated(
                follow_id=ID,
                change_id="1",
                target=target,
                type=JobType.PLAYLIST_DOWNLOAD,
                options=options,
                root="/a",
                **more,
            )
        )

    @property
    def row(self) -> FollowRow:
        return self.rows.follows[ID]

    def step(self, event: Any) -> list[Any]:
        return [out for out, _trace in state_machine.step(self.rows, event, self.now, "trace", pace=PACE)]

    def due(self) -> e.FollowLookDue:
        ((event, _trace),) = follows.look(self.rows, self.row, self.now)
        assert isinstance(event, e.FollowLookDue)
        return event

    def looked(self, *entries: Entry, **more: Any) -> list[Any]:
        due = self.due()
        self.step(e.FollowListed(follow_id=ID, look=due.look, how=due.how, page=0, entries=entries))
        playlist = PlaylistMetadata(playlist_id="UU", title="A channel", channel_id=CHANNEL)
        return self.step(
            e.FollowLooked(**({"follow_id": ID, "look": due.look, "how": due.how, "playlist": playlist} | more))
        )


def video(n: int, at: datetime | None = None, **more: Any) -> Entry:
    values = {"video_id": f"video{n:06d}", "title": f"Video {n}", "published_from": at, "published_until": at}
    return Entry.model_validate(values | more)


def test_the_first_look_reads_the_list_and_the_next_the_feed() -> None:
    world = Follows()
    first = world.due()
    assert (first.how, first.known, first.prefixes) == ("list", (), ("UU",))
    out = world.looked(video(2), video(1, position=1))
    found = next(event for event in out if isinstance(event, e.FollowFound))
    assert (found.found, found.title) == (2, "A channel")
    assert found.job_id == f"follow-{ID}-{world.row.look:x}"
    assert isinstance(out[0], e.JobQueued)
    job = world.rows.jobs[found.job_id]
    assert (job.title, job.root, job.target_count) == ("A channel", "/a", 2)
    due = world.due()
    assert (due.how, due.known) == ("feed", ("video000002", "video000001"))
    world.now += timedelta(days=1, minutes=1)
    assert world.due().how == "list"
    world.now += timedelta(days=30)
    assert (world.due().how, world.due().known) == ("list", ())


def test_what_is_known_is_found_once() -> None:
    world = Follows()
    world.looked(video(1))
    assert world.looked(video(1)) == []
    out = world.looked(video(2), video(1), video(2))
    assert [event.entries[0].video_id for event in out if isinstance(event, e.FollowFound)] == ["video000002"]
    assert (world.row.videos, world.row.taken) == (2, 2)


def test_an_answer_counts_once_and_for_its_look_only() -> None:
    world = Follows()
    due = world.due()
    answer = e.FollowLooked(follow_id=ID, look=due.look, how="list")
    listed = e.FollowListed(follow_id=ID, look=due.look, how=due.how, page=0, entries=(video(1),))
    again = world.due()  # it was not answered in time
    assert world.step(listed) == world.step(answer) == []
    assert (world.row.videos, world.row.looking is not None) == (0, True)
    world.step(listed.model_copy(update={"look": again.look}))
    assert world.step(answer.model_copy(update={"look": again.look})) != []
    assert world.step(answer.model_copy(update={"look": again.look})) == []
    world.step(e.FollowRemoved(follow_id=ID, change_id="2"))
    assert world.step(listed) == world.step(answer) == []


def test_a_look_that_somebody_asks_for_does_not_end_the_one_that_runs() -> None:
    world = Follows()
    due = world.due()
    world.step(e.FollowLookRequested(follow_id=ID, change_id="2"))
    assert (world.row.next_look, world.row.look) == (None, due.look)
    world.step(e.FollowLooked(follow_id=ID, look=due.look, how="list"))
    world.step(e.FollowLookRequested(follow_id=ID, change_id="3"))
    assert (world.row.next_look, world.row.wanted) == (NOW, True)


def page(world: Follows, due: e.FollowLookDue, number: int, *videos: int) -> None:
    entries = tuple(video(n, position=number * 100 + place) for place, n in enumerate(videos))
    world.step(e.FollowListed(follow_id=ID, look=due.look, how=due.how, page=number, entries=entries))


def test_the_newest_are_the_newest_also_after_a_first_look_that_was_cut_off() -> None:
    world = Follows(last=2)
    page(world, world.due(), 0, 10, 9, 8)
    again = world.due()
    page(world, again, 0, 10, 9, 8)
    page(world, again, 1, 3, 2, 1)
    world.step(e.FollowLooked(follow_id=ID, look=again.look, how="list", pages=2))
    states = {one.video_id: one.state for one in world.rows.follow_videos.values()}
    taken = [video_id for video_id, state in states.items() if state is FollowVideoState.TAKEN]
    assert sorted(taken) == ["video000009", "video000010"]
    assert world.due().known[:2] == ("video000010", "video000009")


def test_what_an_unfinished_look_has_seen_does_not_end_the_next_one() -> None:
    world = Follows()
    world.looked(video(1))
    world.now += timedelta(days=2)
    page(world, world.due(), 0, *range(250, 150, -1))
    assert world.due().known == ("video000001",)


def test_events_of_a_removed_follow_do_not_end_the_first_look_of_the_next_one() -> None:
    world = Follows()
    old = world.due()
    world.step(e.FollowRemoved(follow_id=ID, change_id="2"))
    world.now += timedelta(milliseconds=2)
    world.step(
        e.FollowCreated(
            follow_id=ID, change_id="3", target=CHANNEL, type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(), root="/a"
        )
    )
    world.due()
    page(world, old, 1, 5)
    world.step(e.FollowLooked(follow_id=ID, look=old.look, how="list"))
    assert world.row.looking is not None
    assert world.row.videos == 0


def test_a_failing_look_is_repeated_sooner_than_a_quiet_channel_is_looked_at() -> None:
    world = Follows(every_seconds=86_400.0 * 3)
    error = ErrorDetail(code=ErrorCode.NETWORK_TIMEOUT, message="away")
    for most in (10, 20, 40):
        world.looked(error=error)
        assert world.row.next_look is not None
        assert world.row.next_look <= NOW + timedelta(minutes=most)


def test_a_failed_look_keeps_what_it_has_found_for_the_next_one() -> None:
    world = Follows(last=2)
    error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message="away")
    assert world.looked(video(9), error=error) == []
    assert (world.row.failures, world.row.error, world.row.looked_at) == (1, error, None)
    assert world.row.next_look is not None
    assert world.row.next_look > NOW
    out = world.looked(video(9), video(8, position=1), video(7, position=2))
    found = next(event for event in out if isinstance(event, e.FollowFound))
    assert [entry.video_id for entry in found.entries] == ["video000009", "video000008"]
    assert world.rows.follow_videos[ID, "video000007"].state is FollowVideoState.BEFORE
    assert (world.row.failures, world.row.error) == (0, None)


def test_a_message_that_could_not_be_handled_ends_its_look() -> None:
    world = Follows()
    due = world.due()
    letter = e.DeadLettered(
        type="follow.looked", consumer="jobs-inbox", sequence=1, error="ValueError: no", payload="", follow_id=ID
    )
    world.step(letter)
    assert (world.row.looking, world.row.failures) == (None, 1)
    assert world.row.error is not None
    assert world.row.error.message == "follow.looked could not be handled: ValueError: no"
    assert world.row.next_look is not None
    world.step(e.FollowLooked(follow_id=ID, look=due.look, how="list"))
    assert world.row.looked_at is None


def test_after_a_block_each_is_looked_at_within_its_own_interval() -> None:
    world = Follows(every_seconds=3600.0)
    until = NOW + timedelta(hours=7)
    error = ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message="blocked")
    world.looked(error=error, retry_after=until)
    assert world.row.next_look is not None
    assert until < world.row.next_look < until + timedelta(hours=1)


def test_a_long_first_look_does_not_slow_the_others_down() -> None:
    world = Follows(every_seconds=3600.0)
    world.looked(video(1), requests=500)
    assert (world.row.load, world.row.stretched) == (1.0, False)
    world.looked(video(1), requests=3)
    assert world.row.load == 3.0


def test_what_a_look_will_cost() -> None:
    world = Follows(rules=Rules(kinds=(VideoKind.SHORT, VideoKind.VIDEO)))
    assert follows.expected_requests(world.row, NOW) == 4  # two lists
    world.looked(*(video(n, position=n) for n in range(100)))
    assert follows.expected_requests(world.row, NOW) == 2  # two feeds
    assert follows.expected_requests(world.row, NOW + timedelta(days=2)) == 4
    assert follows.expected_requests(world.row, NOW + timedelta(days=40)) == 5


@pytest.mark.parametrize(
    ("kinds", "prefixes"),
    [
        ((), ("UU",)),
        ((VideoKind.VIDEO, VideoKind.PREMIERE), ("UULF",)),
        ((VideoKind.SHORT, VideoKind.STREAM), ("UUSH", "UULV")),
        (tuple(VideoKind), ("UU",)),
    ],
)
def test_only_the_lists_of_wanted_kinds_are_read(kinds: tuple[VideoKind, ...], prefixes: tuple[str, ...]) -> None:
    assert Follows(rules=Rules(kinds=kinds)).due().prefixes == prefixes


def test_other_rules_let_everything_be_read_again() -> None:
    world = Follows(rules=Rules(title_exclude="2"))
    world.looked(video(2), video(1, position=1))
    assert (world.row.taken, world.row.left_out) == (1, 1)
    world.step(e.FollowChanged(follow_id=ID, change_id="2", options=JobOptions()))
    assert (world.due().known, world.row.left_out) == ((), 0)
    out = world.looked(video(2), video(1, position=1))
    assert [entry.video_id for event in out if isinstance(event, e.FollowFound) for entry in event.entries] == [
        "video000002"
    ]


def test_other_rules_end_the_look_that_runs_with_the_old_ones() -> None:
    world = Follows(rules=Rules(title_exclude="2"))
    due = world.due()
    listed = e.FollowListed(follow_id=ID, look=due.look, how=due.how, page=0, entries=(video(2), video(1, position=1)))
    world.step(listed)
    world.step(e.FollowChanged(follow_id=ID, change_id="2", options=JobOptions(rules=Rules(title_exclude="1"))))
    assert (world.row.next_look, world.row.videos) == (NOW, 0)
    assert world.step(e.FollowLooked(follow_id=ID, look=due.look, how="list")) == []
    out = world.looked(video(2), video(1, position=1))
    assert [entry.video_id for event in out if isinstance(event, e.FollowFound) for entry in event.entries] == [
        "video000002"
    ]


def test_hidden_entries_are_not_found_yet() -> None:
    world = Follows("PLfollow00000000000000000000000001")
    assert world.looked(video(1, title="[Private video]", marked="private")) == []
    assert world.looked(video(1)) != []
    assert world.due().how == "list"


def test_the_feed_rests_after_three_failures() -> None:
    world = Follows()
    world.looked(video(1))
    for failures in range(3):
        assert world.row.feed_failures == failures
        world.looked(how="list", feed_problem="HTTP Error 404")
    world.looked()
    assert world.row.how == "list"
    world.now += timedelta(hours=13)
    world.looked()
    assert (world.row.how, world.row.feed_failures, world.row.feed_problem) == ("feed", 0, None)


@pytest.mark.parametrize(
    ("every", "quiet", "expected"),
    [
        (timedelta(hours=1), timedelta(0), timedelta(minutes=10)),  # the shortest
        (timedelta(days=1), timedelta(hours=5), timedelta(hours=3)),
        (timedelta(days=7), timedelta(days=2), timedelta(hours=21)),
        (timedelta(days=7), timedelta(days=14), timedelta(hours=42)),  # longer silent than usual
        (timedelta(days=30), timedelta(0), timedelta(days=3)),  # the longest
        (timedelta(days=1), timedelta(days=300), timedelta(days=3)),
    ],
)
def test_the_rhythm_of_a_channel(every: timedelta, quiet: timedelta, expected: timedelta) -> None:
    row = Follows().row
    row.times = tuple(NOW - quiet - n * every for n in range(12))
    assert interval_of(row, NOW, PACE) == expected


def test_a_chosen_interval_holds_and_a_new_channel_is_asked_every_six_hours() -> None:
    assert interval_of(Follows().row, NOW, PACE) == timedelta(hours=6)
    assert interval_of(Follows(every_seconds=60.0).row, NOW, PACE) == timedelta(minutes=1)


def test_many_follows_share_the_requests() -> None:
    world = Follows(every_seconds=3600.0)
    world.row.load = 0.0
    world.rows.add(replace(world.row, follow_id="f" * 12, load=480.0))
    world.looked(video(1))
    assert world.row.stretched
    assert world.row.interval == pytest.approx(3600 * 481 / 240)


def test_a_follow_that_is_created_again_makes_jobs_of_its_own() -> None:
    world = Follows()
    world.looked(video(1))
    created = e.FollowCreated(
        follow_id=ID, change_id="9", target=CHANNEL, type=JobType.PLAYLIST_DOWNLOAD, options=JobOptions(), root="/a"
    )
    world.step(e.FollowRemoved(follow_id=ID, change_id="8"))
    world.now += timedelta(minutes=1)
    world.step(created)
    world.looked(video(1))
    assert len(world.rows.jobs) == 2


def test_a_clock_that_was_ahead_delays_no_look() -> None:
    world = Follows()
    world.now += timedelta(days=3650)
    world.looked(video(1))
    world.now = NOW + timedelta(days=1)
    follows.clock_set_back(world.row, world.now)
    assert world.row.next_look == world.now
    assert world.due().how == "feed"
    world.looked(video(2))
    assert world.row.next_look is not None
    assert world.row.next_look < world.now + timedelta(days=4)


def test_a_paused_follow_waits_for_nothing_and_weighs_nothing() -> None:
    world = Follows()
    world.step(e.FollowChanged(follow_id=ID, change_id="2", paused=True))
    assert (world.row.next_look, world.row.load) == (None, 0.0)
    world.step(e.FollowChanged(follow_id=ID, change_id="3", paused=False))
    assert world.row.next_look is not None


def test_the_budget_of_requests() -> None:
    budget = RequestBudget(120)
    assert [budget.take(ID, 1, NOW) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.ready_at(NOW) == NOW + timedelta(seconds=30)
    assert budget.take(ID, 50, NOW + timedelta(seconds=31))  # a long list
    assert not budget.take(ID, 1, NOW + timedelta(minutes=20))
    assert budget.take(ID, 1, NOW + timedelta(minutes=27))
    budget.sent(ID, 21)  # its feed failed, and a list was long
    assert not budget.take(ID, 1, NOW + timedelta(minutes=35))
    assert budget.take(ID, 1, NOW + timedelta(minutes=37))
