"""Wrong settings, files and surroundings: an error with its remedy, exit code 2, and nothing is begun."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator.site import sample

VIDEO = "dQw4w9WgXcQ"
TOML = "[services.jobs]\nport = 0\n"


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["download", VIDEO, "-q", "b[ext~='(']"], {}, "\"b[ext~='(']\" is not understood: use best"),
        (["download", VIDEO, "-q", "b[)"], {}, "is not understood"),
        (["download", VIDEO, "-o", ""], {}, "--output-dir is empty: name a folder, or leave the option out"),
        (["download", "--batch", "utf16"], {}, "--batch utf16: cannot be read: it is not UTF-8 but probably"),
        (["download", "--batch", "bom"], {}, "'nonsense' is not something to archive"),
        (["download", VIDEO], {"YOUTUBE__COOKIES_FILE": "/none/c.txt"}, "/none/c.txt cannot be used: No such file"),
        (["plan", VIDEO], {"YOUTUBE__COOKIES_FILE": "/none/c.txt"}, "[youtube] cookies_file, or remove the key"),
        (["download", VIDEO], {"YOUTUBE__PROXY": "ftp://u:geheim@h"}, "ftp://********@h': ftp:// is not supported"),
        (["config", "check"], {"YOUTUBE__PROXY": "http://u:ge/heim@h"}, "********@h': host or port is not valid"),
        (["config", "check"], {"NATS__URL": "nats://a:1,http://b"}, "http:// is not supported; supported are nats"),
        (["config", "check"], {"SERVICES__JOBS__PORT": "9", "SERVICES__LOGGING__PORT": "9"}, "are both 9: set another"),
        (["config", "check"], {"RETENTION__LOGS": "99999999999999"}, "logs = '99999999999999': must be at most 36500"),
        (["config", "check", "utf16"], {}, "utf16: cannot be read: it is not UTF-8 but"),
        (["jobs", "list"], {"STORAGE__BASE_DATA_DIR": "{home}/bom"}, "bom': it is a file, not a folder. Remove it"),
        (["download", VIDEO], {"STORAGE__BASE_DATA_DIR": "{home}/bom"}, "it is a file, not a folder"),
        (["download", VIDEO], {"STORAGE__BASE_DATA_DIR": "{home}/bom/data"}, "set [storage] base_data_dir to"),
        (["config", "check"], {"AUTH__TOKEN": "geheim"}, "no valid value for auth.token (at least 16 characters are"),
        (["auth", "token", "add", "a/b"], {}, "A token cannot have the name 'a/b'. Use up to 64 letters"),
        (["auth", "token", "revoke", "nobody"], {}, "There is no token 'nobody'"),
        (["jobs", "list", "--status", "nope"], {}, "--status: 'nope' is not one of created, queued, running,"),
        (["logs", "--service", "nobody"], {}, "--service: 'nobody' is not one of jobs, metadata,"),
        (["storage", "list", "--sort", "colour"], {}, "'colour' is not one of 'title', '-title'"),
        (["logs", "--level", "loud"], {}, "'loud' is not one of 'debug', 'info'"),
        (["service", "nothing"], {}, "'nothing' is not one of 'jobs', 'metadata'"),
        (["restore", "nowhere"], {}, "nowhere is no complete backup"),
        (["download", VIDEO], {"STORAGE__BASE_DATA_DIR": "/proc/data"}, "The data folder /proc/data cannot be created"),
    ],
)  # fmt: skip
def test_a_wrong_setting_or_file_is_refused_with_a_remedy_before_anything_begins(
    make_cli: Callable[..., Any], words: list[str], settings: dict[str, str], message: str
) -> None:
    cli = make_cli()
    cli.env.update({f"YTARCHIVE_{key}": text.format(home=cli.home) for key, text in settings.items()})
    (cli.home / "utf16").write_text(TOML, encoding="utf-16")
    (cli.home / "bom").write_text("nonsense", encoding="utf-8-sig")
    run = cli(*words)
    assert (run.code, message in run.err, "E999" in run.err, "geheim" in run.err) == (2, True, False, False), run.err
    assert sorted(path.name for path in cli.home.iterdir()) == ["bom", "utf16"]


def test_a_configuration_with_a_byte_order_mark_is_read(cli: Any) -> None:
    (cli.home / "bom.toml").write_text(TOML, encoding="utf-8-sig")
    assert cli("config", "check", "bom.toml").code == 0


def test_closed_streams_and_a_removed_working_directory_leave_no_traceback(cli: Any) -> None:
    """The processes run at the same time. A descriptor that is free would be given to the next file, and then what is
    printed."""
    show = "exec $COMMAND config show"
    lines = {
        f"({show} | head -1)": (0, "key"),
        f"{show} >&- 2>&-": (0, ""),
        "exec $COMMAND config check 2>&1 >/dev/full": (1, "the output cannot be written: No space left on device"),
        f"mkdir gone && cd gone && rmdir ../gone && {show} 2>&1": (2, "The working directory was removed. Change"),
        "exec $COMMAND download --batch - 2>&1 >&- <&-": (2, "No targets"),
    }  # fmt: skip
    env = cli.env | {"COMMAND": " ".join(cli.command())}
    started = {
        line: subprocess.Popen(["/bin/sh", "-c", line], env=env, cwd=cli.home, stdout=subprocess.PIPE, text=True)
        for line in lines
    }
    for line, process in started.items():
        code, message = lines[line]
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, message in out, "Traceback" in out) == (code, True, False), (line, out)
    assert not cli.data.exists()


@pytest.mark.parametrize(
    "key",
    [
        "base_data_dir", "jobs_dir", "registry_dir", "work_plans_dir", "tmp_dir", "logs_dir", "base_path",
        "metadata_dir", "videos_dir", "roots",
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_to_is_named_with_its_key(make_cli: Any, tmp_path: Path, key: str) -> None:
    """A file is in the way, which stops root as well."""
    (tmp_path / "file").touch()
    cli = make_cli(**{f"YTARCHIVE_STORAGE__{key.upper()}": str(tmp_path / "file" / "folder")})
    for command in (["download", sample.VIDEO_OK], ["up"]):
        ran = cli(*command)
        assert ran.code == 2, ran.out + ran.err
        assert "Error [E007]" in ran.err and str(tmp_path / "file") in ran.err
        assert f"[storage] {key}" in ran.err


def test_a_file_in_place_of_the_run_folder_is_named_with_its_key(cli: Any) -> None:
    cli.data.mkdir()
    (cli.data / "run").touch()
    ran = cli("up")
    assert ran.code == 2
    assert "Error [E007]" in ran.err and f"{cli.data}/run" in ran.err and "[storage] base_data_dir" in ran.err
