"""The common data models of the specification, and the errors."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from services.common import errors, models
from services.common.domain.jobs import ItemStatus
from services.common.domain.videos import Wanted
from services.common.models import (
    ErrorCode,
    FailedDownload,
    HealthCheck,
    HealthStatus,
    JobOptions,
    JobStatus,
    JobType,
    ServiceRequest,
    ServiceResponse,
    UnavailableVideo,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (ErrorCode, ["E001", "E002", "E003", "E004", "E005", "E006", "E007", "E999"]),
        (HealthStatus, ["healthy", "unhealthy"]),
        (JobType, ["video_download", "playlist_download", "metadata_only"]),
        (JobStatus, ["created", "queued", "running", "completed", "failed", "cancelled", "retrying"]),
    ],
)
def test_enums_have_the_values_of_the_specification(enum: type[Any], values: list[str]) -> None:
    assert [member.value for member in enum] == values


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        pytest.param(models.ErrorDetail, "code message details?", marks=pytest.mark.claim("4.2")),
        pytest.param(models.ServiceRequest, "trace_id timestamp data", marks=pytest.mark.claim("4.3")),
        pytest.param(models.ServiceResponse, "success data? error? trace_id", marks=pytest.mark.claim("4.4")),
        pytest.param(
            models.HealthCheck,
            "service status version uptime_seconds checks? metrics?",
            marks=pytest.mark.claim("4.6"),
        ),
        (
            models.JobOptions,
            "output_dir? quality? include_metadata? include_captions? caption_languages? skip_existing? api_key?"
            " rules?",  # the last one is ours: docs/decisions/0037-follows.md
        ),
        pytest.param(
            models.JobResult,
            "video_id status message? metadata_saved? video_downloaded? file_size? duration_seconds? error_code?",
            marks=pytest.mark.claim("5.10"),
        ),
        pytest.param(
            models.Progress,
            "current total percentage message speed_bps? eta_seconds?",
            marks=pytest.mark.claim("5.11"),
        ),
        pytest.param(
            models.UnavailableVideo,
            "video_id title? reason detected_at playlist_id? last_available?",
            marks=pytest.mark.claim("6.1"),
        ),
        pytest.param(
            models.FailedDownload,
            "video_id title attempts last_attempt errors file_size? retry_after?",
            marks=pytest.mark.claim("6.3"),
        ),
    ],
)
def test_models_have_the_fields_of_the_specification(model: type[BaseModel], fields: str) -> None:
    """`?` marks an optional field."""
    actual = [name if field.is_required() else f"{name}?" for name, field in model.model_fields.items()]
    assert actual == fields.split()


@pytest.mark.claim("4.4")
def test_a_response_is_serialized_as_in_the_specification() -> None:
    good = ServiceResponse(success=True, data={"a": 1}, trace_id="uuid")
    assert good.model_dump(mode="json") == {"success": True, "data": {"a": 1}, "error": None, "trace_id": "uuid"}
    bare = ServiceResponse(success=True, trace_id="uuid")
    assert bare.model_dump(mode="json") == {"success": True, "data": None, "error": None, "trace_id": "uuid"}


@pytest.mark.claim("4.6")
def test_health_has_the_checks_of_the_specification_by_default() -> None:
    health = HealthCheck(service="jobs", status=HealthStatus.HEALTHY, version="0.1.0", uptime_seconds=1)
    assert health.checks == {
        "http_responsive": True,
        "dependencies_available": True,
        "no_critical_errors": True,
        "disk_space_available": True,
    }
    assert health.metrics is None


def test_job_options_have_the_defaults_of_the_specification() -> None:
    options = JobOptions()
    assert (options.output_dir, options.quality, options.caption_languages) == ("~/YTArchive", "1080p", ["en"])
    assert options.include_metadata
    assert options.include_captions
    assert options.skip_existing
    assert options.api_key is None


def test_an_unset_output_dir_stays_unset_after_serialization() -> None:
    unset = JobOptions.model_validate_json(JobOptions().model_dump_json())
    chosen = JobOptions.model_validate_json(JobOptions(output_dir="~/YTArchive").model_dump_json())
    assert unset.chosen_output_dir is None
    assert chosen.chosen_output_dir == "~/YTArchive"


def test_an_api_key_is_not_in_the_repr_and_an_unset_key_is_not_serialized() -> None:
    assert "geheim" not in repr(JobOptions(api_key="geheim"))
    assert "api_key" not in JobOptions().model_dump_json()


@pytest.mark.parametrize(
    ("job_type", "options", "expected"),
    [
        (JobType.VIDEO_DOWNLOAD, JobOptions(), Wanted(captions=("en",))),
        (JobType.PLAYLIST_DOWNLOAD, JobOptions(include_captions=False), Wanted()),
        (JobType.PLAYLIST_DOWNLOAD, JobOptions(caption_languages=["de", "en", "de"]), Wanted(captions=("de", "en"))),
        (JobType.VIDEO_DOWNLOAD, JobOptions(include_metadata=False), Wanted(captions=("en",), metadata=False)),
        (JobType.METADATA_ONLY, JobOptions(include_metadata=False), Wanted(media=False, thumbnail=False)),
    ],
)
def test_the_wanted_files_depend_on_job_type_and_options(
    job_type: JobType, options: JobOptions, expected: Wanted
) -> None:
    assert Wanted.of(job_type, options) == expected


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (ServiceRequest, {"trace_id": "t", "timestamp": datetime(2024, 1, 1), "data": {}}),  # noqa: DTZ001 - under test
        (
            UnavailableVideo,
            {"video_id": "a", "reason": "private", "detected_at": datetime(2024, 1, 1)},  # noqa: DTZ001 - under test
        ),
    ],
)
def test_times_without_a_time_zone_are_refused(model: type[BaseModel], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="timezone"):
        model.model_validate(data)


def test_a_failed_download_is_unchanged_after_serialization() -> None:
    failed = FailedDownload(video_id="a", title="b", attempts=3, last_attempt=NOW, errors=[{"code": "E003"}])
    assert FailedDownload.model_validate_json(failed.model_dump_json()) == failed


def test_which_statuses_are_ended_or_open() -> None:
    assert [status for status in JobStatus if status.ended] == [
        JobStatus.COMPLETED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    ]
    assert [status.value for status in ItemStatus if status.open] == ["listed", "waiting", "running", "closing"]


def test_each_error_has_a_code_and_an_http_status() -> None:
    tree = [errors.YTArchiveError]
    for kind in tree:
        tree += kind.__subclasses__()
    actual = {kind.__name__: (kind.code.value, kind.http_status) for kind in tree if kind.__module__ == errors.__name__}
    assert actual == {
        "YTArchiveError": ("E999", 500),
        "InvalidRequest": ("E007", 400),
        "NotFound": ("E007", 404),
        "Forbidden": ("E007", 403),
        "ConfigError": ("E007", 400),
        "VideoUnavailable": ("E002", 404),
        "QuotaExceeded": ("E001", 429),
        "InvalidCredentials": ("E005", 400),
        "StorageFull": ("E004", 503),
        "NetworkTimeout": ("E003", 503),
        "ServiceUnavailable": ("E006", 503),
        "TooManyRequests": ("E006", 429),
        "HostUnavailable": ("E006", 503),
        "StateDamaged": ("E006", 503),
        "Unauthorized": ("E005", 401),
    }


def test_an_error_is_converted_to_an_error_detail() -> None:
    detail = errors.NotFound("There is no job x.", job_id="x").detail()
    assert detail.model_dump(mode="json") == {
        "code": "E007",
        "message": "There is no job x.",
        "details": {"job_id": "x"},
    }
