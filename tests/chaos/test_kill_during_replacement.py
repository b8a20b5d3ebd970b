"""Storage is killed while it replaces an archived video: either the old or the new file remains, complete."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient

BEFORE = [
    "bus.taken.download.completed",
    "storage.before_stage_1",
    "storage.before_stage_2",  # an upgrade delivers only one file
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


def _expect_old_or_new(
    fault: str, before: Mapping[str, str], between: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Between the kill and the restart each file is whole: the old one or the new one."""
    assert set(before) == set(between) == set(after)
    for name, digest in between.items():
        assert digest in {before[name], after[name]}, name
    if fault in BEFORE:
        assert between == before


def _files(folder: Path) -> dict[str, str]:
    """Return the digest of each visible file of a video."""
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize(("fault", "options"), STEPS)
async def test_killing_storage_during_a_replacement_keeps_the_old_or_the_new_file(
    fault: str, options: dict[str, Any], short_ack_cluster: Any, new_job: Any, repeat_job: Any
) -> None:
    first = await new_job(short_ack_cluster, count=2)
    (video_id,) = first.videos
    await first.submit()
    await first.wait_for_end()
    folder = short_ack_cluster.config.storage.base_path / "videos" / video_id
    before = _files(folder)
    short_ack_cluster.set_fault("storage", fault)
    second = repeat_job(first)
    await second.submit(**options)
    await short_ack_cluster.wait_for_death("storage")
    between = _files(folder)
    await short_ack_cluster.start("storage")
    await second.wait_for_end()
    assert (await second.items())[video_id].attempts == 0, "the delivered files were still there"
    after = _files(folder)
    _expect_old_or_new(fault, before, between, after)
    second.assert_files_intact(video_id)
    held = json.loads((folder / f"{video_id}_metadata.json").read_text())
    assert len(held["take_ins"]) == 2
    if options is UPGRADE:
        assert after[f"{video_id}.mp4"] != before[f"{video_id}.mp4"]
        assert held["provenance"]["height"] == 240
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    short_ack_cluster.reusable = True


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER])
async def test_killing_storage_while_a_look_replaces_a_video_keeps_the_old_or_the_new_file(
    fault: str, short_ack_cluster: Any, new_job: Any, repeat_job: Any, emulator: EmulatorClient
) -> None:
    """A fresh upload has only 144p; 240p comes later, and is found by a look in the next run."""
    first = await new_job(short_ack_cluster, count=2)
    (video_id,) = first.videos
    emulator.change_video(video_id, heights=[144], upload_date=datetime.now(UTC).date().isoformat())
    await first.submit(**UPGRADE)
    await first.wait_for_end()
    folder = short_ack_cluster.config.storage.base_path / "videos" / video_id
    before = _files(folder)
    emulator.change_video(video_id, heights=[144, 240])
    short_ack_cluster.kill("storage")
    await short_ack_cluster.start("storage", YTARCHIVE_REVISIT__AFTER="0s")
    short_ack_cluster.set_fault("storage", fault)
    second = repeat_job(first)
    await second.submit(**UPGRADE)
    await short_ack_cluster.wait_for_death("storage")
    between = _files(folder)
    await short_ack_cluster.start("storage")
    await second.wait_for_end()
    assert (await second.items())[video_id].status == "archived"
    after = _files(folder)
    _expect_old_or_new(fault, before, between, after)
    second.assert_files_intact(video_id)
    held = json.loads((folder / f"{video_id}_metadata.json").read_text())
    assert (len(held["take_ins"]), held["revisit"]["resolution"], held["revisit"]["reasons"]) == (2, 240, [])
    assert after[f"{video_id}.mp4"] != before[f"{video_id}.mp4"]
    assert after[f"{video_id}_thumb.jpg"] == before[f"{video_id}_thumb.jpg"]
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    short_ack_cluster.reusable = True
