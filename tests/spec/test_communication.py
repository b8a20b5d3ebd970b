"""Chapter 7: timeouts, retry and circuit breaker, on calls to a real server on loopback. Time is a parameter."""

import asyncio
import selectors
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from services.common.errors import ServiceUnavailable, YTArchiveError
from services.common.infra.resilience import RemoteHosts
from services.common.models import ErrorCode, ErrorDetail, ServiceResponse
from services.common.settings.retry_policy import ANSWERED, SPEC, RetryPolicy
from ytarchive.client.rest import Rest


@dataclass
class Server:
    """Answers with `script`, then with 200, and counts. A status 0 breaks the connection off. `hold`: it answers
    only once that is set."""

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
    """A client with SPEC's policy, whose time we have in hand."""

    rest: Rest
    hosts: RemoteHosts
    clock: Any

    async def get(self) -> str:
        """`ok`, or the message of the error."""
        try:
            return "ok" if await self.rest.get("things") == {"here": True} else "?"
        except YTArchiveError as error:
            return error.message

    @property
    def told(self) -> dict[str, object]:
        (state,) = self.hosts.states().values()
        return state.as_json()

    def state(self) -> object:
        return self.told["state"]


@asynccontextmanager
async def calling(server: Server, clock: Any, policy: RetryPolicy = SPEC) -> AsyncIterator[Caller]:
    hosts = RemoteHosts(policy, clock)
    async with Rest.open(server.base, hosts) as rest:
        yield Caller(rest, hosts, clock)


@pytest.fixture
async def caller(server: Server, clock: Any) -> AsyncIterator[Caller]:
    async with calling(server, clock) as caller:
        yield caller


# --- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("7.3", "7.4", "7.5", "16.3")
async def test_a_server_that_fails_twice_is_asked_three_times(server: Server, caller: Caller) -> None:
    server.script = [0, 503]  # the first time it breaks the connection off
    assert await caller.get() == "ok"
    assert server.requests == 3
    first, second = caller.clock.slept
    assert 2 <= first <= 3  # with jitter
    assert 4 <= second <= 5
    assert caller.told["retries"] == 2


@pytest.mark.claim("7.3")
async def test_the_third_failure_is_the_last(server: Server, caller: Caller) -> None:
    server.script = [503] * 9
    assert await caller.get() == "down"
    assert (server.requests, len(caller.clock.slept)) == (3, 2)


@pytest.mark.claim("7.4", "16.3")
async def test_back_off_doubles_up_to_30_seconds(server: Server, clock: Any) -> None:
    server.script = [503] * 7
    async with calling(server, clock, RetryPolicy(max_attempts=8, jitter=0, failures=100)) as patient:
        assert await patient.get() == "ok"
    assert patient.clock.slept == [2, 4, 8, 16, 30, 30, 30]


@pytest.mark.claim("7.4")
async def test_jitter_never_passes_30_seconds(server: Server, clock: Any) -> None:
    server.script = [503] * 7
    async with calling(server, clock, RetryPolicy(max_attempts=8, jitter=500, failures=100)) as jittery:
        assert await jittery.get() == "ok"
    for waited, least in zip(jittery.clock.slept, [2, 4, 8, 16, 30, 30, 30], strict=True):
        assert least <= waited <= 30


@pytest.mark.claim("7.5")
@pytest.mark.parametrize(
    ("status", "requests"),
    [(502, 3), (503, 3), (504, 3), (429, 3)]
    + [(status, 1) for status in (400, 401, 403, 404, 408, 409, 500, 501, 505)],
)
async def test_which_answers_are_asked_for_again(server: Server, caller: Caller, status: int, requests: int) -> None:
    server.script = [status] * 9
    assert await caller.get() == "down"
    assert server.requests == requests


@pytest.mark.claim("7.5")
async def test_what_changes_something_is_sent_once(server: Server, caller: Caller) -> None:
    server.script = [503]
    with pytest.raises(ServiceUnavailable, match="down"):
        await caller.rest.send("POST", "things")
    assert (server.requests, caller.clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("asked", "slept"),
    [
        ("7", [7.0, 7.0]),
        ("3", [3.0, 4.0]),  # not less than our own back-off
        ("1", [2.0, 4.0]),
        ("30", [30.0, 30.0]),
        ("31", []),  # longer than we wait: the answer is told at once
        ("nonsense", [2.0, 4.0]),
    ],
)
async def test_retry_after_is_honoured(server: Server, clock: Any, asked: str, slept: list[float]) -> None:
    server.script = [503] * 9
    server.headers = {"Retry-After": asked}
    async with calling(server, clock, RetryPolicy(jitter=0)) as caller:
        assert await caller.get() == "down"
    assert caller.clock.slept == slept


async def test_retry_after_may_be_a_time(server: Server, caller: Caller) -> None:
    server.script = [429]
    server.headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)}
    assert await caller.get() == "ok"
    assert 15 < caller.clock.slept[0] <= 20


async def test_where_nobody_listens_nobody_waits(clock: Any) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with calling(Server(f"http://127.0.0.1:{port}"), clock) as caller:
        assert "connection refused" in await caller.get()
    assert caller.clock.slept == []


# --- the breaker ------------------------------------------------------------------------------------------------------

ONCE = RetryPolicy(max_attempts=1)


async def broken(server: Server, caller: Caller, times: int = SPEC.failures) -> None:
    server.script = [500] * times
    for _ in range(times):
        assert await caller.get() == "down"


@pytest.mark.claim("7.6", "9.6")
async def test_five_failures_in_a_row_open_it(server: Server, caller: Caller) -> None:
    await broken(server, caller, 4)
    assert await caller.get() == "ok"  # not in a row
    await broken(server, caller, 4)
    assert caller.told == {"state": "closed", "failures": 4, "until": None, "retries": 0}
    await broken(server, caller, 1)
    until = (caller.clock.now() + timedelta(seconds=60)).isoformat()
    assert caller.told == {"state": "open", "failures": 5, "until": until, "retries": 0}
    assert server.requests == 10
    with pytest.raises(ServiceUnavailable) as refused:
        await caller.rest.get("things")
    assert server.requests == 10  # nothing left
    host = server.base.removeprefix("http://")
    assert refused.value.code == ErrorCode.SERVICE_UNAVAILABLE
    assert refused.value.details == {"host": host, "until": until, "retry_after": 60, "reason": "breaker_open"}
    assert host in refused.value.message


@pytest.mark.claim("7.6")
@pytest.mark.parametrize(
    ("status", "opens"), [(0, True), (429, True), (500, True), (503, True), (404, False), (403, False)]
)
async def test_what_counts_as_a_failure(server: Server, clock: Any, status: int, opens: bool) -> None:
    server.script = [status] * 5
    async with calling(server, clock, ONCE) as caller:
        for _ in range(5):
            assert await caller.get() != "ok"
        assert (caller.state() == "open") is opens


async def test_retries_are_failures_too_and_an_open_breaker_ends_them(server: Server, caller: Caller) -> None:
    server.script = [503] * 99
    assert await caller.get() == "down"
    assert await caller.get() == "down"  # with the second attempt it opens: no third
    assert "the next attempt is at" in await caller.get()
    assert (server.requests, len(caller.clock.slept)) == (5, 3)


@pytest.mark.claim("7.7")
async def test_it_stays_open_for_60_seconds(server: Server, caller: Caller) -> None:
    await broken(server, caller)
    caller.clock.seconds += 59.9
    assert "the next attempt is at" in await caller.get()
    assert server.requests == 5
    caller.clock.seconds += 0.1
    assert caller.state() == "half_open"
    assert await caller.get() == "ok"
    assert caller.told == {"state": "closed", "failures": 0, "until": None, "retries": 0}


@pytest.mark.claim("7.8")
@pytest.mark.parametrize("recovers", [True, False])
async def test_half_open_lets_exactly_one_of_twenty_through(server: Server, caller: Caller, recovers: bool) -> None:
    await broken(server, caller)
    caller.clock.seconds += 60
    server.hold = asyncio.Event()
    server.script = [] if recovers else [500]
    calls = [asyncio.create_task(caller.get()) for _ in range(20)]
    for _, held_back in zip(range(19), asyncio.as_completed(calls), strict=False):
        assert "one request tests" in await held_back
    assert server.requests <= 6  # the one that was let through may not have arrived yet
    assert caller.state() == "half_open"
    server.hold.set()
    told = await asyncio.gather(*calls)
    assert server.requests == 6
    if recovers:
        assert told.count("ok") == 1
        assert set(await asyncio.gather(*(caller.get() for _ in range(20)))) == {"ok"}
        assert (server.requests, caller.state()) == (26, "closed")
    else:
        assert told.count("down") == 1
        assert caller.state() == "open"
        caller.clock.seconds += 59.9
        assert "the next attempt is at" in await caller.get()
        caller.clock.seconds += 0.1
        assert await caller.get() == "ok"


@pytest.mark.claim("7.8")
async def test_a_probe_that_is_given_up_on_makes_room_for_the_next(
    server: Server, caller: Caller, eventually: Callable[..., Awaitable[object]]
) -> None:
    await broken(server, caller)
    caller.clock.seconds += 60
    server.hold = asyncio.Event()
    probe = asyncio.create_task(caller.get())
    await eventually(lambda: asyncio.sleep(0, server.requests == 6))
    assert "one request tests" in await caller.get()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    server.hold.set()
    assert await caller.get() == "ok"


async def test_an_error_of_our_own_says_nothing_of_the_host(server: Server, caller: Caller) -> None:
    host = caller.hosts[server.base.removeprefix("http://")]

    async def ours() -> None:
        raise KeyError("ours")

    await broken(server, caller, 4)
    for _ in range(9):
        with pytest.raises(KeyError, match="ours"):
            await host.call(ours, lambda _error: None, repeatable=True)
    assert caller.told["failures"] == 4
    await broken(server, caller, 1)
    caller.clock.seconds += 60
    with pytest.raises(KeyError, match="ours"):
        await host.call(ours, lambda _error: None, repeatable=True)
    assert caller.state() == "half_open"  # it was no probe
    assert await caller.get() == "ok"


async def test_an_error_that_is_an_answer_ends_the_row(server: Server, caller: Caller) -> None:
    host = caller.hosts[server.base.removeprefix("http://")]

    async def gone() -> None:
        raise LookupError("no such video")

    await broken(server, caller, 4)
    for _ in range(9):
        with pytest.raises(LookupError, match="no such video"):
            await host.call(gone, lambda _error: ANSWERED, repeatable=True)
    assert caller.told == {"state": "closed", "failures": 0, "until": None, "retries": 0}


async def test_a_command_prints_nothing_of_it(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """Its output is its answer, perhaps JSON."""
    server.script = [500] * 9
    async with Rest.open(server.base) as rest:
        for _ in range(6):
            with pytest.raises(ServiceUnavailable):
                await rest.send("POST", "things")
    assert server.requests == 5
    assert capfd.readouterr() == ("", "")


async def test_each_host_has_a_breaker_of_its_own(server: Server, caller: Caller) -> None:
    await broken(server, caller)
    port = server.base.rpartition(":")[2]
    async with Rest.open(f"http://localhost:{port}", caller.hosts) as same_server_by_another_name:
        assert await same_server_by_another_name.get("things") == {"here": True}
    states = {name: state.state for name, state in caller.hosts.states().items()}
    assert states == {f"127.0.0.1:{port}": "open", f"localhost:{port}": "closed"}


# --- timeouts, with the numbers of production on a loop whose time runs faster ---------------------------------------

FASTER = 12


class _Hasty(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / FASTER if timeout else timeout)


class _HastyLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_Hasty())

    def time(self) -> float:
        return super().time() * FASTER


@contextmanager
def silent() -> Iterator[socket.socket]:
    """A server that accepts and says nothing, and reads nothing but what the kernel takes."""
    with closing(socket.socket()) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(200)
        yield listening


@contextmanager
def unreachable() -> Iterator[socket.socket]:
    """A server whose queue is full: the kernel drops what would connect."""
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


async def _given_up_after(server: socket.socket, calls: int = 1, body: str | None = None) -> float:
    """Seconds of the loop until so many calls with the production policy have given up."""
    loop = asyncio.get_running_loop()
    async with Rest.open(f"http://127.0.0.1:{server.getsockname()[1]}") as rest:
        began = loop.time()
        told = await asyncio.gather(*(_one(rest, body) for _ in range(calls)), return_exceptions=True)
        took = loop.time() - began
    assert all(isinstance(error, ServiceUnavailable) and "does not answer" in error.message for error in told)
    server.close()
    await asyncio.sleep(2)  # of the hasty loop: what was not sent is let go
    return took


async def _one(rest: Rest, body: str | None) -> object:
    return await (rest.request_once("things") if body is None else rest.send("POST", "things", {"text": body}))


@pytest.mark.claim("7.1")
def test_connecting_takes_at_most_5_seconds() -> None:
    with unreachable() as server, asyncio.Runner(loop_factory=_HastyLoop) as runner:
        assert 4.9 < runner.run(_given_up_after(server)) < 10


@pytest.mark.claim("7.1")
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("body", [None, "x" * 8_000_000], ids=["read", "write"])  # more than the kernel takes
def test_reading_and_writing_take_at_most_30_seconds(body: str | None) -> None:
    with silent() as server, asyncio.Runner(loop_factory=_HastyLoop) as runner:
        assert 29 < runner.run(_given_up_after(server, body=body)) < 50


@pytest.mark.claim("7.1")
def test_a_connection_is_waited_for_at_most_30_seconds() -> None:
    """Of 105 calls 5 find no place in the pool."""
    with silent() as server, asyncio.Runner(loop_factory=_HastyLoop) as runner:
        assert 29 < runner.run(_given_up_after(server, calls=105)) < 50
