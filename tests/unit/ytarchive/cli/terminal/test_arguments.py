"""Command-line arguments: order of options, ids that begin with a dash, batch files, job requests."""

from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import Job
from services.common.errors import InvalidRequest
from services.common.models import JobOptions, JobStatus, JobType, Progress
from services.common.settings.load import Config
from services.common.targets import digest
from ytarchive.cli.app import app
from ytarchive.cli.terminal.arguments import TAKE_IDS, arrange, wants_json
from ytarchive.client.events import event_types
from ytarchive.docgen import cli_reference
from ytarchive.doctor.versions import version_in
from ytarchive.planning.job_request import batch_targets, make_request

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
        (["storage", "show", "-demo_00012", "--json"], ["storage", "show", "--json", "--", "-demo_00012"]),
        (
            ["storage", "history", "--limit", "5", "-demo_00012"],
            ["storage", "history", "--limit", "5", "--", "-demo_00012"],
        ),
        (
            ["storage", "verify", "--no-repair", "-v", "--demo_0012"],
            ["-v", "storage", "verify", "--no-repair", "--", "--demo_0012"],
        ),
    ],
)
def test_global_options_are_moved_to_the_front_and_ids_behind_a_double_dash(
    given: list[str], arranged: list[str]
) -> None:
    assert arrange(given) == arranged


def test_no_option_of_a_command_that_takes_ids_is_mistaken_for_one() -> None:
    """An option that has the form of an id, and one with a value, have to be known."""
    for command in cli_reference.commands(app):
        if command.words not in TAKE_IDS:
            continue
        for parameter in command.parameters:
            for option in parameter.options:
                given = [*command.words, option, *([] if parameter.kind is bool else ["-demo_00012"])]
                assert arrange(given) == given


def test_json_after_a_double_dash_is_a_target() -> None:
    assert wants_json(["download", "x", "--json"])
    assert not wants_json(["download", "--", "--json"])


def test_a_batch_file_can_contain_comments_and_blank_lines() -> None:
    assert batch_targets(["# films", "", f"  {VIDEO} ", "; more", "@name"]) == [VIDEO, "@name"]


@pytest.mark.parametrize(
    ("targets", "metadata_only", "type"),
    [
        ([VIDEO], False, JobType.VIDEO_DOWNLOAD),
        ([VIDEO, PLAYLIST], False, JobType.PLAYLIST_DOWNLOAD),
        ([PLAYLIST], True, JobType.METADATA_ONLY),
    ],
)
def test_the_job_type_depends_on_the_targets_and_options(
    config: Config, targets: list[str], metadata_only: bool, type: JobType
) -> None:
    assert make_request(targets, config, metadata_only=metadata_only).type is type


def test_all_refused_targets_are_named_in_the_error(config: Config) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_request(["nonsense", VIDEO, "https://example.org/"], config)
    assert "'nonsense'" in caught.value.message
    assert "'https://example.org/'" in caught.value.message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"quality": "bv*[height<"}, "quality"),
        ({"quality": "q" * 600}, "quality"),
        ({"captions": "en,!!"}, "caption language"),
        ({"captions": "en", "no_captions": True}, "exclude each other"),
    ],
)
def test_invalid_options_are_refused(config: Config, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidRequest, match=expected):
        make_request([VIDEO], config, **options)


def test_a_request_without_targets_is_refused(config: Config) -> None:
    with pytest.raises(InvalidRequest, match="No targets"):
        make_request([], config)


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


def test_a_request_matches_a_job_with_equivalent_targets_and_options(config: Config) -> None:
    request = make_request([VIDEO, "demo-000002"], config)

    assert request.matches(_job(config, "https://youtu.be/demo-000002", VIDEO, VIDEO))
    assert not request.matches(_job(config, VIDEO))
    assert not request.matches(_job(config, VIDEO, "demo-000002", quality="720p"))
    assert not request.matches(_job(config, VIDEO, "demo-000002", skip_existing=False))
    assert not request.matches(_job(config, VIDEO, "demo-000002", root=Path("/elsewhere")))


def test_the_output_dir_is_part_of_the_comparison(config: Config, tmp_path: Path) -> None:
    request = make_request([VIDEO], config, output_dir=tmp_path / "other")

    assert request.extra_root == tmp_path / "other"
    assert request.matches(_job(config, VIDEO, root=tmp_path / "other", output_dir=str(tmp_path / "other")))
    assert not request.matches(_job(config, VIDEO))


def test_event_type_patterns_are_resolved_to_events() -> None:
    assert {kind.subject for kind in event_types(["job.c*", "video.archived"])} >= {"job.created", "video.archived"}
    everything = {kind.subject for kind in event_types([])}
    assert "download.progress" in everything
    assert everything.isdisjoint({"log.recorded", "service.heartbeat", "download.claim"})
    with pytest.raises(InvalidRequest, match=r"job\.creatd.*Event types: .*job\.created"):
        event_types(["job.creatd"])


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("ffmpeg version 7.1-static Copyright (c) 2000\nbuilt with", "7.1-static"),
        ("deno 2.5.6 (stable)\nv8 1", "2.5.6"),
        ("nats-server: v2.15.1", "2.15.1"),
        ("", None),
    ],
)
def test_the_version_is_extracted_from_the_output_of_a_program(output: str, version: str | None) -> None:
    assert version_in(output) == version
