"""Packages that take long to load are loaded only by what needs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PRINT_LOADED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
SERVICES = """
from ytarchive.stack import load_service
from services.common.names import SERVICES
for name in SERVICES: load_service(name)
"""


def command(*words: str) -> str:
    return f"from ytarchive.cli import main\nmain({list(words)})\n"


@pytest.mark.parametrize(
    ("code", "not_needed"),
    [
        (command("version"), {"aiohttp", "nats", "googleapiclient", "yt_dlp"}),
        (command("jobs", "list"), {"aiohttp", "nats", "googleapiclient", "yt_dlp"}),
        (command("download", "--help"), {"aiohttp", "nats", "googleapiclient", "yt_dlp"}),
        (SERVICES, {"googleapiclient", "httplib2", "yt_dlp"}),
    ],
    ids=["version", "jobs list", "help", "services"],
)
def test_packages_that_are_not_needed_are_not_loaded(
    code: str, not_needed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{PRINT_LOADED}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert not_needed.isdisjoint(json.loads(ran.stdout.splitlines()[-1]))
