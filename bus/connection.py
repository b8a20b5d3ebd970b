"""The TCP side of the bus: settings in, a connected NATS client or a BrokerUnavailable that names the remedy out."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import nats.errors
import structlog
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport

from bus.cancellation import end
from bus.errors import BrokerUnavailable
from bus.settings import BusSettings

log = structlog.get_logger("bus", logger_name="bus")

_ONE_TRY = 2  # seconds for one TCP connection and its handshake
_DRAIN_TIMEOUT = 5
_CANCEL_AGAIN = 0.2
_HANG_UP = 2.0  # seconds


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Callbacks:
    """What the owner of a connection wants to know."""

    disconnected: Callable[[], Awaitable[None]] = _nothing
    reconnected: Callable[[], Awaitable[None]] = _nothing
    closed: Callable[[], Awaitable[None]] = _nothing


def shown(url: str) -> str:
    """The addresses of a server list, without the user and password that may be in them."""
    return ", ".join(urlsplit(one if "://" in one else f"nats://{one}").netloc.rpartition("@")[2] for one in _each(url))


async def open_client(settings: BusSettings, *, source: str, callbacks: Callbacks) -> Client:
    """Connect within `settings.connect_timeout` seconds. Raises BrokerUnavailable; refused credentials at once."""
    client = _Client()
    place = shown(settings.url)
    complaints = _Complaints(place)
    try:
        options = _credentials(settings)
    except OSError as error:
        raise BrokerUnavailable(f"cannot connect to the broker at {place}: {error}") from error
    connecting = asyncio.ensure_future(
        client.connect(
            servers=_each(settings.url),
            name=source,
            # with a dot: a tail of `*.*` must not match the inbox of a pull, whose orphan would then look alive
            inbox_prefix=f"_INBOX.{source.partition('/')[0]}",
            connect_timeout=_ONE_TRY,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, used as seconds for asyncio.sleep
            ping_interval=10,
            drain_timeout=_DRAIN_TIMEOUT,
            error_cb=complaints.hear,
            disconnected_cb=callbacks.disconnected,
            reconnected_cb=callbacks.reconnected,
            closed_cb=callbacks.closed,
            **options,
        )
    )
    refused = asyncio.ensure_future(complaints.refused.wait())
    try:
        await asyncio.wait({connecting, refused}, timeout=settings.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            return client
    except (OSError, ImportError, ValueError, nats.errors.Error) as error:
        raise BrokerUnavailable(f"cannot connect to the broker at {place}: {error}") from error
    finally:
        refused.cancel()
        if not connecting.done():
            await end([connecting], _CANCEL_AGAIN)
            await hang_up(client)
    if complaints.refused.is_set():
        raise BrokerUnavailable(
            f"the broker at {place} refuses our credentials: check [nats] user, password, token or credentials_file"
        )
    raise BrokerUnavailable(
        f"no broker answers at {place} within {settings.connect_timeout:g} s"
        f" ({complaints.last or 'no reply'}): is it running, and is [nats] url right?"
    )


async def hang_up(client: Client) -> None:
    """Close for good, connected or not."""
    with suppress(TimeoutError):  # a stream whose TLS failed is never told that its connection is gone
        async with asyncio.timeout(_HANG_UP):
            await _close(client)
    _let_go(client)


async def _close(client: Client) -> None:
    try:
        await client.close()
    except OSError:
        # nats-py stumbles over what it could not send any more, and leaves its tasks behind. It has dropped that by
        # now, so closing again, as if it had not begun, goes to the end.
        client._status = Client.DISCONNECTED
        await client.close()


class _Client(Client):
    """nats-py forgets the sockets of an attempt that failed, or was cancelled, half-way: they would stay open until
    somebody collects them. And a closed one goes on reconnecting for ever where the attempt that it cancels fails in
    the same moment (see `cancellation`)."""

    _hung_up = False

    async def close(self) -> None:
        self._hung_up = True
        await super().close()

    async def _connect_to_server(self, s: Srv) -> None:
        _let_go(self)
        if self._hung_up:
            raise asyncio.CancelledError
        if self._transport is None and s.uri.scheme not in ("ws", "wss"):
            self._transport = _Transport()  # type: ignore[no-untyped-call]  # nats-py annotates no constructors
        await super()._connect_to_server(s)


class _Transport(TcpTransport):
    """nats-py catches the OSError of a connection that was closed meanwhile, and no other error. From Python 3.12 on
    asyncio's `writelines` raises a TypeError or an AttributeError there (gh-136234). Its `write` drops the data, and
    `drain`, which nats-py awaits next, raises the OSError."""

    def __bool__(self) -> bool:
        return True  # one without a connection is false otherwise, and nats-py replaces it by its own

    def writelines(self, payload: list[bytes]) -> None:
        self.write(b"".join(payload))  # type: ignore[no-untyped-call]  # nor this


def _let_go(client: Client) -> None:
    transport = client._transport
    if isinstance(transport, TcpTransport):
        for writer in (transport._io_writer, transport._bare_io_writer):  # the second lies below TLS
            if writer is not None:
                writer.transport.abort()


def _credentials(settings: BusSettings) -> dict[str, Any]:
    """As arguments of Client.connect. Raises OSError for a file that cannot be read."""
    options: dict[str, Any] = {}
    if settings.user is not None:
        options["user"] = settings.user
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.token is not None:
        options["token"] = settings.token.get_secret_value()
    if settings.credentials_file is not None:
        settings.credentials_file.open("rb").close()  # nats-py would call an unreadable file refused credentials
        options["user_credentials"] = str(settings.credentials_file)
    if settings.ca_file is not None:
        settings.ca_file.open("rb").close()  # the error of the ssl module does not name the file
        options["tls"] = ssl.create_default_context(cafile=str(settings.ca_file))
    return options


class _Complaints:
    """Hears the client's errors: tells refused credentials from the rest, and says each thing once, not four times a
    second while it reconnects."""

    def __init__(self, place: str) -> None:
        self.refused = asyncio.Event()
        self.last: str | None = None
        self._place = place

    async def hear(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if "authorization" in text.lower() or "authentication" in text.lower():
            self.refused.set()
        if text != self.last:
            log.warning("bus_error", broker=self._place, error=text)
        self.last = text


def _each(url: str) -> list[str]:
    return [one.strip() for one in url.split(",") if one.strip()]
