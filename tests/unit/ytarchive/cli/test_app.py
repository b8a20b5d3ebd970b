"""The tree of commands as a whole: help, headings, --json, the reference, completion."""

import os
from pathlib import Path

import pytest

from tests.fixtures.processes import Nursery
from ytarchive.cli.app import app
from ytarchive.cli.help_sections import SECTIONS
from ytarchive.cli.jobs.exit_codes import MEANINGS, Exit
from ytarchive.docgen import cli_reference

COMMANDS = list(cli_reference.commands(app))
# These print no data: the first three run until they are stopped, the last one answers with its exit code.
WITHOUT_JSON = {("up",), ("service",), ("demo",), ("config", "check")}
ids = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))


class Run:
    """Runs the program in a home without anything, at a given width, with more variables."""

    def __init__(self, home: Path, nursery: Nursery) -> None:
        self.home = home
        self._nursery = nursery

    def __call__(self, *words: str, **variables: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "80"}
        out, err = self.home / "out", self.home / "err"
        self._nursery.start(words, out, env | variables, err=err, cwd=self.home).wait()
        assert err.read_text() == ""
        return out.read_text()

    def completes(self, line: str, **variables: str) -> list[str]:
        """What bash offers at the end of the line."""
        place = str(len(line.split(" ")) - 1)
        return self(COMP_WORDS=line, COMP_CWORD=place, _YTARCHIVE_COMPLETE="complete_bash", **variables).split()


@pytest.fixture
def run(tmp_path: Path, nursery: Nursery) -> Run:
    return Run(tmp_path, nursery)


@ids
def test_every_command_and_parameter_has_a_help_text(command: cli_reference.Command) -> None:
    first, *_rest = command.help.strip().splitlines()
    assert first.endswith(".") and len(first) <= 110
    for parameter in command.parameters:
        assert parameter.help.rstrip("]").endswith((".", "default: 1080p", "default: base_path", "default: en"))


@ids
def test_the_usage_is_that_of_the_reference(command: cli_reference.Command, run: Run) -> None:
    """Which words may be left out, and which may be several."""
    shown = run(*command.words, "--help")
    usage = shown.partition("Usage: ")[2].partition("\n\n")[0].replace("{", "").replace("}", "")
    assert " ".join(usage.split()) == cli_reference.usage(command)


@ids
def test_every_command_that_prints_data_has_json(command: cli_reference.Command) -> None:
    assert command.has_json is (command.words not in WITHOUT_JSON)


def test_every_command_stands_under_one_heading() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted({command.words[0] for command in COMMANDS})


def test_the_help_lists_groups_readably(run: Run) -> None:
    shown = run("--help")
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{heading}:" for heading in SECTIONS)]
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "..." not in shown.partition("Archive:")[2], "no text is cut short"


def test_the_reference_tells_all() -> None:
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
    ("shell", "says"),
    [
        ("bash", "complete -o default -F _ytarchive_completion ytarchive"),
        ("zsh", "#compdef ytarchive"),
        ("fish", "complete --command ytarchive"),
    ],
)
def test_a_script_for_each_shell(run: Run, shell: str, says: str) -> None:
    assert says in run(_YTARCHIVE_COMPLETE=f"source_{shell}")


def test_completion_is_there_to_be_installed(run: Run) -> None:
    assert "--install-completion" in run("--help")
    assert run.completes("ytarchive pl") == ["plan", "playlist"]
    assert run.completes("ytarchive logs --level ") == ["debug", "info", "warning", "error"]
    assert run.completes("ytarchive download -q 1") == ["1440p", "1080p", "144p"]


def test_ids_are_silent_where_there_are_none(run: Run) -> None:
    for line in ("jobs show ", "workplan show ", "storage show ", "trace "):
        assert run.completes(f"ytarchive {line}") == []
    (run.home / "jobs").mkdir()
    (run.home / "jobs" / "jobs.db").write_text("not a database, and long enough to be looked at " * 20)
    assert run.completes("ytarchive jobs show ", YTARCHIVE_STORAGE__BASE_DATA_DIR=str(run.home)) == []
    assert run.completes("ytarchive jobs show ", YTARCHIVE_NO_SUCH_KEY="1") == []
