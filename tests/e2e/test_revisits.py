"""`ytarchive download` looks at archived videos again that might get better, and says what it found."""

import json
from typing import Any

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site.sample import VIDEO_OK

NAME = f"Loopback, part 1: Hello ({VIDEO_OK})"


def test_the_same_command_fetches_a_better_video_when_the_look_is_due(cli: Any, emulator: EmulatorClient) -> None:
    emulator.begin("fresh_upload")
    download = ("download", VIDEO_OK, "--no-captions")
    assert cli(*download).code == 0

    mark = emulator.last()
    again = cli(*download)
    assert (again.code, emulator.log(since=mark)) == (0, [])
    assert "0 saved, 1 already archived" in again.out
    assert "looked again" not in again.out

    listed = cli("storage", "list", "--below-wanted").out
    assert "360p" in listed
    assert "a recent upload, lower than asked for" in listed
    (shown,) = json.loads(cli("storage", "list", "--below-wanted", "--json").out)["videos"]
    assert (shown["prospect"]["reasons"], shown["prospect"]["offered"]) == (["lower"], 360)
    assert shown["prospect"]["next_look"] is not None
    assert (
        "Might get better: a recent upload, lower than asked for. Next look: 2" in cli("storage", "show", VIDEO_OK).out
    )
    (copy,) = json.loads(cli("storage", "show", VIDEO_OK, "--json").out)["copies"]
    assert copy["prospect"] == shown["prospect"]

    cli.env["YTARCHIVE_REVISIT__AFTER"] = "0s"
    look = cli(*download)
    assert look.code == 0
    assert (
        "looked again   Loopback, part 1: Hello (demo-000001): nothing better yet; next look in the next run"
        in look.out
    )
    assert "0 saved, 1 already archived" in look.out

    emulator.begin("fresh_upload_done")
    better = cli(*download)
    assert better.code == 0
    assert f"better         {NAME}: 720p is offered now: fetching" in better.out
    assert "1 saved, 0 already archived" in better.out
    history = cli("storage", "history", VIDEO_OK).out
    assert "looked at again: nothing better" in history
    assert "(720p instead of 360p)" in history


def test_a_look_at_a_video_that_is_private_now_fails_nothing_and_is_in_the_history(
    cli: Any, emulator: EmulatorClient
) -> None:
    emulator.begin("fresh_upload")
    cli.env["YTARCHIVE_REVISIT__AFTER"] = "0s"
    download = ("download", VIDEO_OK, "--no-captions")
    assert cli(*download).code == 0
    emulator.set_kind(VIDEO_OK, "private")
    look = cli(*download)
    assert look.code == 0
    assert f"look failed    {VIDEO_OK}: the archive keeps what it has: " in look.out
    assert "0 saved, 1 already archived" in look.out
    assert "looked at again: Private video" in cli("storage", "history", VIDEO_OK).out
    assert cli("storage", "show", VIDEO_OK).code == 0


def test_an_invalid_time_is_named_with_its_remedy(cli: Any) -> None:
    for text, remedy in {"2 hours": "such as 2h", "0s,1d": "stands alone"}.items():
        cli.env["YTARCHIVE_REVISIT__AFTER"] = text
        run = cli("config", "check")
        assert run.code == 2
        assert "YTARCHIVE_REVISIT__AFTER: revisit.after" in run.err
        assert remedy in run.err
