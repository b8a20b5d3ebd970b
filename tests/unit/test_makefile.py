"""`make PYTHON=…` runs on that Python, whichever the environment was made with."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
GIVEN = f"PYTHON={sys.executable}"


def commands(folder: Path, *words: str) -> str:
    """What `make test` would run. What is known of a make that runs this test is left out."""
    known = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV"}
    env = {name: value for name, value in os.environ.items() if name not in known}
    ran = subprocess.run(
        ["make", "--dry-run", "test", *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return ran.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    return tmp_path


def make_environment(folder: Path, release: str) -> None:
    """One that is up to date, and whose Python is of this release."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {release}\n")
    python.chmod(0o755)
    (folder / ".venv" / "pyvenv.cfg").touch()
    for stamp in (".installed", ".installed-dev"):
        (folder / ".venv" / stamp).touch()


@pytest.mark.parametrize(
    ("release", "words", "anew"),
    [
        ("3.9.1", [GIVEN], True),
        (platform.python_version(), [GIVEN], False),
        ("3.9.1", [], False),
    ],
)
def test_an_environment_of_another_python_is_made_anew(
    folder: Path, release: str, words: list[str], anew: bool
) -> None:
    make_environment(folder, release)
    told = commands(folder, *words)
    assert ("-m venv --clear .venv" in told, "pip install" in told) == (anew, anew)
    assert ".venv/bin/pytest" in told


def test_a_folder_that_is_no_environment_is_not_emptied(folder: Path) -> None:
    (folder / ".venv").mkdir()
    told = commands(folder, GIVEN)
    assert "-m venv" in told
    assert "--clear" not in told
