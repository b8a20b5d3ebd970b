"""What the yt-dlp child loads: each start of one pays for it, in time and in memory."""

import json
import subprocess
import sys

LOADED = """
import importlib, json, sys
from services.common.youtube.child import __main__ as child
for operation in child.OPERATIONS.values():
    importlib.import_module(operation)
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_it_loads_yt_dlp_and_no_bus() -> None:
    ran = subprocess.run([sys.executable, "-P", "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(ran.stdout))
    assert "yt_dlp" in loaded
    assert loaded.isdisjoint({"bus", "nats", "aiohttp", "structlog", "typer", "rich"})
