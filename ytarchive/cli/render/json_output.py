"""JSON on stdout."""

import json
import sys
from typing import Any


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as ASCII, so that no escape code reaches the terminal."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=indent) + "\n")
    sys.stdout.flush()
