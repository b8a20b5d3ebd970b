"""REST of storage over an archive that a real system has made."""

import hashlib
import json
import signal
from typing import Any

import pytest

from ytarchive.emulator import sample

SAVED = sample.VIDEO_TWO_CAPTIONS


def ids(answer: Any) -> list[str]:
    return [video["video_id"] for video in answer.data["videos"]]


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


def test_videos_by_what_they_are(system: Any) -> None:
    assert ids(system.ask("storage", "storage/videos?q=two+LANGUAGES")) == [SAVED]
    assert ids(system.ask("storage", "storage/videos?q=100%25")) == []
    of_list = system.ask("storage", f"storage/videos?playlist={sample.DEMO_PLAYLIST}&limit=500")
    saved = {item["video_id"] for item in system.jobs["demo"]["items"] if item["status"] == "archived"}
    assert set(ids(of_list)) == saved
    of_channel = system.ask("storage", f"storage/videos?channel={sample.OTHER_CHANNEL}&limit=500")
    assert {video["channel_id"] for video in of_channel.data["videos"]} == {sample.OTHER_CHANNEL}
    assert ids(system.ask("storage", "storage/videos?channel=second+source&limit=500")) == ids(of_channel)


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
    system.until(lambda: (system.ask("jobs", f"jobs/{again.data['job_id']}").json["data"] or {}).get("job"))
    system.emulator.set_kind(sample.VIDEO_DELETED, "deleted")

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
    system.child.signal(signal.SIGTERM)
    system.child.end()
    for path in system.data.glob("catalogue.db*"):
        path.unlink()
    system.child = system.cli.start("up")
    system.child.wait_for("Ready.")
    system.urls = json.loads((system.data / "run" / "stack.json").read_text())["services"]
    system.until(lambda: system.ask("storage", "storage/videos").data["total"] == 4)
    begun = system.ask("storage", "storage/rescan", method="POST", body={})
    assert begun.status in {201, 400}  # 400: the first scan is still at it
    system.until(lambda: system.ask("storage", "health").data["metrics"]["scanning"] is None)
    assert answers() == before
    system.child.signal(signal.SIGTERM)
    system.child.end()
