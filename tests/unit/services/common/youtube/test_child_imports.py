"""Modules loaded by the yt-dlp child; they cost time and memory at every start."""

import json
import subprocess
import sys

LOADED = """
import importlib, json, sys
from services.common.youtube.child.fork_server import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_the_yt_dlp_child_loads_yt_dlp_but_not_the_bus() -> None:
    ran = subprocess.run([sys.executable, "-P", "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(ran.stdout))
    assert "yt_dlp" in loaded
    assert loaded.isdisjoint({"bus", "nats", "aiohttp", "structlog", "typer", "rich"})
