"""Words of a command line: where they may stand, which are ids, what a batch file holds, which command is the same."""

from pathlib import Path

import pytest

from services.common.errors import InvalidRequest
from services.common.models import Job, JobOptions, JobStatus, JobType, Progress
from services.common.settings.load import Config
from services.common.targets import digest
from ytarchive.cli.arguments import arrange, wants_json
from ytarchive.cli.commands.jobs import Status
from ytarchive.cli.commands.serve import Name
from ytarchive.cli.doctor.versions import version_in
from ytarchive.cli.running.job_request import batch_targets, place_order, same_command
from ytarchive.client.events import chosen_kinds
from ytarchive.stack import SERVICES

VIDEO = "demo-000001"
PLAYLIST = "PLemulator0000000000000000000demo"


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        ([], []),
        (["download", "x", "--config", "f.toml"], ["--config", "f.toml", "download", "x"]),
        (["jobs", "list", "--config=f.toml", "-v"], ["--config=f.toml", "-v", "jobs", "list"]),
        (["download", "-demo_00012", "--json"], ["download", "--json", "--", "-demo_00012"]),
        (["download", "--", "-demo_00012", "-v"], ["download", "--", "-demo_00012", "-v"]),
        (["download", "-demo_00012", "--", "x"], ["download", "--", "-demo_00012", "x"]),
        (["download", "-o", "-out_folder", "x"], ["download", "-o", "-out_folder", "x"]),
        (["download", "--captions", "en", "x"], ["download", "--captions", "en", "x"]),
        (["jobs", "show", "-demo_00012"], ["jobs", "show", "-demo_00012"]),
    ],
)
def test_arrange(given: list[str], arranged: list[str]) -> None:
    assert arrange(given) == arranged


def test_json_behind_the_dashes_is_a_target() -> None:
    assert wants_json(["download", "x", "--json"])
    assert not wants_json(["download", "--", "--json"])


def test_a_batch_skips_comments_and_blank_lines() -> None:
    assert batch_targets(["# films", "", f"  {VIDEO} ", "; more", "@name"]) == [VIDEO, "@name"]


@pytest.mark.parametrize(
    ("targets", "metadata_only", "type"),
    [
        ([VIDEO], False, JobType.VIDEO_DOWNLOAD),
        ([VIDEO, PLAYLIST], False, JobType.PLAYLIST_DOWNLOAD),
        ([PLAYLIST], True, JobType.METADATA_ONLY),
    ],
)
def test_the_type_of_an_order(config: Config, targets: list[str], metadata_only: bool, type: JobType) -> None:
    assert place_order(targets, config, metadata_only=metadata_only).type is type


def test_every_refused_target_is_named(config: Config) -> None:
    with pytest.raises(InvalidRequest) as caught:
        place_order(["nonsense", VIDEO, "https://example.org/"], config)
    assert "'nonsense'" in caught.value.message
    assert "'https://example.org/'" in caught.value.message


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"quality": "bv*[height<"}, "quality"),
        ({"quality": "q" * 600}, "quality"),
        ({"captions": "en,!!"}, "caption language"),
        ({"captions": "en", "no_captions": True}, "exclude each other"),
    ],
)
def test_options_that_cannot_be(config: Config, words: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        place_order([VIDEO], config, **words)  # type: ignore[arg-type]  # a table of any of them


def test_nothing_asked_for(config: Config) -> None:
    with pytest.raises(InvalidRequest, match="Nothing to archive"):
        place_order([], config)


def _job(config: Config, *targets: str, root: Path | None = None, **options: object) -> Job:
    now = "2026-01-01T00:00:00Z"
    return Job.model_validate(
        {
            "job_id": "j",
            "trace_id": "t",
            "type": "video_download",
            "status": JobStatus.RUNNING,
            "targets": targets,
            "targets_digest": digest(targets),
            "options": JobOptions.model_validate(options),
            "root": str(root or config.storage.base_path),
            "progress": Progress(current=0, total=0, percentage=0, message=""),
            "created_at": now,
            "updated_at": now,
        }
    )


def test_the_same_command_however_it_is_written(config: Config) -> None:
    order = place_order([VIDEO, "demo-000002"], config)

    assert same_command(_job(config, "https://youtu.be/demo-000002", VIDEO, VIDEO), order)
    assert not same_command(_job(config, VIDEO), order)
    assert not same_command(_job(config, VIDEO, "demo-000002", quality="720p"), order)
    assert not same_command(_job(config, VIDEO, "demo-000002", skip_existing=False), order)
    assert not same_command(_job(config, VIDEO, "demo-000002", root=Path("/elsewhere")), order)


def test_an_output_dir_is_part_of_the_command(config: Config, tmp_path: Path) -> None:
    order = place_order([VIDEO], config, output_dir=tmp_path / "other")

    assert order.extra_root == tmp_path / "other"
    assert same_command(_job(config, VIDEO, root=tmp_path / "other", output_dir=str(tmp_path / "other")), order)
    assert not same_command(_job(config, VIDEO), order)


def test_names_that_the_command_line_repeats_are_up_to_date() -> None:
    assert {status.value for status in Status} == {status.value for status in JobStatus} | {"open"}
    assert [name.value for name in Name] == list(SERVICES)


def test_kinds_of_a_tail() -> None:
    assert {kind.subject for kind in chosen_kinds(["job.c*", "video.archived"])} >= {"job.created", "video.archived"}
    everything = {kind.subject for kind in chosen_kinds([])}
    assert "download.progress" in everything
    assert everything.isdisjoint({"log.recorded", "service.heartbeat", "download.claim"})
    with pytest.raises(InvalidRequest, match=r"job\.creatd.*There are: .*job\.created"):
        chosen_kinds(["job.creatd"])


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("ffmpeg version 7.1-static Copyright (c) 2000\nbuilt with", "7.1-static"),
        ("deno 2.5.6 (stable)\nv8 1", "2.5.6"),
        ("nats-server: v2.15.1", "2.15.1"),
        ("", None),
    ],
)
def test_versions_are_found_in_what_programs_say(words: str, version: str | None) -> None:
    assert version_in(words) == version
