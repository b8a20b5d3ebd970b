"""Chapter 7: timeouts, retries and circuit breaker of calls to a real server on loopback, with a manual clock."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.infra.resilience import RemoteHosts
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.common.settings.retry_policy import ANSWERED, SPEC, RetryPolicy
from tests.fixtures.accelerated_loop import AcceleratedLoop
from ytarchive.client.rest import Rest


@dataclass
class Server:
    """Answers with the statuses in `script`, then with 200, and counts requests. Status 0 aborts the connection. With
    `hold`, answers wait until that event is set."""

    base: str
    script: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    requests: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        status = self.script.pop(0) if self.script else 200
        if self.hold is not None:
            await self.hold.wait()
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        error = None if status == 200 else ErrorDetail(code=ErrorCode.SERVICE_UNAVAILABLE, message="down")
        body = ServiceResponse(success=error is None, data={"here": True}, error=error, trace_id="t")
        headers = self.headers if status != 200 else {}
        return web.Response(status=status or 500, text=body.model_dump_json(), headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    app = web.Application()
    server = Server("")
    app.router.add_route("*", "/api/v1/things", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@dataclass
class Caller:
    """A client with SPEC's retry policy and a manual clock."""

    rest: Rest
    hosts: RemoteHosts
    clock: Any

    async def get(self) -> str:
        """Send a GET request; return `ok`, or the message of the error."""
        try:
            return "ok" if await self.rest.get("things") == {"here": True} else "?"
        except YTArchiveError as error:
            return error.message

    @property
    def breaker(self) -> dict[str, object]:
        (state,) = self.hosts.states().values()
        return state.as_json()

    def state(self) -> object:
        return self.breaker["state"]


@asynccontextmanager
async def open_caller(server: Server, clock: Any, policy: RetryPolicy = SPEC) -> AsyncIterator[Caller]:
    hosts = RemoteHosts(policy, clock)
    async with Rest.open(server.base, hosts) as rest:
        yield Caller(rest, hosts, clock)


@pytest.fixture
async def caller(server: Server, clock: Any) -> AsyncIterator[Caller]:
    async with open_caller(server, clock) as caller:
        yield caller


# --- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("7.3", "7.4", "7.5", "16.3")
async def test_a_request_that_fails_twice_is_sent_three_times(server: Server, caller: Caller) -> None:
    server.script = [0, 503]  # the first request ends with an aborted connection
    assert await caller.get() == "ok"
    assert server.requests == 3
    first, second = caller.clock.slept
    assert 2 <= first <= 3  # with jitter
    assert 4 <= second <= 5
    assert caller.breaker["retries"] == 2


@pytest.mark.claim("7.3")
async def test_a_request_is_given_up_after_three_failures(server: Server, caller: Caller) -> None:
    server.script = [503] * 9
    assert await caller.get() == "down"
    assert (server.requests, len(caller.clock.slept)) == (3, 2)


@pytest.mark.claim("7.4", "16.3")
async def test_backoff_doubles_up_to_30_seconds(server: Server, clock: Any) -> None:
    server.script = [503] * 7
    async with open_caller(server, clock, RetryPolicy(max_attempts=8, jitter=0, failures=100)) as patient:
        assert await patient.get() == "ok"
    assert patient.clock.slept == [2, 4, 8, 16, 30, 30, 30]


@pytest.mark.claim("7.4")
async def test_backoff_with_jitter_never_exceeds_30_seconds(server: Server, clock: Any) -> None:
    server.script = [503] * 7
    async with open_caller(server, clock, RetryPolicy(max_attempts=8, jitter=500, failures=100)) as jittery:
        assert await jittery.get() == "ok"
    for waited, least in zip(jittery.clock.slept, [2, 4, 8, 16, 30, 30, 30], strict=True):
        assert least <= waited <= 30


@pytest.mark.claim("7.5")
@pytest.mark.parametrize(
    ("status", "requests"),
    [(502, 3), (503, 3), (504, 3), (429, 3)]
    + [(status, 1) for status in (400, 401, 403, 404, 408, 409, 500, 501, 505)],
)
async def test_only_transient_statuses_are_retried(server: Server, caller: Caller, status: int, requests: int) -> None:
    server.script = [status] * 9
    assert await caller.get() == "down"
    assert server.requests == requests


@pytest.mark.claim("7.5")
async def test_a_post_request_is_not_retried(server: Server, caller: Caller) -> None:
    server.script = [503]
    with pytest.raises(ServiceUnavailable, match="down"):
        await caller.rest.send("POST", "things")
    assert (server.requests, caller.clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("asked", "slept"),
    [
        ("7", [7.0, 7.0]),
        ("3", [3.0, 4.0]),  # not less than the client's own backoff
        ("1", [2.0, 4.0]),
        ("30", [30.0, 30.0]),
        ("31", []),  # longer than the longest wait: the error is returned at once
        ("nonsense", [2.0, 4.0]),
    ],
)
async def test_retry_after_is_honoured(server: Server, clock: Any, asked: str, slept: list[float]) -> None:
    server.script = [503] * 9
    server.headers = {"Retry-After": asked}
    async with open_caller(server, clock, RetryPolicy(jitter=0)) as caller:
        assert await caller.get() == "down"
    assert caller.clock.slept == slept


async def test_retry_after_accepts_an_http_date(server: Server, caller: Caller) -> None:
    server.script = [429]
    server.headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)}
    assert await caller.get() == "ok"
    assert 15 < caller.clock.slept[0] <= 20


async def test_a_refused_connection_is_not_retried(clock: Any) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with open_caller(Server(f"http://127.0.0.1:{port}"), clock) as caller:
        assert "connection refused" in await caller.get()
    assert caller.clock.slept == []


# --- the breaker ------------------------------------------------------------------------------------------------------

ONCE = RetryPolicy(max_attempts=1)


async def fail_requests(server: Server, caller: Caller, times: int = SPEC.failures) -> None:
    server.script = [500] * times
    for _ in range(times):
        assert await caller.get() == "down"


@pytest.mark.claim("7.6", "9.6")
async def test_five_consecutive_failures_open_the_breaker(server: Server, caller: Caller) -> None:
    await fail_requests(server, caller, 4)
    assert await caller.get() == "ok"  # interrupts the row of failures
    await fail_requests(server, caller, 4)
    assert caller.breaker == {"state": "closed", "failures": 4, "until": None, "retries": 0}
    await fail_requests(server, caller, 1)
    until = (caller.clock.now() + timedelta(seconds=60)).isoformat()
    assert caller.breaker == {"state": "open", "failures": 5, "until": until, "retries": 0}
    assert server.requests == 10
    with pytest.raises(ServiceUnavailable) as refused:
        await caller.rest.get("things")
    assert server.requests == 10  # no request was sent
    host = server.base.removeprefix("http://")
    assert refused.value.code == ErrorCode.SERVICE_UNAVAILABLE
    assert refused.value.details == {"host": host, "until": until, "retry_after": 60, "reason": "breaker_open"}
    assert host in refused.value.message


@pytest.mark.claim("7.6")
@pytest.mark.parametrize(
    ("status", "opens"), [(0, True), (429, True), (500, True), (503, True), (404, False), (403, False)]
)
async def test_which_statuses_count_as_breaker_failures(server: Server, clock: Any, status: int, opens: bool) -> None:
    server.script = [status] * 5
    async with open_caller(server, clock, ONCE) as caller:
        for _ in range(5):
            assert await caller.get() != "ok"
        assert (caller.state() == "open") is opens


async def test_retries_count_as_failures_and_an_open_breaker_stops_them(server: Server, caller: Caller) -> None:
    server.script = [503] * 99
    assert await caller.get() == "down"
    assert await caller.get() == "down"  # the second attempt opens the breaker: no third attempt
    assert "the next attempt is at" in await caller.get()
    assert (server.requests, len(caller.clock.slept)) == (5, 3)


@pytest.mark.claim("7.7")
async def test_the_breaker_stays_open_for_60_seconds(server: Server, caller: Caller) -> None:
    await fail_requests(server, caller)
    caller.clock.seconds += 59.9
    assert "the next attempt is at" in await caller.get()
    assert server.requests == 5
    caller.clock.seconds += 0.1
    assert caller.state() == "half_open"
    assert await caller.get() == "ok"
    assert caller.breaker == {"state": "closed", "failures": 0, "until": None, "retries": 0}


@pytest.mark.claim("7.8")
@pytest.mark.parametrize("recovers", [True, False])
async def test_a_half_open_breaker_lets_exactly_one_of_twenty_requests_through(
    server: Server, caller: Caller, recovers: bool
) -> None:
    await fail_requests(server, caller)
    caller.clock.seconds += 60
    server.hold = asyncio.Event()
    server.script = [] if recovers else [500]
    calls = [asyncio.create_task(caller.get()) for _ in range(20)]
    for _, held_back in zip(range(19), asyncio.as_completed(calls), strict=False):
        assert "one request tests" in await held_back
    assert server.requests <= 6  # the probe may not have arrived yet
    assert caller.state() == "half_open"
    server.hold.set()
    result = await asyncio.gather(*calls)
    assert server.requests == 6
    if recovers:
        assert result.count("ok") == 1
        assert set(await asyncio.gather(*(caller.get() for _ in range(20)))) == {"ok"}
        assert (server.requests, caller.state()) == (26, "closed")
    else:
        assert result.count("down") == 1
        assert caller.state() == "open"
        caller.clock.seconds += 59.9
        assert "the next attempt is at" in await caller.get()
        caller.clock.seconds += 0.1
        assert await caller.get() == "ok"


@pytest.mark.claim("7.8")
async def test_a_cancelled_probe_lets_the_next_request_probe(
    server: Server, caller: Caller, eventually: Callable[..., Awaitable[object]]
) -> None:
    await fail_requests(server, caller)
    caller.clock.seconds += 60
    server.hold = asyncio.Event()
    probe = asyncio.create_task(caller.get())
    await eventually(lambda: asyncio.sleep(0, server.requests == 6))
    assert "one request tests" in await caller.get()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    server.hold.set()
    assert await caller.get() == "ok"


async def test_a_local_error_does_not_count_as_a_failure_of_the_host(server: Server, caller: Caller) -> None:
    host = caller.hosts[server.base.removeprefix("http://")]

    async def ours() -> None:
        raise KeyError("ours")

    await fail_requests(server, caller, 4)
    for _ in range(9):
        with pytest.raises(KeyError, match="ours"):
            await host.call(ours, lambda _error: None, repeatable=True)
    assert caller.breaker["failures"] == 4
    await fail_requests(server, caller, 1)
    caller.clock.seconds += 60
    with pytest.raises(KeyError, match="ours"):
        await host.call(ours, lambda _error: None, repeatable=True)
    assert caller.state() == "half_open"  # it did not count as a probe
    assert await caller.get() == "ok"


async def test_an_error_that_counts_as_an_answer_resets_the_failure_count(server: Server, caller: Caller) -> None:
    host = caller.hosts[server.base.removeprefix("http://")]

    async def gone() -> None:
        raise LookupError("no such video")

    await fail_requests(server, caller, 4)
    for _ in range(9):
        with pytest.raises(LookupError, match="no such video"):
            await host.call(gone, lambda _error: ANSWERED, repeatable=True)
    assert caller.breaker == {"state": "closed", "failures": 0, "until": None, "retries": 0}


async def test_failed_requests_and_the_breaker_print_nothing(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """The output of a command may be JSON and must contain nothing else."""
    server.script = [500] * 9
    async with Rest.open(server.base) as rest:
        for _ in range(6):
            with pytest.raises(ServiceUnavailable):
                await rest.send("POST", "things")
    assert server.requests == 5
    assert capfd.readouterr() == ("", "")


async def test_each_host_has_its_own_breaker(server: Server, caller: Caller) -> None:
    await fail_requests(server, caller)
    port = server.base.rpartition(":")[2]
    async with Rest.open(f"http://localhost:{port}", caller.hosts) as same_server_by_another_name:
        assert await same_server_by_another_name.get("things") == {"here": True}
    states = {name: state.state for name, state in caller.hosts.states().items()}
    assert states == {f"127.0.0.1:{port}": "open", f"localhost:{port}": "closed"}


# --- timeouts with the production values, on an event loop with accelerated time -----------------------------------

accelerated_loop = partial(AcceleratedLoop, 12)


@contextmanager
def unresponsive_server() -> Iterator[socket.socket]:
    """A server that accepts connections and never reads or answers; the kernel buffers a part of what is sent."""
    with closing(socket.socket()) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(200)
        yield listening


@contextmanager
def unreachable_server() -> Iterator[socket.socket]:
    """A server with a full backlog: the kernel drops further connection attempts."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening
        for one in waiting:
            one.close()


async def _seconds_until_timeout(server: socket.socket, calls: int = 1, body: str | None = None) -> float:
    """Return the seconds of loop time until this number of calls with the production policy have timed out."""
    loop = asyncio.get_running_loop()
    async with Rest.open(f"http://127.0.0.1:{server.getsockname()[1]}") as rest:
        began = loop.time()
        result = await asyncio.gather(*(_send(rest, body) for _ in range(calls)), return_exceptions=True)
        took = loop.time() - began
    assert all(isinstance(error, ServiceUnavailable) and "does not answer" in error.message for error in result)
    server.close()
    await asyncio.sleep(2)  # loop time: unsent data is discarded
    return took


async def _send(rest: Rest, body: str | None) -> object:
    return await (rest.request_once("things") if body is None else rest.send("POST", "things", {"text": body}))


@pytest.mark.claim("7.1")
def test_connecting_times_out_after_5_seconds() -> None:
    with unreachable_server() as server, asyncio.Runner(loop_factory=accelerated_loop) as runner:
        assert 4.9 < runner.run(_seconds_until_timeout(server)) < 10


@pytest.mark.claim("7.1")
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("body", [None, "x" * 8_000_000], ids=["read", "write"])  # more than the kernel buffers
def test_reading_and_writing_time_out_after_30_seconds(body: str | None) -> None:
    with unresponsive_server() as server, asyncio.Runner(loop_factory=accelerated_loop) as runner:
        assert 29 < runner.run(_seconds_until_timeout(server, body=body)) < 50


@pytest.mark.claim("7.1")
def test_waiting_for_a_pooled_connection_times_out_after_30_seconds() -> None:
    """5 of 105 calls get no connection from the pool."""
    with unresponsive_server() as server, asyncio.Runner(loop_factory=accelerated_loop) as runner:
        assert 29 < runner.run(_seconds_until_timeout(server, calls=105)) < 50
