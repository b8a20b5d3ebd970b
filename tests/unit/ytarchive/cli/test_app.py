"""The command tree: help, headings, --json, the CLI reference, completion."""

import os
from pathlib import Path

import pytest

from tests.fixtures.processes import ProcessPool
from ytarchive.cli.app import app
from ytarchive.cli.help_sections import SECTIONS
from ytarchive.cli.jobs.exit_codes import MEANINGS, Exit
from ytarchive.docgen import cli_reference

COMMANDS = list(cli_reference.commands(app))
# Commands without data: the first three run until they are stopped, the last one only has an exit code.
WITHOUT_JSON = {("up",), ("service",), ("web",), ("demo",), ("config", "check")}
for_each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))


class Run:
    """Run the program with an empty home directory, a fixed width and additional environment variables."""

    def __init__(self, home: Path, process_pool: ProcessPool) -> None:
        self.home = home
        self._process_pool = process_pool

    def __call__(self, *words: str, **variables: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "80"}
        out, err = self.home / "out", self.home / "err"
        self._process_pool.start(words, out, env | variables, err=err, cwd=self.home).wait()
        assert err.read_text() == ""
        return out.read_text()

    def completes(self, line: str, **variables: str) -> list[str]:
        """Return the completions of bash at the end of the line."""
        place = str(len(line.split(" ")) - 1)
        return self(COMP_WORDS=line, COMP_CWORD=place, _YTARCHIVE_COMPLETE="complete_bash", **variables).split()


@pytest.fixture
def run(tmp_path: Path, process_pool: ProcessPool) -> Run:
    return Run(tmp_path, process_pool)


@for_each_command
def test_every_command_and_parameter_has_a_help_text(command: cli_reference.Command) -> None:
    first, *_rest = command.help.strip().splitlines()
    assert first.endswith(".") and len(first) <= 110
    for parameter in command.parameters:
        assert parameter.help.rstrip("]").endswith((".", "default: 1080p", "default: base_path", "default: en"))


@for_each_command
def test_the_usage_in_the_help_equals_the_cli_reference(command: cli_reference.Command, run: Run) -> None:
    """Including which arguments are optional and which can be repeated."""
    shown = run(*command.words, "--help")
    usage = shown.partition("Usage: ")[2].partition("\n\n")[0].replace("{", "").replace("}", "")
    assert " ".join(usage.split()) == cli_reference.usage(command)


@for_each_command
def test_every_command_that_prints_data_has_a_json_option(command: cli_reference.Command) -> None:
    assert command.has_json is (command.words not in WITHOUT_JSON)


def test_every_command_is_listed_under_exactly_one_heading() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted({command.words[0] for command in COMMANDS})


def test_the_help_is_grouped_fits_80_columns_and_truncates_nothing(run: Run) -> None:
    shown = run("--help")
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{heading}:" for heading in SECTIONS)]
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "..." not in shown.partition("Archive:")[2], "no text is truncated"


def test_the_cli_reference_describes_every_command_parameter_and_exit_code() -> None:
    page = cli_reference.page()
    for command in COMMANDS:
        section = page.partition(f"\n## ytarchive {' '.join(command.words)}\n")[2].partition("\n## ")[0]
        assert section
        for parameter in command.parameters:
            for name in parameter.options or (parameter.metavar,):
                assert name in section
            assert parameter.help in section
    assert "| `--sort TEXT` | Sort order; - for descending. One of `title`" in page
    assert "| `--limit N` | Maximum number of results. From 1 to 500. | `50` |" in page
    assert "    4  parked" in page
    assert set(MEANINGS) == set(Exit)


# --- completion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("bash", "complete -o default -F _ytarchive_completion ytarchive"),
        ("zsh", "#compdef ytarchive"),
        ("fish", "complete --command ytarchive"),
    ],
)
def test_each_shell_has_a_completion_script(run: Run, shell: str, expected: str) -> None:
    assert expected in run(_YTARCHIVE_COMPLETE=f"source_{shell}")


def test_completion_offers_commands_and_option_values(run: Run) -> None:
    assert "--install-completion" in run("--help")
    assert run.completes("ytarchive pl") == ["plan", "playlist"]
    assert run.completes("ytarchive logs --level ") == ["debug", "info", "warning", "error"]
    assert run.completes("ytarchive download -q 1") == ["1440p", "1080p", "144p"]


def test_completion_of_ids_without_data_prints_no_error(run: Run) -> None:
    for line in ("jobs show ", "workplan show ", "storage show ", "trace "):
        assert run.completes(f"ytarchive {line}") == []
    (run.home / "jobs").mkdir()
    (run.home / "jobs" / "jobs.db").write_text("not a database, and long enough to be looked at " * 20)
    assert run.completes("ytarchive jobs show ", YTARCHIVE_STORAGE__BASE_DATA_DIR=str(run.home)) == []
    assert run.completes("ytarchive jobs show ", YTARCHIVE_NO_SUCH_KEY="1") == []
