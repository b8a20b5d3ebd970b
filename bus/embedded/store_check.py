"""Find parts of the broker's store that the server could not load, and set such a store aside.

nats-server starts on a store with damaged files and only warns: a durable that it could not load cannot be created any
more, whatever is tried.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from bus.errors import BrokerUnavailable

STORE = "jetstream"  # the folder of the server below its store_dir


class StoreUnreadable(BrokerUnavailable):
    """The server cannot load its store. The message names what it could not load, or the end of its log."""


async def unreadable_parts(js: JetStreamContext, directory: Path) -> list[Path]:
    """Return the folders of streams and durables that are on disk and that the server does not have. Raise the errors
    of nats-py."""
    found = []
    for stream in _folders(directory / STORE / "$G" / "streams"):
        try:
            await js.stream_info(stream.name)
        except NotFoundError:
            found.append(stream)
            continue
        for durable in _folders(stream / "obs"):
            try:
                await js.consumer_info(stream.name, durable.name)
            except NotFoundError:
                found.append(durable)
    return [folder for folder in found if any(_files(folder))]  # not those that were being removed


def set_aside(directory: Path) -> Path:
    """Rename the store, so that the server begins with an empty one. Return its new path. Raise BrokerUnavailable."""
    old = directory / STORE
    try:
        return old.rename(directory / f"{STORE}.unreadable-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    except OSError as error:
        raise BrokerUnavailable(
            f"the broker's store {old} does not read, and cannot be renamed ({error.strerror}): move it away"
        ) from error


def _folders(place: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in place.iterdir() if path.is_dir())
    return []


def _files(place: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in place.rglob("*") if path.is_file())
