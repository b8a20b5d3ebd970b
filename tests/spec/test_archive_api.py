"""REST of storage over an archive that a real system has made."""

import hashlib
import json
import signal
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SAVED = sample.VIDEO_TWO_CAPTIONS


def ids(answer: Any) -> list[str]:
    return [video["video_id"] for video in answer.data["videos"]]


@pytest.mark.usefixtures("demo")
def test_videos_that_are_held(system: Any) -> None:
    everything = system.ask("storage", "storage/videos?limit=500&sort=title")
    held = {path.name for path in (system.archive / "videos").iterdir()}
    assert set(ids(everything)) >= held
    titles = [video["title"].lower() for video in everything.data["videos"]]
    assert titles == sorted(titles)
    page = system.ask("storage", "storage/videos?limit=2&offset=1&sort=title")
    assert ids(page) == ids(everything)[1:3]
    assert (page.data["total"], page.data["limit"], page.data["offset"]) == (everything.data["total"], 2, 1)
    assert ids(system.ask("storage", "storage/videos?sort=-title&limit=500"))[0] == ids(everything)[-1]


def test_videos_by_what_they_are(system: Any, demo: Any) -> None:
    assert ids(system.ask("storage", "storage/videos?q=two+LANGUAGES")) == [SAVED]
    assert ids(system.ask("storage", "storage/videos?q=100%25")) == []
    of_list = system.ask("storage", f"storage/videos?playlist={sample.DEMO_PLAYLIST}&limit=500")
    saved = {item["video_id"] for item in demo["items"] if item["status"] == "archived"}
    assert set(ids(of_list)) == saved
    of_channel = system.ask("storage", f"storage/videos?channel={sample.OTHER_CHANNEL}&limit=500")
    assert {video["channel_id"] for video in of_channel.data["videos"]} == {sample.OTHER_CHANNEL}
    assert ids(system.ask("storage", "storage/videos?channel=second+source&limit=500")) == ids(of_channel)


@pytest.mark.usefixtures("demo")
def test_videos_by_their_status(system: Any) -> None:
    complete = ids(system.ask("storage", "storage/videos?status=complete&limit=500"))
    incomplete = ids(system.ask("storage", "storage/videos?status=incomplete&limit=500"))
    assert SAVED in complete  # captions in both languages that were asked
    assert sample.VIDEO_NO_CAPTIONS in incomplete
    everything = ids(system.ask("storage", "storage/videos?limit=500"))
    assert sorted([*complete, *incomplete]) == sorted(everything)
    assert ids(system.ask("storage", "storage/videos?status=gone")) == []
    assert system.ask("storage", "storage/videos?status=odd").status == 400


@pytest.mark.usefixtures("demo")
def test_words_are_found_in_all_that_is_archived(system: Any) -> None:
    (hit,) = system.ask("storage", f"storage/search?q=%22{SAVED}+says+hello%22&language=de").data["hits"]
    assert hit["video_id"] == SAVED
    (moment,) = hit["moments"]
    assert (moment["text"], moment["start_seconds"]) == (f"{SAVED} says hello (de)", 0.0)
    first, last = moment["matches"][0]
    assert moment["text"][first:last] == f"{SAVED} says hello"
    assert moment["url"] == f"https://www.youtube.com/watch?v={SAVED}&t=0s"
    assert moment["file"] == str(system.archive / "videos" / SAVED / "captions" / f"{SAVED}_de.vtt")
    for words in ("ueberraschung", "%C3%BCberraschung", "%E9%9B%A8", "%22%E3%81%AE%E6%97%A5%22"):
        found = system.ask("storage", f"storage/search?q={words}&in=title").data
        assert found["total"] == (0 if words == "ueberraschung" else 1), words
    (hit,) = system.ask("storage", "storage/search?q=goodbye&in=captions&limit=1&offset=1&moments=1").data["hits"]
    assert (hit["moments"][0]["start_seconds"], hit["moments_total"]) == (1.0, 1)
    of_list = system.ask("storage", f"storage/search?q=part&in=title&playlist={sample.DEMO_PLAYLIST}").data
    assert of_list["total"] > 5
    assert system.ask("storage", "storage/search?q=part&playlist=PLnobody").data["total"] == 0
    of_channel = system.ask("storage", f"storage/search?q=part&channel={sample.OTHER_CHANNEL}").data
    assert {hit["channel_id"] for hit in of_channel["hits"]} <= {sample.OTHER_CHANNEL}
    for odd in ("q=", "q=a&in=nowhere", "q=a&limit=0", "q=a&language=../x", "q=a&q=b", "in=title"):
        assert system.ask("storage", f"storage/search?{odd}").status == 400, odd


@pytest.mark.usefixtures("demo")
def test_what_is_held_of_a_video(system: Any) -> None:
    told = system.ask("storage", f"storage/exists/{SAVED}").data
    assert told["exists"] is True
    assert told["copies"][0]["root"] == str(system.archive)
    assert {file["name"] for file in told["copies"][0]["files"]} >= {f"{SAVED}.mp4", f"captions/{SAVED}_de.vtt"}
    gone = system.ask("storage", f"storage/exists/{sample.VIDEO_DELETED}").data
    assert (gone["exists"], gone["copies"], gone["known_gone"]["reason"]) == (False, [], "deleted")
    described = system.ask("storage", f"storage/metadata/{SAVED}").data
    assert described["record"]["fixity"][f"{SAVED}.mp4"]["sha256"]
    assert described["metadata"]["sources"]["yt_dlp"]
    assert system.ask("storage", "storage/metadata/never-saved").status == 404


@pytest.mark.usefixtures("demo")
def test_files_and_parts_of_them(system: Any) -> None:
    whole = (system.archive / "videos" / SAVED / f"{SAVED}.mp4").read_bytes()
    route = f"storage/videos/{SAVED}/files/{SAVED}.mp4"
    answer = system.ask("storage", route)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "video/mp4")
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(whole).digest()
    part = system.ask("storage", route, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, whole[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    caption = system.ask("storage", f"storage/videos/{SAVED}/files/captions/{SAVED}_de.vtt")
    assert caption.body.startswith(b"WEBVTT")


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    "name", ["../../../data/jobs/jobs.db", "%2e%2e/secret", "..%2f..%2fetc/passwd", "nothing.mp4", f".{SAVED}.mp4"]
)
def test_only_files_that_the_catalogue_names(system: Any, name: str) -> None:
    (system.archive / "videos" / SAVED / "stranger.txt").write_text("not ours")
    for asked in (name, "stranger.txt"):
        assert system.ask("storage", f"storage/videos/{SAVED}/files/{asked}").status == 404
    (system.archive / "videos" / SAVED / "stranger.txt").unlink()


@pytest.mark.claim("3.4")
def test_work_plans_stay_until_somebody_removes_them(start: Any) -> None:
    system = start()
    job = system.save(sample.VIDEO_OK, sample.VIDEO_DELETED)["job"]
    told = system.ask("storage", "storage/work-plans").data
    assert [(plan["plan_id"], plan["unavailable"]) for plan in told["work_plans"]] == [(job["job_id"], 1)]
    system.ask("jobs", f"jobs/{job['job_id']}", method="DELETE")
    plan = system.ask("storage", f"storage/work-plans/{job['job_id']}").data
    assert [gap["video_id"] for gap in plan["unavailable_videos"]] == [sample.VIDEO_DELETED]

    system.emulator.set_kind(sample.VIDEO_DELETED, "ok")
    again = system.ask("storage", f"storage/work-plans/{job['job_id']}/retry", method="POST")
    assert again.status == 201
    assert again.data["video_ids"] == [sample.VIDEO_DELETED]
    until(lambda: (system.ask("jobs", f"jobs/{again.data['job_id']}").json["data"] or {}).get("job"))
    assert system.save(sample.VIDEO_DELETED, skip_existing=False)["job"]["counts"]["archived"] == 1
    system.emulator.set_kind(sample.VIDEO_DELETED, "deleted")
    (gap,) = system.ask("storage", f"storage/work-plans/{job['job_id']}").data["unavailable_videos"]
    assert gap["resolved_at"]  # and the plan stays

    assert system.ask("storage", f"storage/work-plans/{job['job_id']}", method="DELETE").status == 200
    assert system.ask("storage", f"storage/work-plans/{job['job_id']}").status == 404
    assert not (system.data / "work_plans" / f"{job['job_id']}.json").exists()
    system.child.signal(signal.SIGTERM)
    system.child.end()


def test_a_catalogue_that_is_lost_is_made_again_from_the_tree(start: Any) -> None:
    system = start()
    job = system.save(
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
        told = [system.ask("storage", path).data for path in asked]
        stats = system.ask("storage", "storage/stats").data
        for root in stats["roots"]:
            del root["free_bytes"]
        return [*told, stats]

    before = answers()
    assert before[0]["total"] == 4
    assert all(told["total"] for told in before[:7])
    system.child.signal(signal.SIGTERM)
    system.child.end()
    for path in system.data.glob("catalogue.db*"):
        path.unlink()
    system.child = system.cli.start("up")
    system.child.wait_for("Ready.")
    system.urls = json.loads((system.data / "run" / "stack.json").read_text())["services"]
    until(lambda: system.ask("storage", "storage/videos").data["total"] == 4)
    begun = system.ask("storage", "storage/rescan", method="POST", body={})
    assert begun.status in {201, 400}  # 400: the first scan is still at it
    until(lambda: system.ask("storage", "health").data["metrics"]["scanning"] is None)
    assert answers() == before
    system.child.signal(signal.SIGTERM)
    system.child.end()
