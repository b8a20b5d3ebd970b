"""What a page asks of a large archive: counts, months, channels, playlists, a word over the years."""

import json
from typing import Any

import aiohttp
import pytest

from tests.fixtures.stack_client import Archive
from ytarchive.emulator.site import sample

PLAYLIST = f"https://www.youtube.com/playlist?list={sample.DEMO_PLAYLIST}"


class Reader:
    def __init__(self, archive: Archive, http: aiohttp.ClientSession) -> None:
        self._base = f"{archive.stack.services['storage'].url}/api/v1/storage"
        self._http = http

    async def status(self, path: str) -> int:
        async with self._http.get(f"{self._base}/{path}") as answer:
            return answer.status

    async def get(self, path: str) -> Any:
        async with self._http.get(f"{self._base}/{path}") as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.read())["data"]

    async def counts(self, facet: str, query: str = "") -> dict[str, int]:
        return {one["value"]: one["videos"] for one in (await self.get(f"facets{query}"))[facet]}

    async def total(self, query: str) -> int:
        found = (await self.get(f"videos?limit=1&{query}"))["total"]
        assert found == (await self.get(f"facets?{query}"))["total"]
        assert found == (await self.get(f"buckets?{query}"))["total"]
        return int(found)


@pytest.fixture
async def reader(archive: Archive, web_client: aiohttp.ClientSession) -> Reader:
    """An archive with the ten videos of the demo that can be had."""
    await archive.wait_for_end(await archive.create(PLAYLIST, caption_languages=["en", "de"]))
    return Reader(archive, web_client)


async def test_counts_lists_and_months_agree_within_every_filter(reader: Reader) -> None:
    assert await reader.counts("channels") == {"Loopback Lectures": 8, "Second Source": 2}
    assert await reader.counts("years") == {"2024": 9, "2006": 1}
    assert await reader.counts("captions") == {"en": 9, "de": 1, "none": 1}
    assert await reader.counts("lengths") == {"short": 10}
    assert await reader.counts("qualities") == {"1080p": 10}
    assert await reader.counts("captions", "?year=2006") == {"en": 1, "none": 0}
    for query, number in {
        "year=2024": 9,
        "year=2005": 0,
        "captions=de": 1,
        "captions=none": 1,
        "captions=none&year=2006": 0,
        "min_length=1&max_length=3": 10,
        "min_length=3": 0,
        "max_length=2": 0,  # excluded
        "quality=1080p": 10,
        "quality=720p": 0,
        "channel=second%20source&captions=en": 2,
        "q=part&year=2024": 7,
        f"playlist={sample.DEMO_PLAYLIST}&captions=de": 1,
        "status=complete": 1,
    }.items():
        assert await reader.total(query) == number, query
    for bad in (
        "year=1",
        "min_length=-1",
        "max_length=NaN",
        "quality=%25",
        "captions=a/b",
        "watched=perhaps",
        "sort=x",
    ):
        assert await reader.status(f"videos?{bad}") == 400, bad
        assert await reader.status(f"facets?{bad}") == 400, bad


async def test_a_month_says_where_it_begins_in_the_list(reader: Reader) -> None:
    found = (await reader.get("buckets?by=upload_date"))["buckets"]
    assert found == [
        {"month": "2024-03", "videos": 9, "offset": 0},
        {"month": "2006-05", "videos": 1, "offset": 9},
    ]
    row = (await reader.get("videos?sort=-upload_date&limit=1&offset=9"))["videos"][0]
    assert row["upload_date"].startswith("2006-05")
    assert sum(one["videos"] for one in (await reader.get("buckets"))["buckets"]) == 10


async def test_channels_and_playlists_say_what_is_held_and_what_went(reader: Reader) -> None:
    channels = (await reader.get("channels"))["channels"]
    assert [(one["channel"], one["channel_id"], one["videos"]) for one in channels] == [
        ("Loopback Lectures", sample.CHANNEL, 8),
        ("Second Source", sample.OTHER_CHANNEL, 2),
    ]
    assert (await reader.get("channels?q=SECOND"))["total"] == 1
    assert [one["channel"] for one in (await reader.get("channels?sort=-title"))["channels"]] == [
        "Second Source",
        "Loopback Lectures",
    ]

    assert [one["newest"][:4] for one in (await reader.get("channels?sort=-newest"))["channels"]] == ["2024", "2024"]

    lists = await reader.get("playlists?q=demo")
    (one,) = lists["playlists"]
    assert (one["playlist_id"], one["entries"], one["held"], one["gone"]) == (sample.DEMO_PLAYLIST, 12, 10, 2)
    assert (await reader.get("playlists?q=nothing"))["total"] == 0

    path = f"playlists/{sample.DEMO_PLAYLIST}"
    whole = await reader.get(path)
    assert [entry["position"] for entry in whole["entries"]] == list(range(12))
    assert (whole["playlist"], whole["total"]) == (one, 12)
    gone = (await reader.get(f"{path}?state=gone"))["entries"]
    assert [(entry["video_id"], entry["held"], entry["gone"]) for entry in gone] == [
        (sample.VIDEO_DELETED, False, "deleted"),
        (sample.VIDEO_PRIVATE, False, "private"),
    ]
    assert (await reader.get(f"{path}?state=held"))["total"] == 10
    page = await reader.get(f"{path}?state=missing&limit=1&offset=1")
    assert [entry["video_id"] for entry in page["entries"]] == [sample.VIDEO_PRIVATE]
    assert await reader.status("playlists/PLnobody") == 404
    assert await reader.status("playlists/..%2f..%2fetc") == 404
    assert await reader.status(f"{path}?state=lost") == 400

    (point,) = (await reader.get(f"{path}/availability"))["points"]
    assert (point["listed"], point["closed"], point["left"]) == (10, 2, 0)
    assert await reader.status("playlists/PLnobody/availability") == 404


async def test_a_word_over_the_years(reader: Reader) -> None:
    found = await reader.get("search/years?q=goodbye&in=captions")
    assert found == {
        "years": [{"year": "2006", "videos": 1, "of": 1}, {"year": "2024", "videos": 8, "of": 9}],
        "more": False,
    }
    for filters, of in {  # the share is of the videos that the other filters leave
        "channel=Second%20Source": [2],
        "language=de": [1],
        f"playlist={sample.DEMO_PLAYLIST}": [1, 9],
        "year=2006": [1],
        "year=2024&channel=second%20source": [2],
    }.items():
        found = await reader.get(f"search/years?q=goodbye&{filters}")
        listed = await reader.get(f"facets?{filters.replace('language', 'captions')}")
        assert [one["of"] for one in found["years"]] == of, filters
        assert {one["year"]: one["of"] for one in found["years"]}.items() <= {
            one["value"]: one["videos"] for one in listed["years"]
        }.items()
    assert (await reader.get("search/years?q=nowhere"))["years"] == []
    assert await reader.status("search/years?q=") == 400


async def test_a_search_may_be_of_one_year(reader: Reader) -> None:
    everything = await reader.get("search?q=goodbye&in=captions")
    old = await reader.get("search?q=goodbye&in=captions&year=2006")
    assert (everything["total"], old["total"]) == (9, 1)
    assert [one["upload_date"][:4] for one in old["hits"]] == ["2006"]
    assert (await reader.get("search?q=goodbye&year=2024&channel=Second%20Source"))["total"] == 2
    assert (await reader.get("search?q=goodbye&year=2005"))["total"] == 0
    assert await reader.status("search?q=goodbye&year=1") == 400
