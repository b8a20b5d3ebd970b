"""Storage dies while it replaces a video that is held already: the old file or the new one stays, whole."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

BEFORE = [
    "bus.taken.download.completed",
    "storage.before_stage_1",
    "storage.before_stage_2",  # an upgrade brings one file only
    "storage.after_stage",
    "storage.before_intent",
]
AFTER = [
    "storage.after_intent",
    "storage.after_rename_1",
    "storage.after_rename_2",
    "storage.before_commit",
    "storage.after_commit",
    "bus.handled.download.completed",
]
FORCE = {"skip_existing": False}
UPGRADE = {"quality": "240p"}
STEPS = [
    *(pytest.param(fault, UPGRADE, id=f"upgrade-{fault}") for fault in [*BEFORE, *AFTER] if not fault.endswith("_2")),
    *(pytest.param(fault, FORCE, id=f"force-{fault}") for fault in [*BEFORE, *AFTER] if fault.endswith(("_2", "nt"))),
]


def _files(folder: Path) -> dict[str, str]:
    """What is visible in the folder of a video, and its digests."""
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize(("fault", "options"), STEPS)
async def test_the_old_file_or_the_new_one_stays(
    fault: str, options: dict[str, Any], quick: Any, deed_in: Any, again: Any
) -> None:
    first = await deed_in(quick, count=2)
    (video_id,) = first.videos
    await first.order()
    await first.ended()
    folder = quick.config.storage.base_path / "videos" / video_id
    before = _files(folder)
    quick.doom("storage", fault)
    second = again(first)
    await second.order(**options)
    await quick.died("storage")
    between = _files(folder)
    await quick.start("storage")
    await second.ended()
    assert (await second.items())[video_id].attempts == 0, "what was delivered was still there"
    after = _files(folder)
    assert set(before) == set(between) == set(after)
    for name, digest in between.items():
        assert digest in {before[name], after[name]}, name
    if fault in BEFORE:
        assert between == before
    second.whole(video_id)
    held = json.loads((folder / f"{video_id}_metadata.json").read_text())
    assert len(held["take_ins"]) == 2
    if options is UPGRADE:
        assert after[f"{video_id}.mp4"] != before[f"{video_id}.mp4"]
        assert held["provenance"]["height"] == 240
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    quick.sound = True
