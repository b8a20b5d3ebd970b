"""Limits of connections, of the time for headers and bodies, and of the rate of requests and of wrong tokens."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator

import pytest
import structlog
from pydantic import BaseModel

from services.common.errors import TooManyRequests
from services.common.settings.load import Endpoint
from services.common.web.access import AccessRules
from services.common.web.bound_socket import BoundSocket
from services.common.web.limits import WRONG_TOKENS_AT_ONCE, Limits, RateLimit, RequestRates, report_exhaustion_once
from services.common.web.routing import Call, RestApplication, Route

LIMITS = Limits(connections=3, head=0.3, body=0.3)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Owner:
    """A service without a bus. `events` are those of its stream: `begun`, `ended`."""

    def __init__(self) -> None:
        self.logger = structlog.get_logger()
        self.accepting = True
        self.accepting_work = True
        self.closing = asyncio.Event()
        self.bus_away: str | None = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def bus_problem(self, *, new_work: bool = True) -> str | None:
        return None

    async def stream(self, _call: Call) -> None:
        self.begun.set()
        try:
            await self.closing.wait()
        finally:
            self.ended.set()


class Body(BaseModel):
    a: int = 0


async def echo(_call: Call, body: Body) -> Body:
    return body


@pytest.fixture
async def owner() -> Owner:
    return Owner()


@pytest.fixture
async def port(owner: Owner) -> AsyncIterator[int]:
    routes = [Route("POST", "/echo", echo, body=Body), Route("GET", "/stream", owner.stream, streams=True)]
    application = RestApplication(owner, routes, AccessRules("probe"), limits=LIMITS)
    bound = BoundSocket.bind("probe", Endpoint(port=0))
    await application.start(bound)
    yield int(bound.url.rpartition(":")[2])
    await application.stop()


async def send(port: int, text: str) -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.replace("\n", "\r\n").encode())
    return reader, writer


async def answer(streams: Streams) -> tuple[int, str]:
    """Return the status and the error message, of an answer after which the connection is closed."""
    reader, writer = streams
    head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
    writer.close()
    error = json.loads(body)["error"]
    return int(head.split()[1]), error["message"] if error else ""


POST = "POST /echo HTTP/1.1\nHost: localhost\nConnection: close\nContent-Type: application/json\nContent-Length: 8\n\n"


async def test_connections_beyond_the_limit_are_refused_until_silent_ones_are_closed(port: int) -> None:
    silent = [await send(port, "GET / HT") for _ in range(LIMITS.connections)]
    assert await answer(await send(port, "")) == (503, "Too many connections. Try again in a moment.")
    for reader, writer in silent:
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
    assert await answer(await send(port, POST + '{"a": 1}')) == (200, "")


async def test_a_body_that_does_not_arrive_in_time_is_refused(port: int) -> None:
    assert await answer(await send(port, POST + '{"a"')) == (408, "The body did not arrive in time.")


async def test_a_stream_ends_when_its_client_has_gone(port: int, owner: Owner) -> None:
    _reader, writer = await send(port, "GET /stream HTTP/1.1\nHost: localhost\n\n")
    await asyncio.wait_for(owner.begun.wait(), 20)
    writer.close()
    await asyncio.wait_for(owner.ended.wait(), 20)


async def test_exhausted_descriptors_are_reported_once_without_a_traceback() -> None:
    loop = asyncio.get_running_loop()
    others: list[str] = []
    loop.set_exception_handler(lambda _loop, context: others.append(context["message"]))
    for _ in range(2):
        report_exhaustion_once(loop)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
    loop.call_exception_handler({"message": "another", "exception": ValueError()})
    assert [(one["event"], "exc_info" in one) for one in logs] == [("connections_not_accepted", False)]
    assert "ulimit -n" in logs[0]["error_message"]
    assert others == ["another"]


def test_the_number_of_connections_follows_from_the_limit_of_open_files() -> None:
    assert 8 <= Limits.of_process().connections <= 512


# --- the rate of requests ---------------------------------------------------------------------------------------------


class Time:
    """Seconds of a monotonic clock that a test advances."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_burst_passes_and_then_the_average_rate() -> None:
    time = Time()
    limit = RateLimit(2.0, 3, time)
    for _ in range(3):
        assert limit.wait("a") == 0
        limit.count("a")
    assert limit.wait("a") == pytest.approx(0.5)
    assert limit.wait("b") == 0  # each client has its own
    time.seconds += 0.5
    assert limit.wait("a") == 0
    limit.count("a")
    assert limit.wait("a") == pytest.approx(0.5)
    time.seconds += 3600
    for _ in range(3):  # not more than a burst, however long it was quiet
        assert limit.wait("a") == 0
        limit.count("a")
    assert limit.wait("a") > 0


def test_the_clients_of_a_limit_are_bounded() -> None:
    limit = RateLimit(1.0, 1, Time())
    for number in range(20_000):
        limit.count(f"address/{number}")
    assert limit.wait("address/19999") > 0
    assert limit.wait("address/0") == 0  # forgotten


def test_what_is_refused_is_logged_once_a_minute_per_address() -> None:
    time = Time()
    rates = RequestRates(0.1, time)  # one at once
    rates.count_request("a", "10.0.0.1")
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(TooManyRequests, match="Try again in 10 s") as refused:
                rates.count_request("a", "10.0.0.1")
        rates.note_token("10.0.0.2", "wrong", valid=False)
        rates.note_token("10.0.0.2", "wrong too", valid=False)
        time.seconds += 61
        rates.note_token("10.0.0.2", "wrong", valid=False)
    assert refused.value.details["retry_after"] == 10
    assert [(log["event"], log["client"]) for log in logs] == [
        ("requests_refused", "10.0.0.1"),
        ("token_refused", "10.0.0.2"),
        ("token_refused", "10.0.0.2"),
    ]
    assert "wrong" not in str(logs)


def test_no_limit() -> None:
    rates = RequestRates(0.0, Time())
    for _ in range(10_000):
        rates.count_request("a", "10.0.0.1")


def test_after_too_many_wrong_tokens_only_those_are_examined_that_were_valid_before() -> None:
    time = Time()
    rates = RequestRates(100.0, time)
    rates.note_token("10.0.0.1", "known", valid=True)
    for number in range(WRONG_TOKENS_AT_ONCE):
        rates.check_token("10.0.0.1", str(number))
        rates.note_token("10.0.0.1", str(number), valid=False)
    with pytest.raises(TooManyRequests, match="wrong tokens"):
        rates.check_token("10.0.0.1", "another")
    rates.check_token("10.0.0.1", "known")
    rates.check_token("10.0.0.2", "another")
    time.seconds += 6
    rates.check_token("10.0.0.1", "another")  # one attempt every six seconds
    rates.note_token("10.0.0.1", "another", valid=False)
    with pytest.raises(TooManyRequests):
        rates.check_token("10.0.0.1", "another")
