"""Packages that take long to load are loaded only by what needs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PRINT_LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"
SERVICES = """
from ytarchive.stack import load_service
from services.common.names import SERVICES
for name in SERVICES: load_service(name)
"""


NEVER_SHORT = {
    "aiohttp",
    "nats",
    "googleapiclient",
    "yt_dlp",
    "regex",
    "pygments",
    "rich.traceback",
    "services.common.events",
}


def command(*words: str) -> str:
    return f"from ytarchive.cli import main\nmain({list(words)})\n"


@pytest.mark.parametrize(
    ("code", "not_needed"),
    [
        (command("version"), NEVER_SHORT | {"services.common.domain.jobs"}),
        (command("jobs", "list"), NEVER_SHORT | {"services.jobs.domain.commands", "services.jobs.adapters.backups"}),
        (command("download", "--help"), NEVER_SHORT | {"rich"}),
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
