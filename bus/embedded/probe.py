"""Looking at ports of this machine from outside: free, answering, well."""

import asyncio
import contextlib
import socket

HOST = "127.0.0.1"


def port_of(url: str) -> int:
    """The port of an address that ends with one."""
    return int(url.rpartition(":")[2])


def free(port: int) -> bool:
    """Whether a server may listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def answers(port: int) -> bool:
    """Whether somebody takes connections there."""
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


async def healthy(port: int, patience: float) -> bool:
    """GET /healthz. Slow, refused and anything but 200 is unhealthy."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET /healthz HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
                await writer.drain()
                status = await reader.readline()
            finally:
                await _close(writer)
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status
