"""config.toml: search order, accepted values, error messages, and the output of `config show`."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import ConfigError
from services.common.names import SERVICES
from services.common.settings.load import Config, describe, load_config
from services.common.settings.masking import MASK
from ytarchive.doctor import settings
from ytarchive.doctor.finding import FindingState

JOBS_PORT = "[services.jobs]\nport = 9000\n"
SHIPPED = Path(__file__).parents[5] / "config.toml"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, name: str = "config.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Isolate the tests from the user's own configuration."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


def value(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


# --- search order -------------------------------------------------------------------------------------------------


def test_without_a_file_the_defaults_of_the_specification_apply(home: Path, tmp_path: Path) -> None:
    config = load_config(env={}, cwd=tmp_path)
    assert config.source is None
    storage = config.storage
    assert storage.base_data_dir == home / ".ytarchive/data"
    assert storage.tmp_dir == home / ".ytarchive/data/tmp"
    assert storage.videos_dir == home / "YTArchive/videos"
    assert [getattr(config.services, name).port for name in SERVICES] == [
        8000,
        8001,
        8002,
        8003,
        8004,
    ]
    assert (config.youtube.quota_limit, config.youtube.quota_reserve) == (10_000, 1_000)


def test_the_shipped_config_file_contains_every_key_with_its_default(tmp_path: Path) -> None:
    shipped = load_config(SHIPPED, env={})
    assert shipped.model_dump() == load_config(env={}, cwd=tmp_path).model_dump()
    text = SHIPPED.read_text()
    missing = [key for key in describe(shipped) if f"{key.rpartition('.')[2]} = " not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("mode", "uid", "reason"),
    [
        (0o666, 0, "other users can write to it. Run `chmod go-w`"),
        (0o664, 0, "other users can write to it"),
        (0o644, 4321, "it belongs to another user. Name it with --config"),
    ],
)
def test_a_config_file_of_the_working_directory_that_others_can_write_is_ignored(
    tmp_path: Path, write: Callable[..., Path], mode: int, uid: int, reason: str
) -> None:
    if uid and os.geteuid():
        pytest.skip("only root can give a file away")
    here = write(JOBS_PORT)
    assert load_config(env={}, cwd=tmp_path).ignored is None
    here.chmod(mode)
    os.chown(here, uid or -1, 4321 if not os.geteuid() else -1)
    if mode == 0o664 and os.geteuid():
        pytest.skip("the group may be that of the user alone")
    config = load_config(env={}, cwd=tmp_path)
    assert config.source is None
    assert config.ignored is not None and config.ignored.startswith(f"{here} is ignored: {reason}")
    assert load_config(here, env={}).services.jobs.port == 9000
    finding = settings.configuration(config.source, None, config.ignored)
    assert (finding.state, finding.mend is not None) == (FindingState.WARNING, True)


def test_a_working_directory_that_the_user_may_not_enter_has_no_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `sudo -u archivist ytarchive …` in the home directory of somebody else."""
    monkeypatch.setenv("HOME", "/nowhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(4321)
    try:
        config = load_config(env={"YTARCHIVE_STORAGE__BASE_DATA_DIR": "/nowhere"}, cwd=closed)
    finally:
        os.seteuid(user)
    assert config.source is None
    assert config.ignored == f"{closed}/config.toml is ignored: Permission denied. Name it with --config."


def test_the_search_order_of_configuration_files(home: Path, tmp_path: Path, write: Callable[..., Path]) -> None:
    users = write("[services.jobs]\nport = 1\n", "home/.config/ytarchive/config.toml")
    assert load_config(env={}, cwd=tmp_path).source == users
    here = write(JOBS_PORT)
    assert load_config(env={}, cwd=tmp_path).source == here
    named = write("[services.jobs]\nport = 2\n", "named.toml")
    assert load_config(env={"YTARCHIVE_CONFIG": str(named)}, cwd=tmp_path).source == named
    explicit = write("", "explicit.toml")
    assert load_config(explicit, env={"YTARCHIVE_CONFIG": str(named)}, cwd=tmp_path).source == explicit


@pytest.mark.parametrize("text", ["[tool]\nx = 1\n", "[services.web]\nport = 1\n", "not toml at all ["])
def test_a_config_toml_of_another_program_is_ignored(text: str, tmp_path: Path, write: Callable[..., Path]) -> None:
    write(text)
    assert load_config(env={}, cwd=tmp_path).source is None


@pytest.mark.parametrize(
    ("path", "env", "by"),
    [(Path("gone.toml"), {}, ""), (None, {"YTARCHIVE_CONFIG": "gone.toml"}, ", which YTARCHIVE_CONFIG names")],
)
def test_an_explicitly_named_file_must_exist(path: Path | None, env: dict[str, str], by: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"There is no configuration file /.*gone\.toml{by}\. Correct"):
        load_config(path, env=env, cwd=tmp_path)


# --- accepted values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('[storage]\nbase_data_dir = "/data"\n', "storage.jobs_dir", Path("/data/jobs")),
        ('[storage]\nbase_path = "/arc"\n', "storage.metadata_dir", Path("/arc/metadata")),
        (
            '[storage]\nroots = ["/a", "{base_path}/b"]\nbase_path = "/arc"\n',
            "storage.roots",
            (Path("/a"), Path("/arc/b")),
        ),
        ('[storage]\nmin_free = "10GiB"\n', "storage.min_free", 10 * 1024**3),
        ("[storage]\nmin_free = 5\n", "storage.min_free", 5),
        ('[youtube]\nrate_limit = "2MiB"\n', "youtube.rate_limit", 2 * 1024**2),
        ('[nats]\nevents_max_bytes = "1 GB"\n', "nats.events_max_bytes", 10**9),
        (
            '[youtube]\nextractor_args = { youtube = { player_client = ["web"] } }\n',
            "youtube.extractor_args",
            {"youtube": {"player_client": ["web"]}},
        ),
        ('[services.jobs]\nhost = "0.0.0.0"\n', "services.jobs.port", 8000),
    ],
)
def test_settings_are_read_from_the_file(text: str, key: str, expected: Any, write: Callable[..., Path]) -> None:
    assert value(load_config(write(text), env={}), key) == expected


def test_a_tilde_is_expanded_to_the_home_directory(home: Path, write: Callable[..., Path]) -> None:
    config = load_config(write('[storage]\nbase_path = "~/x"\n[youtube]\nca_file = "~/ca.pem"\n'), env={})
    assert config.storage.videos_dir == home / "x/videos"
    assert config.youtube.ca_file == home / "ca.pem"


@pytest.mark.parametrize(
    ("variable", "text", "key", "expected"),
    [
        ("YTARCHIVE_SERVICES__JOBS__PORT", "0", "services.jobs.port", 0),
        ("YTARCHIVE_YOUTUBE__PROXY", "http://p:1", "youtube.proxy", "http://p:1"),
        ("YTARCHIVE_YOUTUBE__CA_FILE", "/ca.pem", "youtube.ca_file", Path("/ca.pem")),
        ("YTARCHIVE_YOUTUBE__API_ENDPOINT", "https://a", "youtube.api_endpoint", "https://a"),
        ("YTARCHIVE_STORAGE__BASE_PATH", "/arc", "storage.videos_dir", Path("/arc/videos")),
        ("YTARCHIVE_STORAGE__BASE_DATA_DIR", "/data", "storage.logs_dir", Path("/data/logs")),
        ("YTARCHIVE_STORAGE__ROOTS", "/a, /b,", "storage.roots", (Path("/a"), Path("/b"))),
        ("YTARCHIVE_STORAGE__ROOTS", '["/a,b"]', "storage.roots", (Path("/a,b"),)),
        ("YTARCHIVE_STORAGE__MIN_FREE", "0", "storage.min_free", 0),
        ("YTARCHIVE_YOUTUBE__EXTRACTOR_ARGS", '{"a": {"b": ["c"]}}', "youtube.extractor_args", {"a": {"b": ["c"]}}),
        ("YTARCHIVE_YOUTUBE__PROXY", "  ", "youtube.proxy", None),
        ("YTARCHIVE_GENERAL__LOG_LEVEL", "DEBUG", "general.log_level", "DEBUG"),
    ],
)
def test_an_environment_variable_overrides_the_file(
    variable: str, text: str, key: str, expected: Any, write: Callable[..., Path]
) -> None:
    file = write(
        '[services.jobs]\nport = 1\n[storage]\nbase_path = "/f"\nmin_free = 7\n[general]\nlog_level = "ERROR"\n'
    )
    assert value(load_config(file, env={variable: text}), key) == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "file"),
        ({"YOUTUBE_API_KEY": "plain"}, "plain"),
        ({"YOUTUBE_API_KEY": "plain", "YTARCHIVE_YOUTUBE__API_KEY": "ours"}, "ours"),
    ],
)
def test_an_api_key_in_the_environment_overrides_the_file(
    env: dict[str, str], expected: str, write: Callable[..., Path]
) -> None:
    key = load_config(write('[youtube]\napi_key = "file"\n'), env=env).youtube.api_key
    assert key is not None
    assert key.get_secret_value() == expected


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[youtube]\nporxy = "x"\n', ["unknown key youtube.porxy", "Did you mean youtube.proxy?"]),
        ("[downlod]\nslots = 1\n", ["unknown key downlod", "Did you mean download?"]),
        ("[services.jobs]\nprt = 1\n", ["unknown key services.jobs.prt", "Did you mean services.jobs.port?"]),
        ('source = "x"\n', ["unknown key source"]),
        ("[download]\nslots = 0\n", ["download.slots = 0", "must be at least 1"]),
        ('[download]\nslots = "many"\n', ["download.slots = 'many'", "must be a whole number"]),
        ('[storage]\nbase_path = "rel/x"\n', ["storage.base_path = 'rel/x'", "absolute or start with ~/"]),
        ('[storage]\nbase_path = "{basepath}"\n', ["unknown placeholder {basepath}", "{base_path}"]),
        ('[storage]\nmin_free = "lots"\n', ["storage.min_free = 'lots'"]),
        ("[storage]\nmin_free = -1\n", ["storage.min_free = -1"]),
        ("[services.jobs]\nport = 70000\n", ["services.jobs.port = 70000", "65535"]),
        ('[general]\nlog_level = "LOUD"\n', ["general.log_level = 'LOUD'", "is not one of DEBUG, INFO"]),
        ("[storage\n", ["not valid TOML", "line 1"]),
        ("youtube = 1\n", ["youtube = 1"]),
        ("[youtube]\nip_version = 5\n", ["youtube.ip_version = 5", "is not one of 4, 6"]),
        (
            '[youtube]\nproxy = "http://127.0.0.1:1"\nsource_address = "::1"\nip_version = 4\n',
            ["[youtube] source_address ::1 is no IPv4 address: correct it, or remove ip_version."],
        ),
    ],
)
def test_an_error_in_the_file_names_the_file_the_key_and_the_remedy(
    text: str, expected: list[str], write: Callable[..., Path]
) -> None:
    file = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={})
    for part in (str(file), *expected):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("YTARCHIVE_YOUTUBE__PORXY", "x", "Did you mean YTARCHIVE_YOUTUBE__PROXY?"),
        ("YTARCHIVE_YOUTUBE_PROXY", "x", "Did you mean YTARCHIVE_YOUTUBE__PROXY?"),
        ("YTARCHIVE_ZZZ", "x", "config show"),
        ("YTARCHIVE_CONFIG_", "x", "Did you mean YTARCHIVE_CONFIG?"),
        ("YTARCHIVE_SERVICES__JOBS__PORT", "x", "services.jobs.port = 'x'"),
        ("YTARCHIVE_STORAGE__ROOTS", "rel", "absolute or start with ~/"),
        ("YTARCHIVE_STORAGE__ROOTS", "[", "not valid JSON"),
        ("YTARCHIVE_YOUTUBE__EXTRACTOR_ARGS", "web", "not valid JSON"),
        ("YTARCHIVE_NATS__REPLICAS", "9", "nats.replicas"),
    ],
)
def test_an_error_in_an_environment_variable_names_the_variable(
    variable: str, text: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(env={variable: text}, cwd=tmp_path)
    assert caught.value.message.startswith(variable)
    assert expected in caught.value.message


def test_all_errors_are_reported_at_once(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("[download]\nslots = 0\n[nats]\nreplicas = 0\n"), env={})
    assert len(caught.value.message.splitlines()) == 2


def test_an_error_message_does_not_contain_the_secret(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("[youtube]\napi_key = [1234567]\n"), env={})
    assert "youtube.api_key" in caught.value.message
    assert "1234567" not in caught.value.message


# --- `config show` ------------------------------------------------------------------------------------------------


def test_describe_masks_secrets_and_names_the_origin_of_each_value(write: Callable[..., Path]) -> None:
    file = write('[youtube]\nproxy = "http://u:geheim@p:1"\n[nats]\ntoken = "geheim"\nurl = "nats://u:geheim@h:1"\n')
    env = {"YOUTUBE_API_KEY": "geheim", "YTARCHIVE_STORAGE__MIN_FREE": "3"}
    shown = describe(load_config(file, env=env))
    assert "geheim" not in str(shown)
    assert shown["youtube.proxy"] == {"value": f"http://{MASK}@p:1", "origin": str(file)}
    assert shown["youtube.api_key"] == {"value": MASK, "origin": "YOUTUBE_API_KEY"}
    assert shown["storage.min_free"] == {"value": 3, "origin": "YTARCHIVE_STORAGE__MIN_FREE"}
    assert shown["download.slots"] == {"value": 2, "origin": "default"}


def test_credentials_in_urls_are_masked_in_the_output_of_config_show() -> None:
    env = {
        "YTARCHIVE_YOUTUBE__PROXY": "http://user:pa'@geheim@proxy.example:3128",
        "YTARCHIVE_NATS__URL": "geheim@[::1]:4222",
    }
    shown = describe(load_config(env=env))
    assert shown["youtube.proxy"]["value"] == f"http://{MASK}@proxy.example:3128"
    assert shown["nats.url"]["value"] == f"{MASK}@[::1]:4222"


def test_an_unknown_home_directory_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user id without an entry in the user database, as in some containers, and no HOME."""

    def no_entry(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(ConfigError, match=r"base_path = .*: its home directory is unknown: set HOME"):
        load_config(env={}, cwd=tmp_path)
    storage = {"YTARCHIVE_STORAGE__BASE_DATA_DIR": "/data", "YTARCHIVE_STORAGE__BASE_PATH": "/archive"}
    assert load_config(env=storage, cwd=tmp_path).storage.logs_dir == Path("/data/logs")


def test_services_on_several_machines_may_have_the_same_port() -> None:
    env = {"YTARCHIVE_SERVICES__JOBS__PORT": "8001", "YTARCHIVE_NATS__URL": "nats://broker:4222"}
    assert load_config(env=env).services.jobs.port == 8001
    with pytest.raises(ConfigError, match=r"services\.jobs\.port and services\.metadata\.port are both 8001"):
        load_config(env={"YTARCHIVE_SERVICES__JOBS__PORT": "8001"})


# --- times of looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "delays"),
    [
        (None, ["2:00:00", "1 day, 0:00:00", "7 days, 0:00:00", "60 days, 0:00:00"]),
        ("1d,2h", ["2:00:00", "1 day, 0:00:00"]),
        ('["90s", "30m", "1w"]', ["0:01:30", "0:30:00", "7 days, 0:00:00"]),
        ("0s", ["0:00:00"]),
        ("[]", []),
    ],
)
def test_times_of_looks_are_numbers_with_units(tmp_path: Path, text: str | None, delays: list[str]) -> None:
    config = load_config(env={} if text is None else {"YTARCHIVE_REVISIT__AFTER": text}, cwd=tmp_path)
    assert list(map(str, config.revisit.delays)) == delays


@pytest.mark.parametrize("text", ["2", "2 hours", "-1d", "1y", "0s,2h", "9999999w", "1.5h", '["1d", 2]'])
def test_an_invalid_time_of_a_look_is_an_error_that_names_the_variable(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^YTARCHIVE_REVISIT__AFTER: revisit\.after") as error:
        load_config(env={"YTARCHIVE_REVISIT__AFTER": text}, cwd=tmp_path)
    assert error.value.code == "E007"


def test_the_times_of_looks_are_shown_as_they_were_written(tmp_path: Path) -> None:
    config = load_config(env={"YTARCHIVE_REVISIT__AFTER": "1d,2h"}, cwd=tmp_path)
    assert describe(config)["revisit.after"] == {"value": ["1d", "2h"], "origin": "YTARCHIVE_REVISIT__AFTER"}
