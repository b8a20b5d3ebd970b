"""Follows, with all services and the emulator: what is found, what is fetched, how often is asked, what survives."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from services.common.domain.follows import Follow, FollowVideo
from services.common.domain.jobs import ItemStatus
from services.common.models import JobStatus
from services.common.settings.load import Config
from tests.fixtures.stack_client import Archive
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[Any]]
HANDLE = "@SecondSource"


class Follows:
    """A client of the REST interface, and the channel that is followed."""

    def __init__(self, archive: Archive, http: aiohttp.ClientSession, eventually: Eventually) -> None:
        self.archive, self.http, self._eventually = archive, http, eventually
        self.url = f"{archive.stack.services['jobs'].url}/api/v1/follows"
        self._uploads: list[str] = []

    async def ask(self, method: str, path: str = "", status: int = 200, **body: Any) -> Any:
        async with self.http.request(method, f"{self.url}{path}", json=body or None) as answer:
            found = await answer.json()
            assert answer.status == status, found
            return found["data"] if status < 400 else found["error"]

    async def add(self, target: str, **body: Any) -> Follow:
        return Follow.model_validate(await self.ask("POST", status=201, target=target, **body))

    async def get(self, follow: Follow) -> Follow:
        return Follow.model_validate(await self.ask("GET", f"/{follow.follow_id}"))

    async def looked(self, follow: Follow, looks: int = 1) -> Follow:
        async def over() -> Follow | None:
            now = await self.get(follow)
            return now if now.looks >= looks and not now.looking else None

        found: Follow = await self._eventually(over)
        return found

    async def look(self, follow: Follow) -> Follow:
        before = await self.get(follow)
        await self.ask("POST", f"/{follow.follow_id}/look")
        return await self.looked(follow, before.looks + 1)

    async def videos(self, follow: Follow, query: str = "") -> dict[str, FollowVideo]:
        found = await self.ask("GET", f"/{follow.follow_id}/videos?limit=500{query}")
        return {video["video_id"]: FollowVideo.model_validate(video) for video in found["videos"]}

    def upload(self, *video_ids: str, **video: Any) -> None:
        """Publish videos on the channel, the last one being the newest."""
        for video_id in video_ids:
            self.archive.emulator.put_video(
                video_id, **({"title": f"About {video_id}", "channel": sample.OTHER_CHANNEL, "duration": 3} | video)
            )
            self._uploads.insert(0, video_id)
        self.show()

    def show(self) -> None:
        self.archive.emulator.put_channel(
            sample.OTHER_CHANNEL, handle=HANDLE, title="Second Source", uploads=self._uploads
        )

    def hide(self, video_id: str) -> None:
        self._uploads.remove(video_id)
        self.show()

    def requests(self) -> Counter[str]:
        counted = Counter(entry["kind"] for entry in self.archive.emulator.log())
        self.archive.emulator.clear_log()
        return Counter({kind: n for kind, n in counted.items() if kind in {"feed", "playlist_page", "browse"}})


@pytest.fixture
async def follows(archive: Archive, eventually: Eventually) -> AsyncIterator[Follows]:
    async with aiohttp.ClientSession() as http:
        yield Follows(archive, http, eventually)


async def test_a_channel_is_saved_and_then_what_is_new(follows: Follows) -> None:
    follows.upload("other-00001", "other-00002", "other-00003")
    follow = await follows.looked(await follows.add(f"https://www.youtube.com/{HANDLE}"))
    assert (follow.title, follow.channel_id, follow.how) == ("Second Source", sample.OTHER_CHANNEL, "list")
    assert (follow.videos, follow.taken, follow.left_out, follow.error) == (3, 3, 0, None)
    assert follow.job_id is not None
    job, items = await follows.archive.wait_for_end(follow.job_id)
    assert (job.status, job.title, job.counts.archived) == (JobStatus.COMPLETED, "Second Source", 3)

    follows.requests()
    same = await follows.look(follow)
    assert (same.how, same.job_id, follows.requests()) == ("feed", follow.job_id, {"feed": 1})
    follows.upload("other-00004")
    found = await follows.look(follow)
    assert (found.found_title, found.videos) == ("About other-00004", 4)
    assert found.job_id not in {None, follow.job_id}
    assert follows.requests() == {"feed": 1}
    job, items = await follows.archive.wait_for_end(found.job_id or "")
    assert [item.status for item in items.values()] == [ItemStatus.ARCHIVED]
    assert (await follows.look(follow)).videos == 4


async def test_what_rules_leave_out_is_listed_with_the_reason(follows: Follows) -> None:
    follows.upload("other-00001", "other-00002", title="A talk")
    follows.upload("other-short", tab="shorts", title="A talk, in short")
    follows.upload("other-00003", title="Music", description="Not for us.")
    follows.upload("other-00004", title="Silence", description="Not for us, and nobody knows.", duration=9)
    rules = {"kinds": ["video", "premiere"], "title_exclude": "music", "description_exclude": "nobody"}
    follow = await follows.looked(await follows.add(sample.OTHER_CHANNEL, options={"rules": rules}))
    job, items = await follows.archive.wait_for_end(follow.job_id or "")
    assert (job.status, job.counts.failed, job.work_plan) == (JobStatus.COMPLETED, 0, None)
    follow = await follows.get(follow)
    assert (follow.videos, follow.taken, follow.left_out) == (4, 2, 2)  # its shorts are not even looked at
    assert {key: video.reason for key, video in (await follows.videos(follow, "&state=left_out")).items()} == {
        "other-00003": "its title matches 'music'",
        "other-00004": "its description matches 'nobody'",
    }
    assert set(await follows.videos(follow, "&state=taken")) == {"other-00001", "other-00002"}

    await follows.ask("PATCH", f"/{follow.follow_id}", options={"rules": {"title_exclude": "silence"}})
    follow = await follows.looked(follow, follow.looks + 1)
    _job, items = await follows.archive.wait_for_end(follow.job_id or "")
    assert set(items) == {"other-short", "other-00003"}
    assert (follow.videos, follow.taken, follow.left_out) == (5, 4, 1)


async def test_only_the_last_ones(follows: Follows) -> None:
    follows.upload(*(f"other-000{n:02d}" for n in range(9)))
    follow = await follows.looked(await follows.add(HANDLE, last=2))
    _job, items = await follows.archive.wait_for_end(follow.job_id or "")
    assert set(items) == {"other-00008", "other-00007"}
    follows.upload("other-00009")
    follow = await follows.look(follow)
    _job, items = await follows.archive.wait_for_end(follow.job_id or "")
    assert set(items) == {"other-00009"}


async def test_the_list_does_when_the_feed_fails_or_has_a_gap(follows: Follows) -> None:
    follows.upload("other-00001")
    follow = await follows.looked(await follows.add(sample.OTHER_CHANNEL))
    fault = follows.archive.emulator.add_fault("feed", "status", status=404)
    follows.upload("other-00002")
    follows.requests()
    follow = await follows.look(follow)
    assert (follow.how, follow.videos, follow.error) == ("list", 2, None)
    assert follow.feed_problem is not None
    assert "404" in follow.feed_problem
    assert follows.requests() == {"feed": 1, "playlist_page": 1, "browse": 1}
    for _ in range(3):
        follow = await follows.look(follow)
    assert follows.requests()["feed"] == 2  # after three failures it is not tried for a while
    follows.archive.emulator.remove_fault(fault)

    other = await follows.looked(await follows.add(sample.CHANNEL, last=1))
    channel = {"handle": sample.CHANNEL_HANDLE, "title": "Many"}
    many = [f"many-{n:06d}" for n in range(40)]
    for video_id in many:
        follows.archive.emulator.put_video(video_id, title=video_id, channel=sample.CHANNEL, kind="private")
    old = follows.archive.emulator.state()["channels"][sample.CHANNEL]["uploads"]
    for video_id in many:
        follows.archive.emulator.set_kind(video_id, "ok")
    follows.archive.emulator.put_channel(sample.CHANNEL, uploads=[*many, *old], **channel)
    other = await follows.look(other)
    assert (other.how, other.feed_problem) == ("list", None)
    assert set(many) <= set(await follows.videos(other))


async def test_a_playlist_in_any_order(follows: Follows) -> None:
    follows.upload("other-00001", "other-00002", "other-00003")
    list_id = "PLfollow00000000000000000000000aa"
    emulator = follows.archive.emulator
    emulator.put_playlist(list_id, title="Mine", channel=sample.CHANNEL, entries=["other-00001", sample.VIDEO_DELETED])
    follow = await follows.looked(await follows.add(list_id))
    assert (follow.title, follow.videos) == ("Mine", 1)
    emulator.put_playlist(list_id, title="Mine", channel=sample.CHANNEL, entries=["other-00002", "other-00001"])
    follow = await follows.look(follow)
    emulator.put_playlist(list_id, title="Mine", channel=sample.CHANNEL, entries=["other-00001", "other-00003"])
    follow = await follows.look(follow)
    assert set(await follows.videos(follow)) == {"other-00001", "other-00002", "other-00003"}


async def test_a_block_or_a_missing_channel_is_told_and_tried_again(follows: Follows) -> None:
    follow = await follows.looked(await follows.add("UC0000000000000000000000"))
    assert follow.error is not None
    assert follow.failures == 1
    assert follow.next_look is not None
    assert follow.looked_at is None
    fault = follows.archive.emulator.add_fault("*", "status", status=429)
    follows.upload("other-00001")
    follow = await follows.looked(await follows.add(sample.OTHER_CHANNEL))
    assert follow.error is not None
    follows.archive.emulator.remove_fault(fault)


async def test_pause_remove_and_wrong_requests(follows: Follows) -> None:
    follows.upload("other-00001")
    follow = await follows.looked(await follows.add(HANDLE, every_seconds=3600))
    assert (follow.interval_seconds, follow.stretched) == (3600, False)
    paused = Follow.model_validate(await follows.ask("PATCH", f"/{follow.follow_id}", paused=True))
    assert (paused.paused, paused.next_look) == (True, None)
    resumed = Follow.model_validate(await follows.ask("PATCH", f"/{follow.follow_id}", paused=False))
    assert resumed.next_look is not None
    again = await follows.ask("POST", status=400, target=f"www.youtube.com/{HANDLE.lower()}")
    assert "is followed already" in again["message"]
    for body, message in (
        ({"target": sample.VIDEO_OK}, "is a video: follow a channel or a playlist"),
        ({"target": "nothing"}, "is not something to archive"),
        ({"target": sample.CHANNEL, "options": {"quality": "bv["}}, "quality 'bv[' is not understood"),
        ({"target": sample.CHANNEL, "options": {"rules": {"title_include": "("}}}, "no regular expression"),
        ({"target": sample.CHANNEL, "every_seconds": 1}, "60"),
        ({"target": "WL"}, "cookies"),
    ):
        error = await follows.ask("POST", status=400, **body)
        assert (error["code"], message in error["message"]) == ("E007", True), error
    assert (await follows.ask("PATCH", f"/{follow.follow_id}", status=400))["code"] == "E007"
    assert (await follows.ask("GET"))["total"] == 1
    await follows.ask("DELETE", f"/{follow.follow_id}")
    await follows.ask("DELETE", f"/{follow.follow_id}", status=404)
    assert (await follows.ask("GET"))["total"] == 0


async def test_a_follow_survives_a_restart(emulated: Config, emulator: EmulatorClient, eventually: Eventually) -> None:
    async with aiohttp.ClientSession() as http:
        async with Stack(emulated) as stack:
            first = Follows(Archive(stack, http, emulator), http, eventually)
            first.upload("other-00001")
            follow = await first.looked(await first.add(HANDLE))
            await first.archive.wait_for_end(follow.job_id or "")
        async with Stack(emulated) as stack:
            second = Follows(Archive(stack, http, emulator), http, eventually)
            kept = await second.get(follow)
            assert (kept.videos, kept.title, kept.next_look) == (1, "Second Source", follow.next_look)
            second.upload("other-00001", "other-00002")
            assert (await second.look(kept)).videos == 2
