"""Open and close a NATS client. The only module that uses private parts of nats-py; tests/unit/bus/connection checks
that they exist."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext

from bus.connection.refusals import Refusals
from bus.errors import BrokerRefuses, BrokerUnavailable
from bus.message import Envelope, UnreadableMessage
from bus.settings import BusSettings
from bus.tasks import cancel_and_wait

log = structlog.get_logger("bus", logger_name="bus")

_ONE_TRY = 2  # seconds for one TCP connection and its handshake
_DRAIN_TIMEOUT = 5
_CANCEL_AGAIN = 0.2
_CLOSE_TIMEOUT = 2.0  # seconds
_REPUBLISHED_FROM = "Nats-Subject"  # a header of what a stream republishes
_CREDENTIALS_REFUSED = ("authorization", "authentication")


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Callbacks:
    """Notifications about the state of a connection."""

    disconnected: Callable[[], Awaitable[None]] = _nothing
    reconnected: Callable[[], Awaitable[None]] = _nothing
    closed: Callable[[], Awaitable[None]] = _nothing


def without_credentials(url: str) -> str:
    """Return the addresses of a server list without the user names and passwords in them."""
    places = (one.rpartition("://")[2].rpartition("@")[2] for one in _each(url))
    return ", ".join(place.partition("/")[0] for place in places)


async def open_client(settings: BusSettings, *, source: str, callbacks: Callbacks) -> "BrokerClient":
    """Connect within `settings.connect_timeout` seconds. Raise BrokerUnavailable; BrokerRefuses at once."""
    client = BrokerClient()
    place = without_credentials(settings.url)
    errors = _ErrorLog(settings.url, client.refusals)
    try:
        options = _credentials(settings)
    except OSError as error:
        raise BrokerRefuses(f"cannot connect to the broker at {place}: {error}") from error
    connecting = asyncio.ensure_future(
        client.connect(
            servers=_each(settings.url),
            name=source,
            # With a dot: a tail on `*.*` must not match the inbox of a pull, or an abandoned pull would seem alive.
            inbox_prefix=f"_INBOX.{source.partition('/')[0]}",
            connect_timeout=_ONE_TRY,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, used as seconds for asyncio.sleep
            ping_interval=10,
            drain_timeout=_DRAIN_TIMEOUT,
            error_cb=errors.record,
            disconnected_cb=callbacks.disconnected,
            reconnected_cb=callbacks.reconnected,
            closed_cb=callbacks.closed,
            **options,
        )
    )
    refused = asyncio.ensure_future(errors.refused.wait())
    try:
        await asyncio.wait({connecting, refused}, timeout=settings.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            return client
    except (ImportError, ValueError) as error:
        raise BrokerRefuses(f"cannot connect to the broker at {place}: {error}") from error
    except (OSError, nats.errors.Error) as error:
        raise BrokerUnavailable(f"cannot connect to the broker at {place}: {error}") from error
    finally:
        refused.cancel()
        if not connecting.done():
            await cancel_and_wait([connecting], _CANCEL_AGAIN)
            await close_client(client)
    if errors.refused.is_set():
        raise BrokerRefuses(errors.refusal)
    raise BrokerUnavailable(
        f"no broker answers at {place} within {settings.connect_timeout:g} s"
        f" ({errors.last or 'no reply'}): is it running, and is [nats] url right?"
    )


async def close_client(client: Client) -> None:
    """Close for good, connected or not."""
    with suppress(TimeoutError):  # a stream whose TLS handshake failed is never notified of the lost connection
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await _close(client)
    _abort_sockets(client)


async def send_unsubscribe(client: Client, subscription: JetStreamContext.PullSubscription) -> None:
    """Tell the broker that nobody reads a subscription any more, and keep receiving what is on its way.
    (`unsubscribe()` discards what arrives before the broker has processed it.)"""
    await client._send_unsubscribe(subscription._sub._id)


def envelope_of(message: Msg) -> Envelope:
    """Return the envelope of a received message. Raise UnreadableMessage, also for one that a stream has republished:
    its publisher needed the permission for another subject only, which the broker names in a header."""
    original = (message.headers or {}).get(_REPUBLISHED_FROM, message.subject)
    if original != message.subject:
        raise UnreadableMessage(f"a message on {original} was republished to {message.subject}")
    return Envelope.from_bytes(message.data, message.subject)


async def respond(message: Msg, body: bytes, headers: dict[str, str] | None) -> None:
    """Answer a request; unlike `Msg.respond`, with headers."""
    await message._client.publish(message.reply, body, headers=headers)


async def _close(client: Client) -> None:
    try:
        await client.close()
    except OSError:
        # nats-py fails on data that it could not send any more and leaves its tasks running. The data is discarded by
        # now, so a second close, with the status reset, completes.
        client._status = Client.DISCONNECTED
        await client.close()


class BrokerClient(Client):
    """A client whose requests fail at once when the broker does not permit them: with PermissionViolation.

    Works round two defects of nats-py: the sockets of an attempt that failed or was cancelled stay open until they
    are garbage collected; and a closed client reconnects for ever if the attempt that it cancels fails at the same
    moment (see `bus.tasks`)."""

    _closed_for_good = False

    def __init__(self) -> None:
        super().__init__()
        self.refusals = Refusals()

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109 - the signature of nats-py
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        async with self.refusals.watch(subject):
            return await super().request(subject, payload, timeout, old_style, headers)

    async def close(self) -> None:
        self._closed_for_good = True
        await super().close()

    async def _connect_to_server(self, s: Srv) -> None:
        _abort_sockets(self)
        if self._closed_for_good:
            raise asyncio.CancelledError
        self.refusals.new_connection()
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
        self.write(b"".join(payload))  # type: ignore[no-untyped-call]  # nats-py leaves it without annotations


def _abort_sockets(client: Client) -> None:
    transport = client._transport
    if isinstance(transport, TcpTransport):
        for writer in (transport._io_writer, transport._bare_io_writer):  # the second is the one below TLS
            if writer is not None:
                writer.transport.abort()


def _credentials(settings: BusSettings) -> dict[str, Any]:
    """Return the credentials as arguments of Client.connect. Raise OSError for a file that cannot be read."""
    options: dict[str, Any] = {}
    if settings.user is not None:
        options["user"] = settings.user
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.token is not None:
        options["token"] = settings.token.get_secret_value()
    if settings.credentials_file is not None:
        settings.credentials_file.open("rb").close()  # nats-py reports an unreadable file as refused credentials
        options["user_credentials"] = str(settings.credentials_file)
    if settings.ca_file is not None:
        settings.ca_file.open("rb").close()  # the error of the ssl module does not name the file
        options["tls"] = ssl.create_default_context(cafile=str(settings.ca_file))
    return options


class _ErrorLog:
    """Logs the client's errors, each repeated one once (a reconnecting client reports four per second), and detects
    those that a repetition does not change: refused credentials, a certificate that is not trusted, what a user is not
    permitted."""

    def __init__(self, url: str, refusals: Refusals) -> None:
        self.refused = asyncio.Event()
        self.refusal = ""
        self.last: str | None = None
        self._place = without_credentials(url)
        self._only_server = len(_each(url)) == 1
        self._refusals = refusals

    async def record(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError) and self._only_server:
            self._refuse(
                f"does not have a certificate that is trusted (certificate verify failed: {error.verify_message}):"
                " set [nats] ca_file to the certificate of its authority, and use a host name of the certificate in url"
            )
        elif not self._refusals.note(error) and any(word in text.lower() for word in _CREDENTIALS_REFUSED):
            self._refuse("refuses our credentials: check [nats] user, password, token or credentials_file")
        if text != self.last:
            log.warning("bus_error", broker=self._place, error=text)
        self.last = text

    def _refuse(self, why: str) -> None:
        self.refusal = f"the broker at {self._place} {why}"
        self.refused.set()


def _each(url: str) -> list[str]:
    return [one.strip() for one in url.split(",") if one.strip()]
