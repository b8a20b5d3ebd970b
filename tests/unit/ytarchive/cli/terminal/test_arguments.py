"""Words of a command line: where they may stand, which are ids, what a batch file holds, which command is the same."""

from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import Job
from services.common.errors import InvalidRequest
from services.common.models import JobOptions, JobStatus, JobType, Progress
from services.common.settings.load import Config
from services.common.targets import digest
from ytarchive.cli.doctor.versions import version_in
from ytarchive.cli.jobs.job_request import batch_targets, make_request
from ytarchive.cli.terminal.arguments import arrange, wants_json
from ytarchive.client.events import event_types

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
    assert make_request(targets, config, metadata_only=metadata_only).type is type


def test_every_refused_target_is_named(config: Config) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_request(["nonsense", VIDEO, "https://example.org/"], config)
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
def test_options_that_cannot_be(config: Config, words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        make_request([VIDEO], config, **words)


def test_nothing_asked_for(config: Config) -> None:
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


def test_the_same_command_however_it_is_written(config: Config) -> None:
    request = make_request([VIDEO, "demo-000002"], config)

    assert request.matches(_job(config, "https://youtu.be/demo-000002", VIDEO, VIDEO))
    assert not request.matches(_job(config, VIDEO))
    assert not request.matches(_job(config, VIDEO, "demo-000002", quality="720p"))
    assert not request.matches(_job(config, VIDEO, "demo-000002", skip_existing=False))
    assert not request.matches(_job(config, VIDEO, "demo-000002", root=Path("/elsewhere")))


def test_an_output_dir_is_part_of_the_command(config: Config, tmp_path: Path) -> None:
    request = make_request([VIDEO], config, output_dir=tmp_path / "other")

    assert request.extra_root == tmp_path / "other"
    assert request.matches(_job(config, VIDEO, root=tmp_path / "other", output_dir=str(tmp_path / "other")))
    assert not request.matches(_job(config, VIDEO))


def test_kinds_of_a_tail() -> None:
    assert {kind.subject for kind in event_types(["job.c*", "video.archived"])} >= {"job.created", "video.archived"}
    everything = {kind.subject for kind in event_types([])}
    assert "download.progress" in everything
    assert everything.isdisjoint({"log.recorded", "service.heartbeat", "download.claim"})
    with pytest.raises(InvalidRequest, match=r"job\.creatd.*Event types: .*job\.created"):
        event_types(["job.creatd"])


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
