"""Validation of new jobs."""

from pathlib import Path

import pytest

from services.common.events import JobCreated
from services.common.models import ErrorCode, JobOptions
from services.common.settings.load import Config
from services.jobs.domain.state_machine import Accepted, Rejected, Verdict
from services.jobs.job_validator import validate
from services.storage.formats.layout import tree_of

VIDEO = "aaaaaaaaaaa"


def check(config: Config, **options: object) -> Verdict:
    return validate(JobCreated(job_id="j", targets=(VIDEO,), options=JobOptions.model_validate(options)), config)


def test_without_an_output_dir_it_is_base_path(config: Config) -> None:
    verdict = check(config)
    assert isinstance(verdict, Accepted)
    assert verdict.root == str(config.storage.base_path)


def test_a_folder_below_a_root_that_is_a_link_is_what_storage_takes_it_for(config: Config, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    config.storage.base_path.symlink_to(disk)
    for written in (config.storage.base_path / "music", disk / "music"):
        verdict = check(config, output_dir=str(written))
        assert isinstance(verdict, Accepted)
        assert verdict.root == str(config.storage.base_path / "music")
        assert tree_of(verdict.root, config.storage).videos == config.storage.base_path / "music" / "videos"


@pytest.mark.parametrize(
    "options",
    [
        {"output_dir": "relative"},
        {"output_dir": "/usr"},
        {"output_dir": "/proc/none"},
        {"quality": "best[["},
        {"caption_languages": ["en;rm"]},
    ],
)
def test_what_cannot_be_is_refused_with_e007(config: Config, options: dict[str, object]) -> None:
    verdict = check(config, **options)
    assert isinstance(verdict, Rejected)
    assert verdict.error.code is ErrorCode.INVALID_REQUEST
    assert str(next(iter(options.values()))).strip("[]'") in verdict.error.message
