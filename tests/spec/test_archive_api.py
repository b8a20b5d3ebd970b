"""The REST API of storage for an archive that a real stack has created."""

import hashlib
import json
import signal
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SAVED = sample.VIDEO_TWO_CAPTIONS


def video_ids(answer: Any) -> list[str]:
    return [video["video_id"] for video in answer.data["videos"]]


@pytest.mark.usefixtures("demo")
def test_archived_videos_are_listed_sorted_and_paged(system: Any) -> None:
    everything = system.request("storage", "storage/videos?limit=500&sort=title")
    held = {path.name for path in (system.archive / "videos").iterdir()}
    assert set(video_ids(everything)) >= held
    titles = [video["title"].lower() for video in everything.data["videos"]]
    assert titles == sorted(titles)
    page = system.request("storage", "storage/videos?limit=2&offset=1&sort=title")
    assert video_ids(page) == video_ids(everything)[1:3]
    assert (page.data["total"], page.data["limit"], page.data["offset"]) == (everything.data["total"], 2, 1)
    assert video_ids(system.request("storage", "storage/videos?sort=-title&limit=500"))[0] == video_ids(everything)[-1]


def test_videos_are_filtered_by_title_playlist_and_channel(system: Any, demo: Any) -> None:
    assert video_ids(system.request("storage", "storage/videos?q=two+LANGUAGES")) == [SAVED]
    assert video_ids(system.request("storage", "storage/videos?q=100%25")) == []
    of_list = system.request("storage", f"storage/videos?playlist={sample.DEMO_PLAYLIST}&limit=500")
    saved = {item["video_id"] for item in demo["items"] if item["status"] == "archived"}
    assert set(video_ids(of_list)) == saved
    of_channel = system.request("storage", f"storage/videos?channel={sample.OTHER_CHANNEL}&limit=500")
    assert {video["channel_id"] for video in of_channel.data["videos"]} == {sample.OTHER_CHANNEL}
    assert video_ids(system.request("storage", "storage/videos?channel=second+source&limit=500")) == video_ids(
        of_channel
    )


@pytest.mark.usefixtures("demo")
def test_the_videos_are_read_page_by_page_with_a_cursor(system: Any) -> None:
    everything = video_ids(system.request("storage", "storage/videos?limit=500&sort=title"))
    walked, after = list[str](), ""
    while True:
        page = system.request("storage", f"storage/videos?limit=3&sort=title{after}")
        walked += video_ids(page)
        if page.data["next"] is None:
            break
        after = f"&after={page.data['next']}"
    assert walked == everything
    for refused in ("after=x", f"{after[1:]}&sort=bytes", f"{after[1:]}&sort=title&offset=1"):
        assert system.request("storage", f"storage/videos?{refused}").status == 400, refused


@pytest.mark.usefixtures("demo")
def test_videos_are_filtered_by_status(system: Any) -> None:
    complete = video_ids(system.request("storage", "storage/videos?status=complete&limit=500"))
    incomplete = video_ids(system.request("storage", "storage/videos?status=incomplete&limit=500"))
    assert SAVED in complete  # has captions in both requested languages
    assert sample.VIDEO_NO_CAPTIONS in incomplete
    everything = video_ids(system.request("storage", "storage/videos?limit=500"))
    assert sorted([*complete, *incomplete]) == sorted(everything)
    assert video_ids(system.request("storage", "storage/videos?status=gone")) == []
    assert system.request("storage", "storage/videos?status=odd").status == 400


@pytest.mark.usefixtures("demo")
def test_search_finds_words_in_captions_and_titles(system: Any) -> None:
    (hit,) = system.request("storage", f"storage/search?q=%22{SAVED}+says+hello%22&language=de").data["hits"]
    assert hit["video_id"] == SAVED
    (moment,) = hit["moments"]
    assert (moment["text"], moment["start_seconds"]) == (f"{SAVED} says hello (de)", 0.0)
    first, last = moment["matches"][0]
    assert moment["text"][first:last] == f"{SAVED} says hello"
    assert moment["url"] == f"https://www.youtube.com/watch?v={SAVED}&t=0s"
    assert moment["file"] == str(system.archive / "videos" / SAVED / "captions" / f"{SAVED}_de.vtt")
    for words in ("ueberraschung", "%C3%BCberraschung", "%E9%9B%A8", "%22%E3%81%AE%E6%97%A5%22"):
        found = system.request("storage", f"storage/search?q={words}&in=title").data
        assert found["total"] == (0 if words == "ueberraschung" else 1), words
    (hit,) = system.request("storage", "storage/search?q=goodbye&in=captions&limit=1&offset=1&moments=1").data["hits"]
    assert (hit["moments"][0]["start_seconds"], hit["moments_total"]) == (1.0, 1)
    of_list = system.request("storage", f"storage/search?q=part&in=title&playlist={sample.DEMO_PLAYLIST}").data
    assert of_list["total"] > 5
    assert system.request("storage", "storage/search?q=part&playlist=PLnobody").data["total"] == 0
    of_channel = system.request("storage", f"storage/search?q=part&channel={sample.OTHER_CHANNEL}").data
    assert {hit["channel_id"] for hit in of_channel["hits"]} <= {sample.OTHER_CHANNEL}
    for odd in ("q=", "q=a&in=nowhere", "q=a&limit=0", "q=a&language=../x", "q=a&q=b", "in=title"):
        assert system.request("storage", f"storage/search?{odd}").status == 400, odd


@pytest.mark.usefixtures("demo")
def test_archived_copies_and_the_manifest_of_a_video_are_returned(system: Any) -> None:
    result = system.request("storage", f"storage/exists/{SAVED}").data
    assert result["exists"] is True
    assert result["copies"][0]["root"] == str(system.archive)
    assert {file["name"] for file in result["copies"][0]["files"]} >= {f"{SAVED}.mp4", f"captions/{SAVED}_de.vtt"}
    gone = system.request("storage", f"storage/exists/{sample.VIDEO_DELETED}").data
    assert (gone["exists"], gone["copies"], gone["known_gone"]["reason"]) == (False, [], "deleted")
    described = system.request("storage", f"storage/metadata/{SAVED}").data
    assert described["record"]["fixity"][f"{SAVED}.mp4"]["sha256"]
    assert described["metadata"]["sources"]["yt_dlp"]
    assert system.request("storage", "storage/metadata/never-saved").status == 404


@pytest.mark.usefixtures("demo")
def test_files_are_served_whole_and_by_range(system: Any) -> None:
    whole = (system.archive / "videos" / SAVED / f"{SAVED}.mp4").read_bytes()
    route = f"storage/videos/{SAVED}/files/{SAVED}.mp4"
    answer = system.request("storage", route)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "video/mp4")
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(whole).digest()
    part = system.request("storage", route, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, whole[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    caption = system.request("storage", f"storage/videos/{SAVED}/files/captions/{SAVED}_de.vtt")
    assert caption.body.startswith(b"WEBVTT")


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    "name", ["../../../data/jobs/jobs.db", "%2e%2e/secret", "..%2f..%2fetc/passwd", "nothing.mp4", f".{SAVED}.mp4"]
)
def test_only_files_in_the_catalogue_are_served(system: Any, name: str) -> None:
    (system.archive / "videos" / SAVED / "uncatalogued.txt").write_text("not ours")
    for asked in (name, "uncatalogued.txt"):
        assert system.request("storage", f"storage/videos/{SAVED}/files/{asked}").status == 404
    (system.archive / "videos" / SAVED / "uncatalogued.txt").unlink()


@pytest.mark.claim("3.4")
def test_work_plans_are_kept_until_they_are_deleted(start: Any) -> None:
    system = start()
    job = system.run_job(sample.VIDEO_OK, sample.VIDEO_DELETED)["job"]
    result = system.request("storage", "storage/work-plans").data
    assert [(plan["plan_id"], plan["unavailable"]) for plan in result["work_plans"]] == [(job["job_id"], 1)]
    system.request("jobs", f"jobs/{job['job_id']}", method="DELETE")
    plan = system.request("storage", f"storage/work-plans/{job['job_id']}").data
    assert [gap["video_id"] for gap in plan["unavailable_videos"]] == [sample.VIDEO_DELETED]

    system.emulator.set_kind(sample.VIDEO_DELETED, "ok")
    again = system.request("storage", f"storage/work-plans/{job['job_id']}/retry", method="POST")
    assert again.status == 201
    assert again.data["video_ids"] == [sample.VIDEO_DELETED]
    until(lambda: (system.request("jobs", f"jobs/{again.data['job_id']}").json["data"] or {}).get("job"))
    assert system.run_job(sample.VIDEO_DELETED, skip_existing=False)["job"]["counts"]["archived"] == 1
    system.emulator.set_kind(sample.VIDEO_DELETED, "deleted")
    (gap,) = system.request("storage", f"storage/work-plans/{job['job_id']}").data["unavailable_videos"]
    assert gap["resolved_at"]  # the plan itself is kept

    assert system.request("storage", f"storage/work-plans/{job['job_id']}", method="DELETE").status == 200
    assert system.request("storage", f"storage/work-plans/{job['job_id']}").status == 404
    assert not (system.data / "work_plans" / f"{job['job_id']}.json").exists()
    system.child.signal(signal.SIGTERM)
    system.child.end()


def test_a_lost_catalogue_is_rebuilt_from_the_archive_tree(start: Any) -> None:
    system = start()
    job = system.run_job(
        sample.PLAYLIST_3, sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_PRIVATE, caption_languages=["en", "de"]
    )
    asked = [
        "storage/videos?limit=500&sort=title",
        "storage/videos?q=part",
        "storage/videos?status=incomplete&sort=title",
        "storage/search?q=part",
        "storage/search?q=says+hello&moments=50",
        "storage/search?q=hello&language=de",
        f"storage/videos?playlist={sample.PLAYLIST_3}&sort=title",
        f"storage/exists/{sample.VIDEO_TWO_CAPTIONS}",
        f"storage/exists/{sample.VIDEO_PRIVATE}",
        f"storage/metadata/{sample.VIDEO_TWO_CAPTIONS}",
        "storage/work-plans",
        f"storage/work-plans/{job['job']['job_id']}",
    ]

    def answers() -> list[Any]:
        result = [system.request("storage", path).data for path in asked]
        stats = system.request("storage", "storage/stats").data
        for root in stats["roots"]:
            del root["free_bytes"]
        return [*result, stats]

    before = answers()
    assert before[0]["total"] == 4
    assert all(result["total"] for result in before[:7])
    system.child.signal(signal.SIGTERM)
    system.child.end()
    for path in system.data.glob("catalogue.db*"):
        path.unlink()
    system.child = system.cli.start("up")
    system.child.wait_for("Ready.")
    system.urls = json.loads((system.data / "run" / "stack.json").read_text())["services"]
    until(lambda: system.request("storage", "storage/videos").data["total"] == 4)
    begun = system.request("storage", "storage/rescan", method="POST", body={})
    assert begun.status in {201, 400}  # 400: the initial scan is still running
    until(lambda: system.request("storage", "health").data["metrics"]["scanning"] is None)
    assert answers() == before
    system.child.signal(signal.SIGTERM)
    system.child.end()
