"""What every service has: SPEC's order of start and end, health that looks, REST scaffolding, logs on the bus."""

import asyncio
import errno
import io
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, ConfigDict, Field

from bus import Bus, BusError, BusSettings, EmbeddedServer, Envelope, Event, Handlers
from services.common.domain.registry import ServiceInfo
from services.common.domain.videos import Target, TargetKind
from services.common.errors import ConfigError, NotFound, QuotaExceeded, ServiceUnavailable
from services.common.events import (
    DeadLettered,
    JobQueued,
    ListingCompleted,
    LogRecorded,
    ServiceHeartbeat,
    ServiceRegistered,
    ServiceStopped,
)
from services.common.infra import logs
from services.common.messaging import connect_bus
from services.common.models import JobOptions, JobType
from services.common.service import VERSION, ServiceBase
from services.common.settings.load import Config
from services.common.web.routing import Call, Reply, Route

Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]
HEALTH = "/api/v1/health"
handlers = Handlers("metadata")


@handlers.on(JobQueued)
async def list_it(event: JobQueued, probe: "Probe") -> AsyncIterator[Event]:
    probe.seen.append(f"handling {event.job_id}")
    probe.began.set()
    if event.job_id == "poison":
        raise ValueError("this one never works")
    await probe.go_on.wait()
    yield ListingCompleted(job_id=event.job_id, root="/r", target_index=0, listing=1, page_keys=(), total=0)


class Sum(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = Field(ge=0)
    b: int = 0


class Total(BaseModel):
    total: int


class Probe(ServiceBase):
    """A service that does as little as one can, and tells what happened to it."""

    name: ClassVar[str] = "metadata"
    handlers: ClassVar[Handlers] = handlers

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.seen: list[str] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fail_in = ""
        self.routes = self._routes()

    async def initialize_resources(self) -> Sequence[object]:
        self._step("initialize_resources")
        return (self,)

    async def after_start(self) -> None:
        self._step("after_start")

    async def cleanup_resources(self) -> None:
        self.seen.append("cleanup_resources")
        self.logger.info("cleaned_up")

    def _step(self, name: str) -> None:
        self.seen.append(name)
        if self.fail_in == name:
            raise ServiceUnavailable(f"no {name}")

    def disk_paths(self) -> Sequence[Path]:
        return (self.config.storage.tmp_dir,)

    def _routes(self) -> Sequence[Route]:
        base = "/api/v1/things"
        return (
            Route("POST", f"{base}/sum", self.add, body=Sum, response=Total, status=201),
            Route("GET", f"{base}/sum", self.add_query, query=Sum, response=Total),
            Route("GET", f"{base}/{{thing}}", self.thing),
            Route("POST", f"{base}/wait", self.wait),
            Route("GET", f"{base}/a/stream", self.stream, streams=True),
            Route("GET", f"{base}/broken/stream", self.broken_stream, streams=True),
            Route("POST", f"{base}/publish", self.wait, needs_bus=True),
        )

    async def add(self, _call: Call, body: Sum) -> Total:
        return Total(total=body.a + body.b)

    async def add_query(self, _call: Call, query: Sum) -> Total:
        return Total(total=query.a + query.b)

    async def thing(self, call: Call) -> Any:
        errors: dict[str, Exception] = {
            "missing": NotFound("There is no such thing.", thing="missing"),
            "quota": QuotaExceeded("The quota is used up."),
            "bus": BusError("the broker is away"),
            "bug": KeyError("oops"),
        }
        name = call.path["thing"]
        if name in errors:
            raise errors[name]
        return Reply({"thing": name}, 202, {"X-Other": "1"}) if name == "later" else {"thing": name}

    async def wait(self, _call: Call) -> dict[str, str]:
        self.began.set()
        await self.go_on.wait()
        return {"waited": "yes"}

    async def stream(self, call: Call) -> web.StreamResponse:
        async with sse_response(call.raw) as response:
            await response.send("hello")
            await call.closing.wait()
            await response.send("goodbye")
        return response

    async def broken_stream(self, call: Call) -> web.StreamResponse:
        async with sse_response(call.raw) as response:
            await response.send("hello")
            raise NotFound("too late to say so")


Running = Callable[..., Any]


@pytest.fixture
def running(config: Config, broker: BusSettings) -> Running:
    @asynccontextmanager
    async def run(config: Config = config, bus: BusSettings = broker) -> AsyncIterator[Probe]:
        probe = Probe(config, bus)
        await probe.startup()
        try:
            yield probe
        finally:
            probe.go_on.set()
            await probe.shutdown(5.0)

    return run


@pytest.fixture
async def observer(broker: BusSettings) -> AsyncIterator[Bus]:
    bus = await connect_bus(broker, source="cli/test")
    yield bus
    await bus.close()


@pytest.fixture
async def web_client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def recorded() -> Iterator[None]:
    """Records go to the bus in this test."""
    logs.setup(level="DEBUG", console=None)
    yield
    logs.tear_down()


def queued(job_id: str) -> JobQueued:
    target = Target(kind=TargetKind.PLAYLIST, id="PL" + "a" * 16)
    return JobQueued(
        job_id=job_id,
        type=JobType.PLAYLIST_DOWNLOAD,
        root="/r",
        options=JobOptions(),
        target=target,
        target_index=0,
        listing=1,
    )


async def first(envelopes: AsyncIterator[Envelope], kind: type[Event]) -> Envelope:
    async with asyncio.timeout(60):
        async for envelope in envelopes:
            if envelope.type == kind.subject:
                return envelope
    raise AssertionError(f"no {kind.subject}")


# --- life ---------------------------------------------------------------------------------------------------------


@pytest.mark.claim("11.2", "11.7")
async def test_it_registers_beats_serves_and_says_goodbye(
    observer: Bus, running: Running, web_client: aiohttp.ClientSession
) -> None:
    async with observer.tail(ServiceRegistered, ServiceHeartbeat, ServiceStopped) as told:
        async with running() as probe:
            registered = ServiceRegistered.read(await first(told, ServiceRegistered))
            assert registered.service.url == probe.url
            assert registered.service.version == VERSION
            beat = ServiceHeartbeat.read(await first(told, ServiceHeartbeat))
            assert beat.service.instance == probe.instance == registered.instance
            await probe.announce()
            await first(told, ServiceHeartbeat)
            async with web_client.get(probe.url + HEALTH) as response:
                assert response.status == 200
            assert probe.seen == ["initialize_resources", "after_start"]
        stopped = ServiceStopped.read(await first(told, ServiceStopped))
        assert (stopped.instance, stopped.name) == (probe.instance, "metadata")
    assert probe.seen[-1] == "cleanup_resources"


class Witness(Probe):
    """Notes each step of its start, and whether health answers at that moment."""

    def __init__(self, config: Config, bus: BusSettings) -> None:
        super().__init__(config, bus)
        self.steps: list[tuple[str, bool]] = []
        self.said: list[Any] = []
        self.registered = asyncio.Event()  # as others hear it

    def validate_environment(self) -> None:
        super().validate_environment()
        self.steps.append(("environment", False))  # the port is bound, nothing listens: see below

    async def initialize_resources(self) -> Sequence[object]:
        self.steps.append(("resources", await self._answers()))
        return (self,)

    def info(self) -> ServiceInfo:
        if "registration" not in dict(self.steps):
            self.steps.append(("registration", self.accepting))
        return super().info()

    async def after_start(self) -> None:
        await asyncio.wait_for(self.registered.wait(), 60)
        self.steps.append(("serving", await self._answers()))
        assert not [record for record in self.said if record["event"] == "service_started"]

    async def _answers(self) -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(self.url + HEALTH) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@pytest.mark.claim("11.1")
async def test_the_order_of_a_start(config: Config, broker: BusSettings, observer: Bus) -> None:
    """Environment, resources, registration, health, and at last service_started."""
    witness = Witness(config, broker)

    async def hear(told: AsyncIterator[Envelope]) -> None:
        await first(told, ServiceRegistered)
        witness.registered.set()

    async with observer.tail(ServiceRegistered) as told:
        hearing = asyncio.create_task(hear(told))
        with structlog.testing.capture_logs() as witness.said:
            await witness.startup()
        await hearing
    assert witness.steps == [
        ("environment", False), ("resources", False), ("registration", False), ("serving", True)
    ]  # fmt: skip
    assert [record["event"] for record in witness.said if record["log_level"] == "info"][-1] == "service_started"
    await witness.shutdown(5.0)


@pytest.mark.usefixtures("recorded")
async def test_the_end_is_logged_last(observer: Bus, running: Running) -> None:
    async with observer.tail(LogRecorded) as told:
        async with running():
            pass
        events: list[str] = []
        while "service_stopped" not in events:
            events += [record["event"] for record in LogRecorded.read(await first(told, LogRecorded)).records]
    assert events.index("service_started") < events.index("service_stopped")


async def test_a_taken_port_names_port_and_key(config: Config, broker: BusSettings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = config.services.metadata.model_copy(update={"port": port})
        services = config.services.model_copy(update={"metadata": taken})
        probe = Probe(config.model_copy(update={"services": services}), broker)
        with pytest.raises(ConfigError, match=rf"{port} is taken .* services\.metadata\.port"):
            await probe.startup()
    assert probe.seen == []


@pytest.mark.parametrize("step", ["initialize_resources", "after_start"])
async def test_a_start_that_fails_leaves_nothing_behind(step: str, config: Config, broker: BusSettings) -> None:
    probe = Probe(config, broker)
    probe.fail_in = step
    with pytest.raises(ServiceUnavailable, match=step):
        await probe.startup()
    assert probe.seen[-1] == "cleanup_resources"
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", probe.port))
    assert not probe.bus_connected


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("file/tmp", "cannot write to .*file/tmp"),
        ("/proc/none", "cannot (write to|create the folder) /proc/none"),  # the second where root may write to all
    ],
)
async def test_a_folder_that_cannot_be_made_is_told_of(
    folder: str, told: str, config: Config, broker: BusSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    storage = config.storage.model_copy(update={"tmp_dir": tmp_path / folder})
    with pytest.raises(ConfigError, match=told):
        await Probe(config.model_copy(update={"storage": storage}), broker).startup()


@pytest.mark.claim("11.5", "11.6", "11.7")
async def test_the_end_waits_for_what_is_in_hand(
    observer: Bus, config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    """A request and a handler are under way: both finish, then what was opened is closed, then the end is said."""
    probe = Probe(config, broker)
    await probe.startup()
    request = asyncio.create_task(web_client.post(f"{probe.url}/api/v1/things/wait"))
    await asyncio.wait_for(probe.began.wait(), 60)
    probe.began.clear()
    async with observer.tail(ListingCompleted) as told:
        await observer.publish(queued("slow"), trace_id="t")
        await asyncio.wait_for(probe.began.wait(), 60)
        with structlog.testing.capture_logs() as said:
            end = asyncio.create_task(probe.shutdown(60.0))
            await asyncio.wait_for(probe.closing.wait(), 60)
            async with web_client.get(probe.url + HEALTH) as refused:
                assert refused.status == 503
                assert (await refused.json())["error"]["code"] == "E006"
            assert "cleanup_resources" not in probe.seen
            probe.go_on.set()
            async with await request as response:
                assert (await response.json())["data"] == {"waited": "yes"}
            assert (await first(told, ListingCompleted)).data["job_id"] == "slow"
            await asyncio.wait_for(end, 60)
    assert probe.seen[-1] == "cleanup_resources"
    events = [record["event"] for record in said if record["log_level"] == "info"]
    assert events[-2:] == ["cleaned_up", "service_stopped"]
    assert "request_completed" in events
    assert events.count("service_stopped") == 1


@pytest.mark.claim("11.6")
async def test_the_end_does_not_wait_for_ever(
    config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    probe = Probe(config, broker)
    await probe.startup()
    request = asyncio.create_task(web_client.post(f"{probe.url}/api/v1/things/wait"))
    await asyncio.wait_for(probe.began.wait(), 60)
    async with asyncio.timeout(8):
        await probe.shutdown(0.2)
    with pytest.raises(aiohttp.ClientError):
        await request


async def test_the_end_comes_though_a_background_task_misses_a_cancellation(
    config: Config, broker: BusSettings
) -> None:
    probe = Probe(config, broker)
    await probe.startup()
    begun = asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):  # as asyncio.wait_for does it now and then, before Python 3.12
            begun.set()
            await asyncio.sleep(600)
        await asyncio.sleep(600)

    task = probe.spawn(work, "work")
    await begun.wait()
    async with asyncio.timeout(20):
        await probe.shutdown(0.2)
    assert task.cancelled()


async def test_a_stream_ends_with_the_service(
    config: Config, broker: BusSettings, web_client: aiohttp.ClientSession
) -> None:
    probe = Probe(config, broker)
    await probe.startup()
    async with web_client.get(f"{probe.url}/api/v1/things/a/stream") as response:
        assert response.content_type == "text/event-stream"
        assert b"hello" in await response.content.readline()
        await probe.shutdown(5.0)
        assert b"goodbye" in await response.content.read()


async def test_a_stream_that_fails_is_broken_off(running: Running, web_client: aiohttp.ClientSession) -> None:
    async with running() as probe:
        async with web_client.get(f"{probe.url}/api/v1/things/broken/stream") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await health(web_client, probe)


# --- health -------------------------------------------------------------------------------------------------------


async def health(client: aiohttp.ClientSession, probe: Probe) -> dict[str, Any]:
    async with client.get(probe.url + HEALTH) as response:
        body: dict[str, Any] = await response.json()
    good = body["data"]["status"] == "healthy"
    assert response.status == (200 if good else 503)
    assert body["success"] is good
    checks: dict[str, bool] = body["data"]["checks"]
    assert good is all(checks.values())
    return checks


async def test_health_is_specs(running: Running, web_client: aiohttp.ClientSession) -> None:
    async with running() as probe, web_client.get(probe.url + HEALTH) as response:
        body = await response.json()
    assert set(body) == {"success", "data", "error", "trace_id"}
    assert set(body["data"]) == {"service", "status", "version", "uptime_seconds", "checks", "metrics"}
    assert body["data"]["service"] == "metadata"
    assert body["data"]["checks"] == {
        "http_responsive": True,
        "dependencies_available": True,
        "no_critical_errors": True,
        "disk_space_available": True,
    }


@pytest.mark.claim("9.6", "10.7", "12.10")
async def test_health_sees_a_broker_that_is_away(
    config: Config, tmp_path: Path, running: Running, web_client: aiohttp.ClientSession, eventually: Eventually
) -> None:
    server = EmbeddedServer(tmp_path / "other")
    settings = await server.start()
    async with running(config, settings) as probe:
        await server.stop()

        async def away() -> bool:
            return not (await health(web_client, probe))["dependencies_available"]

        await eventually(away)
        async with web_client.post(f"{probe.url}/api/v1/things/publish") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "E006"


@pytest.mark.claim("10.7")
async def test_health_sees_a_background_task_that_failed_until_it_is_begun_again_and_well(
    running: Running, web_client: aiohttp.ClientSession
) -> None:
    begun = asyncio.Queue[int]()
    well = asyncio.Event()

    async def watch() -> None:
        begun.put_nowait(1)
        if not well.is_set():
            raise LookupError("gone")

    async with running() as probe:
        task = probe.spawn(watch, "watch")
        await begun.get()
        assert (await health(web_client, probe))["no_critical_errors"] is False
        assert probe.critical_errors() == ["metadata: watch: LookupError: gone"]
        well.set()
        await asyncio.wait_for(begun.get(), 60)  # the second time
        await task
        assert probe.critical_errors() == []
        assert (await health(web_client, probe))["no_critical_errors"] is True
        assert probe.background_failures == 1


async def test_what_no_job_gets_on_without_is_lost_when_it_fails_again_and_again(running: Running) -> None:
    """A one-shot ends then: nothing would ever end its wait."""
    begun = asyncio.Queue[int]()

    async def broken() -> None:
        begun.put_nowait(1)
        raise LookupError("gone")

    async with running() as probe:
        probe.spawn(broken, "needed", essential=True)
        probe.spawn(broken, "other")
        for _ in range(4):  # the third may be of either
            await asyncio.wait_for(begun.get(), 60)
        assert probe.lost_causes() == []
        while len(lost := probe.lost_causes()) == 0:
            await asyncio.wait_for(begun.get(), 60)
        assert lost == ["metadata: needed: LookupError: gone"]


async def test_health_sees_dead_letters_of_its_own(
    observer: Bus, running: Running, web_client: aiohttp.ClientSession, eventually: Eventually
) -> None:
    async with running() as probe, observer.tail(DeadLettered) as told:
        await observer.publish(queued("poison"), trace_id="t")
        letter = DeadLettered.read(await asyncio.wait_for(anext(told), 60))
        assert letter.consumer == "metadata-job_queued"

        async def noticed() -> bool:
            return not (await health(web_client, probe))["no_critical_errors"]

        await eventually(noticed)


async def test_health_sees_a_disk_that_is_full(
    config: Config, running: Running, web_client: aiohttp.ClientSession
) -> None:
    storage = config.storage.model_copy(update={"min_free": 2**62})
    async with running(config.model_copy(update={"storage": storage})) as probe:
        assert (await health(web_client, probe))["disk_space_available"] is False


# --- REST ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "told"),
    [
        ("POST", "sum", b'{"a": 1, "b": 2}', 201, None, {"total": 3}),
        ("GET", "sum?a=1&b=2", None, 200, None, {"total": 3}),
        ("GET", "anything", None, 200, None, {"thing": "anything"}),
        ("GET", "later", None, 202, None, {"thing": "later"}),
        ("POST", "sum", b'{"a": -1}', 400, "E007", "body field a"),
        ("POST", "sum", b'{"a": 1, "c": 1}', 400, "E007", "body field c"),
        ("POST", "sum", b"{", 400, "E007", "body: Invalid JSON"),
        ("POST", "sum", b"", 400, "E007", "body field a"),
        ("POST", "sum", b"[]", 400, "E007", "body"),
        ("GET", "sum?a=x", None, 400, "E007", "query field a"),
        ("GET", "sum?a=1&z=1", None, 400, "E007", "query field z"),
        ("GET", "missing", None, 404, "E007", "There is no such thing."),
        ("GET", "quota", None, 429, "E001", "quota"),
        ("GET", "bus", None, 503, "E006", "the broker is away"),
        ("GET", "bug", None, 500, "E999", "Internal error (KeyError)"),
        ("GET", "no/such/path", None, 404, "E007", "There is no /api/v1/things/no/such/path"),
        ("DELETE", "sum", None, 405, "E007", "DELETE is not allowed"),
        ("POST", "sum", b" " * (1024**2 + 1), 413, "E007", "larger than"),
    ],
)
@pytest.mark.claim("9.8", "12.9")
async def test_models_in_service_response_out(
    method: str,
    path: str,
    body: bytes | None,
    status: int,
    code: str | None,
    told: Any,
    running: Running,
    web_client: aiohttp.ClientSession,
) -> None:
    async with (
        running() as probe,
        web_client.request(
            method,
            f"{probe.url}/api/v1/things/{path}",
            data=body and io.BytesIO(body),
            headers={"X-Trace-Id": "my-trace"} | ({"Content-Type": "application/json"} if body else {}),
        ) as response,
    ):
        answer = await response.json()
    assert response.status == status
    assert response.headers["X-Trace-Id"] == answer["trace_id"] == "my-trace"
    assert set(answer) == {"success", "data", "error", "trace_id"}
    assert answer["success"] is (code is None)
    if code is None:
        assert answer["data"] == told
    else:
        assert answer["error"]["code"] == code
        assert told in answer["error"]["message"]
        assert answer["error"]["details"]["trace_id"] == "my-trace"


@pytest.mark.claim("7.12")
@pytest.mark.parametrize("given", [None, "", "with space", "x" * 129])
async def test_a_trace_that_is_missing_or_unfit_is_made(
    given: str | None, running: Running, web_client: aiohttp.ClientSession
) -> None:
    headers = {} if given is None else {"X-Trace-Id": given}
    async with running() as probe, web_client.get(probe.url + HEALTH, headers=headers) as response:
        made = (await response.json())["trace_id"]
    assert made != given
    assert str(UUID(made)) == made


@pytest.mark.usefixtures("recorded")
@pytest.mark.claim("9.9")
async def test_requests_and_secrets_in_the_log(
    observer: Bus, running: Running, web_client: aiohttp.ClientSession
) -> None:
    found: dict[str, dict[str, Any]] = {}
    async with running() as probe, observer.tail(LogRecorded) as told:
        structlog.get_logger("bus").warning("stays_local")
        probe.logger.info("with_secret", api_key="geheim", url="https://h/?key=geheim")
        async with web_client.get(f"{probe.url}/api/v1/things/bug", headers={"X-Trace-Id": "t1"}) as response:
            error = (await response.json())["error"]
        while not {"with_secret", "request_completed"} <= set(found):
            for record in LogRecorded.read(await first(told, LogRecorded)).records:
                found[record["event"]] = record
    assert "stays_local" not in found
    assert "geheim" not in str(found)
    received, completed = found["request_received"], found["request_completed"]
    assert (received["endpoint"], received["method"]) == ("/api/v1/things/bug", "GET")
    assert completed["status_code"] == 500
    assert completed["duration_ms"] > 0
    assert (error["code"], error["details"]["trace_id"]) == ("E999", "t1")
    assert "oops" not in str(error)
    assert (found["error_occurred"]["error_type"], found["error_occurred"]["error_message"]) == ("KeyError", "'oops'")
    assert "Traceback" in found["error_occurred"]["exception"]
    for record in (received, completed, found["error_occurred"]):
        assert (record["service"], record["version"], record["trace_id"]) == ("metadata", VERSION, "t1")


@pytest.mark.usefixtures("recorded")
@pytest.mark.claim("10.4")
async def test_every_error_is_logged_with_code_and_message(observer: Bus, running: Running) -> None:
    """Also where it is logged without, and by what knows nothing of codes: libraries, the bus."""
    full = OSError(errno.ENOSPC, "No space left on device")
    wanted = {
        "given": ("E003", "late"),
        "quota": ("E001", "used up"),
        "broker": ("E006", "away"),
        "full": ("E004", str(full)),
        "bug": ("E999", "'oops'"),
        "bare": ("E999", "bare"),
        "from a library": ("E999", "from a library"),
    }
    found: dict[str, dict[str, Any]] = {}
    async with running() as probe, observer.tail(LogRecorded) as told:
        probe.logger.error("given", error_code="E003", error_message="late")
        probe.logger.error("quota", exc_info=(QuotaExceeded, QuotaExceeded("used up"), None))
        probe.logger.error("broker", exc_info=BusError("away"))
        probe.logger.error("full", exc_info=full)
        probe.logger.error("bare")
        try:
            raise KeyError("oops")
        except KeyError:
            probe.logger.exception("bug")
        logging.getLogger("a.library").error("from a library")
        probe.logger.warning("no_error")
        while "no_error" not in found:
            for record in LogRecorded.read(await first(told, LogRecorded)).records:
                found[record["event"]] = record
    assert {name: (found[name]["error_code"], found[name]["error_message"]) for name in wanted} == wanted
    assert "error_code" not in found["no_error"]


@pytest.mark.usefixtures("recorded")
async def test_hostile_texts_reach_neither_terminal_nor_bus_raw(
    observer: Bus, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup(level="INFO", console="INFO")
    async with running() as probe, observer.tail(LogRecorded) as told:
        probe.logger.warning("titled \x1b[31m", title="a\x1b]0;x\x07b\u202ec\udc80d\nsecond", odd={1: {2}, (3,): 4})
        probe.logger.warning("endless", text="y" * 100_000)
        found: list[dict[str, Any]] = []
        while not any(record["event"] == "endless" for record in found):
            found += LogRecorded.read(await first(told, LogRecorded)).records
    shown = capsys.readouterr().err
    assert "titled \\x1b[31m" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
    (endless,) = (record for record in found if record["event"] == "endless")
    assert endless["service"] == "metadata"
    assert 10_000 < len(endless["cut"]) < 20_000


@pytest.mark.usefixtures("recorded")
async def test_many_records_go_out_in_batches(observer: Bus, running: Running) -> None:
    sizes: list[int] = []
    async with running() as probe, observer.tail(LogRecorded) as told:
        for number in range(250):
            probe.logger.info("one_of_many", number=number)
        numbers: list[int] = []
        while len(numbers) < 250:
            records = LogRecorded.read(await first(told, LogRecorded)).records
            sizes.append(len(records))
            numbers += [record["number"] for record in records if record["event"] == "one_of_many"]
    assert numbers == list(range(250))
    assert max(sizes) == 100
