"""`ytarchive follow`: add, look, change and remove, without a running stack and with one."""

import json
from typing import Any

import pytest

from tests.conftest import Cli, Run
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

HANDLE = "@SecondSource"


@pytest.fixture
def channel(emulator: EmulatorClient) -> Any:
    """Publish videos on the second channel, the newest first."""

    def publish(*video_ids: str, **videos: dict[str, Any]) -> None:
        for video_id in video_ids:
            more = videos.get(video_id.replace("-", "_"), {})
            video = {"title": f"About {video_id}", "channel": sample.OTHER_CHANNEL, "duration": 3} | more
            emulator.put_video(video_id, **video)
        emulator.put_channel(sample.OTHER_CHANNEL, handle=HANDLE, title="Second Source", uploads=list(video_ids))

    return publish


def as_json(ran: Run) -> Any:
    assert ran.code == 0, ran.err + ran.out
    return json.loads(ran.out)


def test_a_channel_is_kept_without_a_running_stack(cli: Cli, channel: Any) -> None:
    channel("other-00002", "other-00001")
    added = cli("follow", "add", f"https://www.youtube.com/{HANDLE}")
    assert added.code == 0, added.err
    assert "`ytarchive follow run` now" in added.out
    assert cli("follow", "list").out.count("@SecondSource") == 1
    first = cli("follow", "run")
    assert first.code == 0, first.err
    assert "Second Source: 2 new videos" in first.out
    assert "2 saved" in first.out
    assert cli.mp4("other-00001").exists()

    again = cli("follow", "run")
    assert (again.code, "Second Source: 0 new videos" in again.out) == (0, True)
    channel("other-00003", "other-00002", "other-00001")
    lines = cli("follow", "run", "second source", "--json")
    assert lines.code == 0, lines.err
    look, result = lines.lines[0], lines.lines[-1]
    assert (look["type"], look["found"], look["follow"]["how"]) == ("look", 1, "feed")
    assert (result["type"], result["exit_code"], result["job"]["counts"]["archived"]) == ("result", 0, 1)

    follow = as_json(cli("follow", "show", HANDLE, "--json"))["follow"]
    assert (follow["videos"], follow["taken"], follow["title"]) == (3, 3, "Second Source")
    shown = cli("follow", "show", follow["follow_id"]).out
    assert "by the channel's own rhythm" in shown
    assert "none: all videos are wanted" in shown
    assert as_json(cli("follow", "pause", HANDLE, "--json"))["follow"]["paused"] is True
    assert "paused" in cli("follow", "list").out
    assert cli("follow", "resume", HANDLE).code == 0
    removed = cli("follow", "remove", HANDLE)
    assert "What was saved stays" in removed.out
    assert "Nothing is followed" in cli("follow", "list").out
    assert cli.mp4("other-00003").exists()


def test_rules_are_tried_set_and_changed(cli: Cli, channel: Any) -> None:
    channel(
        "other-00003", "other-00002", "other-00001",
        other_00003={"title": "Trailer"}, other_00002={"duration": 1}, other_00001={"description": "secret"},
    )  # fmt: skip
    options = ("--title-exclude", "trailer", "--min-length", "2s", "--description-exclude", "nothing")
    tried = cli("follow", "test", HANDLE, *options)
    assert tried.code == 0, tried.err
    assert "its title matches 'trailer'" in tried.out
    assert "it is shorter than 2 s (1 s)" in tried.out
    assert "the list does not tell its description" in tried.out
    assert "of the newest 3, 0 wanted, 2 left out, 1 decided when the video is fetched" in tried.out
    assert not cli.archive.exists()
    assert "Nothing is followed" in cli("follow", "list").out

    assert cli("follow", "add", HANDLE, *options, "--every", "2h", "--no-captions").code == 0
    assert cli("follow", "run").code == 0
    assert cli.mp4("other-00001").exists()
    assert not cli.mp4("other-00002").exists()
    shown = as_json(cli("follow", "show", HANDLE, "--json"))
    assert {video["video_id"]: video["reason"] for video in shown["left_out"]} == {
        "other-00003": "its title matches 'trailer'",
        "other-00002": "it is shorter than 2 s (1 s)",
    }
    assert (shown["follow"]["every_seconds"], shown["follow"]["options"]["include_captions"]) == (7200, False)
    assert "title exclude: trailer; description exclude: nothing; min length: 2 s" in cli("follow", "show", HANDLE).out
    assert [one["taken"] for one in as_json(cli("follow", "test", HANDLE, "--json"))["videos"]] == [False, False, None]

    edited = cli("follow", "edit", HANDLE, "--min-length", "", "--every", "auto", "--quality", "360p")
    assert edited.code == 0, edited.err
    assert cli("follow", "run", HANDLE).code == 0
    assert cli.mp4("other-00002").exists()
    follow = as_json(cli("follow", "show", HANDLE, "--json"))["follow"]
    assert (follow["every_seconds"], follow["options"]["quality"], follow["left_out"]) == (None, "360p", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", sample.VIDEO_OK), "is a video: follow a channel or a playlist"),
        (("add", "nonsense"), "is not something to archive"),
        (("add", HANDLE, "--kind", "podcast"), "--kind:"),
        (("add", HANDLE, "--title-include", "("), "--title-include: '(' is no regular expression"),
        (("add", HANDLE, "--min-length", "soon"), "--min-length: 'soon' is no length"),
        (("add", HANDLE, "--min-length", "2h", "--max-length", "1h"), "no video fulfils both"),
        (("add", HANDLE, "--since", "yesterday"), "--since:"),
        (("add", HANDLE, "--every", "1s"), "60"),
        (("add", HANDLE, "--every", "often"), "--every: 'often' is no length"),
        (("add", HANDLE, "--members-only", "both"), "--members-only:"),
        (("test", sample.VIDEO_OK), "is a video"),
    ],
)
def test_wrong_requests_change_nothing(cli: Cli, words: tuple[str, ...], message: str) -> None:
    ran = cli("follow", *words)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert "Nothing is followed" in cli("follow", "list").out


def test_the_follows_of_another_program(cli: Cli, channel: Any) -> None:
    channel("other-00001", "other-00002")
    file = cli.home / "subscriptions.csv"
    file.write_text(f"Channel Id,Channel Url,Channel Title\n{sample.OTHER_CHANNEL},x,Second\nnonsense,x,y\n")
    assert "1 would be followed" in cli("follow", "import", str(file), "--dry-run").out
    assert "Nothing is followed" in cli("follow", "list").out
    ran = cli("follow", "import", str(file), "--last", "1", "--json")
    assert ran.code == 3
    results = {row["target"]: row["result"].partition(":")[0] for row in json.loads(ran.out)["targets"]}
    assert results == {sample.OTHER_CHANNEL: "followed", "nonsense": "refused"}
    assert "1 followed already" in cli("follow", "import", str(file)).out
    assert cli("follow", "run").code == 0
    assert cli.mp4("other-00001").exists()
    assert not cli.mp4("other-00002").exists()


def test_what_is_not_followed_is_said(cli: Cli) -> None:
    for command in ("show", "edit", "pause", "resume", "remove"):
        ran = cli("follow", command, HANDLE)
        assert ran.code == 2, command
        assert f"{HANDLE} is not followed. `ytarchive follow list` shows what is." in ran.err
    ran = cli("follow", "run")
    assert (ran.code, "Nothing is followed" in ran.out) == (0, True)


def test_a_running_stack_looks_by_itself(cli: Cli, channel: Any, emulator: EmulatorClient) -> None:
    channel("other-00001")
    up = cli.start("up")
    up.wait_for("Ready")
    assert cli("follow", "add", HANDLE).code == 0
    emulator.wait_for(kind="media", video_id="other-00001")
    gone = cli("follow", "add", "@NobodyAtAll")
    assert gone.code == 0
    ran = cli("follow", "run", "@NobodyAtAll")
    assert ran.code == 1
    assert "@NobodyAtAll" in ran.err
    both = cli("follow", "run")
    assert both.code == 3
