"""Probe ports and processes of this machine."""

import asyncio
import contextlib
import os
import socket

HOST = "127.0.0.1"


def port_of(url: str) -> int:
    """Return the port at the end of an address."""
    return int(url.rpartition(":")[2])


def is_free(port: int) -> bool:
    """Return whether a server can listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def accepts_connections(port: int) -> bool:
    """Return whether something accepts connections on the port."""
    try:
        _reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    await _close(writer)
    return True


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def process_exists(pid: int) -> bool:
    """Return whether a process with this id runs, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
