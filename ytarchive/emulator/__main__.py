"""`python -m ytarchive.emulator`: run a YouTube emulator until SIGTERM, SIGINT, or the end of stdin."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ytarchive.emulator.server import Emulator
from ytarchive.emulator.site.media import MediaError


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ytarchive.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free port")
    parser.add_argument("--cache-dir", type=Path, help="folder for clips and certificates")
    parser.add_argument("--ca-file", type=Path, help="also copy the CA certificate to this file")
    parser.add_argument("--export", action="store_true", help="also print shell commands that set the environment")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the parent process")
    return parser.parse_args(argv)


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Set `ended` when stdin closes: a pipe, a terminal or a file."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # a stdin that cannot be read counts as closed
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is already closed
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True, name="stdin").start()


def _print(addresses: dict[str, str], *, export: bool) -> None:
    lines = [json.dumps(addresses)]
    if export:
        names = {
            "proxy": "YTARCHIVE_YOUTUBE__PROXY",
            "api_endpoint": "YTARCHIVE_YOUTUBE__API_ENDPOINT",
            "ca_file": "YTARCHIVE_YOUTUBE__CA_FILE",
        }
        lines += [f"export {name}={shlex.quote(addresses[key])}" for key, name in names.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


async def _run(options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.until_stdin_closes:
        _watch_stdin(loop, ended)
    async with Emulator(cache_dir=options.cache_dir, port=options.port) as emulator:
        addresses = emulator.addresses()
        if options.ca_file:
            shutil.copyfile(emulator.ca_file, options.ca_file)
            addresses["ca_file"] = str(options.ca_file.absolute())
        _print(addresses, export=options.export)
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> None:
    options = _arguments(argv)
    try:
        asyncio.run(_run(options))
    except (MediaError, OSError) as error:
        sys.exit(f"the emulator cannot start: {error}")


if __name__ == "__main__":
    main()
