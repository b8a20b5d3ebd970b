"""`make PYTHON=...` creates the virtual environment with that Python, again if it was created with another."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
GIVEN = f"PYTHON={sys.executable}"


def commands(folder: Path, *arguments: str) -> str:
    """Return the commands that `make test` would run, independent of a make that runs this test."""
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV"}
    env = {name: value for name, value in os.environ.items() if name not in inherited}
    ran = subprocess.run(
        ["make", "--dry-run", "test", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return ran.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    return tmp_path


def make_environment(folder: Path, release: str) -> None:
    """Create an up-to-date environment whose Python reports this release."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {release}\n")
    python.chmod(0o755)
    (folder / ".venv" / "pyvenv.cfg").touch()
    for stamp in (".installed", ".installed-dev"):
        (folder / ".venv" / stamp).touch()


@pytest.mark.parametrize(
    ("release", "arguments", "recreated"),
    [
        ("3.9.1", [GIVEN], True),
        (platform.python_version(), [GIVEN], False),
        ("3.9.1", [], False),
    ],
)
def test_an_environment_of_another_python_release_is_recreated(
    folder: Path, release: str, arguments: list[str], recreated: bool
) -> None:
    make_environment(folder, release)
    output = commands(folder, *arguments)
    assert ("-m venv --clear .venv" in output, "pip install" in output) == (recreated, recreated)
    assert ".venv/bin/pytest" in output


def test_a_folder_that_is_not_an_environment_is_not_cleared(folder: Path) -> None:
    (folder / ".venv").mkdir()
    output = commands(folder, GIVEN)
    assert "-m venv" in output
    assert "--clear" not in output
