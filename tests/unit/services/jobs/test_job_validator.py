"""Validation of new jobs."""

import threading
from pathlib import Path

import pytest

from services.common.events import JobCreated
from services.common.models import ErrorCode, JobOptions
from services.common.settings.load import Config
from services.jobs.domain.state_machine import Accepted, Rejected, Verdict
from services.jobs.job_validator import JobValidator, validate
from services.storage.formats.layout import tree_of

VIDEO = "aaaaaaaaaaa"


def check(config: Config, **options: object) -> Verdict:
    return validate(JobCreated(job_id="j", targets=(VIDEO,), options=JobOptions.model_validate(options)), config)


def test_the_default_root_is_base_path(config: Config) -> None:
    verdict = check(config)
    assert isinstance(verdict, Accepted)
    assert verdict.root == str(config.storage.base_path)


def test_a_folder_below_a_symbolic_link_is_resolved_as_storage_resolves_it(config: Config, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    config.storage.base_path.symlink_to(disk)
    for written in (config.storage.base_path / "music", disk / "music"):
        verdict = check(config, output_dir=str(written))
        assert isinstance(verdict, Accepted)
        assert verdict.root == str(config.storage.base_path / "music")
        assert tree_of(verdict.root, config.storage).videos == config.storage.base_path / "music" / "videos"


def with_cookies(config: Config, **youtube: object) -> Config:
    return config.model_copy(update={"youtube": config.youtube.model_copy(update=youtube)})


@pytest.mark.parametrize(("list_id", "name"), [("WL", "Watch later"), ("LL", "Liked videos"), ("LM", "Liked music")])
def test_the_lists_of_an_account_need_its_cookies(config: Config, tmp_path: Path, list_id: str, name: str) -> None:
    job = JobCreated(job_id="j", targets=(VIDEO, list_id))
    refused = validate(job, config)
    assert isinstance(refused, Rejected)
    assert refused.error.code is ErrorCode.INVALID_REQUEST
    for words in (f"{list_id} ({name})", "[youtube] cookies_file", "cookies_from_browser", "playlist of your own"):
        assert words in refused.error.message
    for youtube in ({"cookies_file": tmp_path / "cookies.txt"}, {"cookies_from_browser": "firefox"}):
        assert isinstance(validate(job, with_cookies(config, **youtube)), Accepted)


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
def test_invalid_options_are_rejected_with_e007(config: Config, options: dict[str, object]) -> None:
    verdict = check(config, **options)
    assert isinstance(verdict, Rejected)
    assert verdict.error.code is ErrorCode.INVALID_REQUEST
    assert str(next(iter(options.values()))).strip("[]'") in verdict.error.message


class SlowPath(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """A folder on a file system that blocks until `unblocked` is set."""

    unblocked = threading.Event()

    def resolve(self, strict: bool = False) -> Path:
        assert self.unblocked.wait(60)
        return Path(self).resolve(strict)


async def test_a_slow_validation_continues_in_the_background_and_its_verdict_is_kept(
    config: Config, tmp_path: Path
) -> None:
    SlowPath.unblocked = threading.Event()
    nas = SlowPath(tmp_path / "nas")
    nas.mkdir()
    storage = config.storage.model_copy(update={"roots": (nas,)})
    validator = JobValidator(config.model_copy(update={"storage": storage}))
    slow = JobCreated(job_id="slow", targets=(VIDEO,), options=JobOptions(output_dir=str(nas)))
    fast = JobCreated(job_id="fast", targets=(VIDEO,))
    assert await validator.verdict(slow, 0.0) is None
    assert validator.running("slow")
    assert isinstance(await validator.verdict(fast, 30), Accepted)
    assert await validator.verdict(slow, 0.0) is None
    SlowPath.unblocked.set()
    verdict = await validator.verdict(slow, 30)
    assert isinstance(verdict, Accepted)
    assert not validator.running("slow")
    assert await validator.verdict(slow, 0.0) is verdict
    other = slow.model_copy(update={"targets": ("nonsense",)})  # another job with the same id has its own verdict
    assert isinstance(await validator.verdict(other, 30), Rejected)


def test_an_option_that_is_misspelled_on_the_bus_is_rejected(config: Config) -> None:
    """Otherwise the job would silently have the default."""
    data = {"job_id": "j", "targets": [VIDEO], "options": {"qualty": "144p", "quality": "720p"}}
    verdict = validate(JobCreated.model_validate(data), config)
    assert isinstance(verdict, Rejected)
    assert verdict.error.code is ErrorCode.INVALID_REQUEST
    assert "options.qualty is not known" in verdict.error.message and "skip_existing" in verdict.error.message
    del data["options"]["qualty"]  # type: ignore[attr-defined]  # a dict
    assert isinstance(validate(JobCreated.model_validate(data), config), Accepted)
