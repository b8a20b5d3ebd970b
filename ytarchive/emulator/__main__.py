"""Run the YouTube emulator until SIGTERM or SIGINT arrives, or optionally until stdin is closed."""

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

from ytarchive.emulator import situations
from ytarchive.emulator.server import Emulator
from ytarchive.emulator.site.media import MediaError


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ytarchive.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 selects a free port")
    parser.add_argument("--cache-dir", type=Path, help="directory of encoded clips and certificates")
    parser.add_argument("--ca-file", type=Path, help="copy the CA certificate to this file")
    parser.add_argument("--export", action="store_true", help="also print `export` lines for a shell to evaluate")
    parser.add_argument("--situations", action="store_true", help="list the situations that can be emulated, and stop")
    parser.add_argument("--situation", metavar="NAME", help="begin in this situation")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when stdin is closed")
    return parser.parse_args(argv)


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Set `ended` when stdin reaches its end. A thread reads it, so pipes, terminals and files all work."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # an unreadable stdin counts as closed
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is already closed
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True, name="stdin").start()


def _print_addresses(addresses: dict[str, str], *, export: bool) -> None:
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
        if options.situation:
            situations.begin(options.situation, emulator.world, emulator.faults)
        addresses = emulator.addresses()
        if options.ca_file:
            shutil.copyfile(emulator.ca_file, options.ca_file)
            addresses["ca_file"] = str(options.ca_file.absolute())
        _print_addresses(addresses, export=options.export)
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> None:
    options = _arguments(argv)
    if options.situations:
        sys.stdout.write(situations.listing())
        return
    try:
        asyncio.run(_run(options))
    except (MediaError, situations.NoSuchSituation, OSError) as error:
        sys.exit(f"the emulator cannot start: {error}")


if __name__ == "__main__":
    main()
