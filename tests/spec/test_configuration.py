"""Chapters 8 and 16: configuration and ports, through `config show` and the behaviour of a stack."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

PORTS = {"jobs": 8000, "metadata": 8001, "download": 8002, "storage": 8003, "logging": 8004}


def config_values(cli: Any) -> dict[str, Any]:
    keys = json.loads(cli("config", "show", "--json").out)["keys"]
    return {key: result["value"] for key, result in keys.items()}


@pytest.mark.claim("7.2", "8.2", "8.5", "8.6", "16.1")
def test_default_values_match_the_specification(make_cli: Any) -> None:
    cli = make_cli()
    cli.env = {key: value for key, value in cli.env.items() if not key.startswith("YTARCHIVE_")}
    values = config_values(cli)
    assert (values["general.log_level"], values["general.api_version"]) == ("INFO", "v1")
    assert (values["youtube.quota_limit"], values["youtube.quota_reserve"]) == (10_000, 1_000)
    assert values["download.timeout"] == 3600
    for name, port in PORTS.items():
        assert (values[f"services.{name}.host"], values[f"services.{name}.port"]) == ("localhost", port)


@pytest.mark.claim("8.1", "8.2", "8.3", "8.4", "8.5", "8.6")
def test_every_key_of_config_toml_is_applied(make_cli: Any) -> None:
    cli = make_cli()
    cli.env = {key: value for key, value in cli.env.items() if not key.startswith("YTARCHIVE_")}
    text = """
        [general]
        log_level = "DEBUG"
        api_version = "v1"
        [storage]
        base_data_dir = "~/state"
        jobs_dir = "{base_data_dir}/j"
        registry_dir = "{base_data_dir}/r"
        work_plans_dir = "{base_data_dir}/w"
        tmp_dir = "{base_data_dir}/t"
        logs_dir = "{base_data_dir}/l"
        base_path = "~/tree"
        metadata_dir = "{base_path}/m"
        videos_dir = "{base_path}/v"
        [youtube]
        quota_limit = 500
        quota_reserve = 50
    """
    services = "".join(f'[services.{name}]\nhost = "127.0.0.1"\nport = {port + 1000}\n' for name, port in PORTS.items())
    lines = [line.strip() for line in text.splitlines()]
    (cli.home / "config.toml").write_text("\n".join(lines) + "\n" + services)
    values = config_values(cli)
    state, tree = cli.home / "state", cli.home / "tree"
    expected = {
        "general.log_level": "DEBUG",
        "general.api_version": "v1",
        "storage.base_data_dir": str(state),
        "storage.jobs_dir": str(state / "j"),
        "storage.registry_dir": str(state / "r"),
        "storage.work_plans_dir": str(state / "w"),
        "storage.tmp_dir": str(state / "t"),
        "storage.logs_dir": str(state / "l"),
        "storage.base_path": str(tree),
        "storage.metadata_dir": str(tree / "m"),
        "storage.videos_dir": str(tree / "v"),
        "youtube.quota_limit": 500,
        "youtube.quota_reserve": 50,
        **{f"services.{name}.host": "127.0.0.1" for name in PORTS},
        **{f"services.{name}.port": port + 1000 for name, port in PORTS.items()},
    }
    assert {key: values[key] for key in expected} == expected


@pytest.mark.claim("8.3", "8.4")
def test_configured_directories_are_used(make_cli: Any, tmp_path: Path) -> None:
    names = ("JOBS", "REGISTRY", "WORK_PLANS", "TMP", "LOGS", "METADATA", "VIDEOS")
    cli = make_cli(**{f"YTARCHIVE_STORAGE__{name}_DIR": str(tmp_path / name.lower()) for name in names})
    ran = cli("download", sample.VIDEO_OK, sample.VIDEO_DELETED)
    assert ran.code == 3, ran.err
    assert {path.name for path in cli.data.iterdir()} == {"catalogue.db", "run"}  # all other directories are configured
    assert (tmp_path / "jobs" / "jobs.db").is_file()
    assert list((tmp_path / "registry").glob("*.json"))
    assert list((tmp_path / "work_plans").glob("*.json"))
    assert (tmp_path / "tmp").is_dir()
    assert {path.name[:2] for path in (tmp_path / "logs").glob("*.jsonl")} == {"20", "ev"}  # records and events
    assert (tmp_path / "metadata" / "videos" / f"{sample.VIDEO_OK}.json").is_file()
    assert (tmp_path / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}.mp4").is_file()
    assert not list(cli.archive.rglob("*.mp4"))


@pytest.mark.claim("8.2", "8.6", "16.1")
def test_a_service_listens_on_its_configured_host_and_port(start: Any) -> None:
    """With log_level DEBUG, health requests are recorded, too."""
    free = {}
    probes = []
    for name in PORTS:
        probe = socket.socket()
        probe.bind(("127.0.0.1", 0))
        probes.append(probe)
        free[name] = probe.getsockname()[1]
    for probe in probes:
        probe.close()
    settings = {f"YTARCHIVE_SERVICES__{name.upper()}__PORT": str(port) for name, port in free.items()}
    hosts = {"jobs": "localhost", "logging": "127.0.0.2"}
    settings |= {f"YTARCHIVE_SERVICES__{name.upper()}__HOST": host for name, host in hosts.items()}
    system = start(YTARCHIVE_GENERAL__LOG_LEVEL="DEBUG", **settings)
    for name, port in free.items():
        system.urls[name] = f"http://{hosts.get(name, '127.0.0.1').replace('localhost', '127.0.0.1')}:{port}"
        assert system.request(name, "health").data["service"] == name
    until(lambda: system.log_records(event="request_received", endpoint="/api/v1/health", service="jobs"))
    assert system.stop().code in {0, 143}


@pytest.mark.claim("8.5")
def test_jobs_cannot_use_the_quota_reserve_and_lookups_stop_at_the_limit(start: Any) -> None:
    """A listing costs three units: those of the list, of its entries and of their metadata."""
    system = start(
        YOUTUBE_API_KEY="AIzaSyReserveReserveReserveReserveReserve",
        YTARCHIVE_YOUTUBE__QUOTA_LIMIT="6",
        YTARCHIVE_YOUTUBE__QUOTA_RESERVE="3",
        YTARCHIVE_YOUTUBE__KEYLESS_FALLBACK="false",
    )
    assert system.run_job(sample.PLAYLIST_3, type="metadata_only")["job"]["status"] == "completed"
    job_id = system.create_job(sample.PLAYLIST_3)
    until(lambda: system.request("jobs", f"jobs/{job_id}").data["job"]["status"] == "retrying")
    for video_id in (sample.VIDEO_OK, sample.VIDEO_TWO_CAPTIONS, sample.VIDEO_NO_CAPTIONS):
        assert system.request("metadata", f"metadata/video/{video_id}").status == 200
    answer = system.request("metadata", f"metadata/video/{sample.VIDEO_480P}")
    assert (answer.status, answer.json["error"]["code"]) == (429, "E001")
    (key,) = system.request("metadata", "metadata/quota").data["keys"]
    assert (key["used"], key["remaining_people"]) == (6, 0)
    system.stop()


@pytest.mark.claim("8.7")
def test_the_api_key_of_the_environment_is_used(make_cli: Any, emulator: Any) -> None:
    cli = make_cli(
        YOUTUBE_API_KEY="AIzaSyEnvironmentEnvironmentEnvironmentE",
        YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint,
    )
    assert cli("download", sample.VIDEO_OK).code == 0
    assert [entry for entry in emulator.log() if "/youtube/v3/" in entry["path"]]


@pytest.mark.claim("8.7")
def test_downloads_work_without_an_api_key(make_cli: Any, emulator: Any) -> None:
    cli = make_cli(YTARCHIVE_YOUTUBE__API_ENDPOINT=emulator.api_endpoint)
    assert cli("download", sample.VIDEO_OK).code == 0
    assert not [entry for entry in emulator.log() if "/youtube/v3/" in entry["path"]]
