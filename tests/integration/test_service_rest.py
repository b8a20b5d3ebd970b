"""What every service provides over REST, and the log records that it publishes on the bus."""

import errno
import io
import logging
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import structlog

from bus import Bus, BusError
from services.common.errors import QuotaExceeded
from services.common.events import (
    LogRecorded,
)
from services.common.infra import logs
from services.common.infra.logs import VERSION
from tests.fixtures.probe_service import HEALTH, RunningProbe, first


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
async def test_requests_are_validated_and_answered_with_a_service_response(
    method: str,
    path: str,
    body: bytes | None,
    status: int,
    code: str | None,
    told: Any,
    running_probe: RunningProbe,
    web_client: aiohttp.ClientSession,
) -> None:
    async with (
        running_probe() as probe,
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


WRAPPED = {"trace_id": "of-the-body", "timestamp": "2024-01-01T00:00:00Z", "data": {"a": 1, "b": 2}}


@pytest.mark.claim("4.3", "7.9")
@pytest.mark.parametrize(
    ("changes", "header", "status", "trace_id", "told"),
    [
        ({}, None, 201, "of-the-body", {"total": 3}),
        ({}, "of-the-header", 201, "of-the-header", {"total": 3}),
        ({}, "not valid", 201, "of-the-body", {"total": 3}),
        ({"trace_id": "not valid"}, None, 201, None, {"total": 3}),
        ({"data": {"a": -1}}, None, 400, "of-the-body", "body field a"),
        ({"data": {"a": 1, "c": 1}}, None, 400, "of-the-body", "body field c"),
        ({"data": 7}, None, 400, None, "body field data"),
        ({"timestamp": "yesterday"}, None, 400, None, "body field timestamp"),
        ({"timestamp": "2024-01-01T00:00:00"}, None, 400, None, "body field timestamp"),
        ({"trace_id": 7}, None, 400, None, "body field trace_id"),
        ({"a": 1}, None, 400, None, "body field"),  # four keys: a plain body
    ],
)
async def test_a_body_may_have_the_request_format_of_the_specification(
    changes: dict[str, Any],
    header: str | None,
    status: int,
    trace_id: str | None,
    told: Any,
    running_probe: RunningProbe,
    web_client: aiohttp.ClientSession,
) -> None:
    headers = {} if header is None else {"X-Trace-Id": header}
    async with (
        running_probe() as probe,
        web_client.post(f"{probe.url}/api/v1/things/sum", json=WRAPPED | changes, headers=headers) as response,
    ):
        answer = await response.json()
    assert response.status == status
    assert response.headers["X-Trace-Id"] == answer["trace_id"]
    assert (answer["trace_id"] == trace_id) if trace_id else UUID(answer["trace_id"])
    if status == 201:
        assert answer["data"] == told
    else:
        assert answer["error"]["code"] == "E007"
        assert told in answer["error"]["message"]
        assert answer["error"]["details"]["trace_id"] == answer["trace_id"]


@pytest.mark.usefixtures("logs_on_bus")
@pytest.mark.claim("9.9")
@pytest.mark.parametrize(
    ("path", "kind", "code", "status", "level"),
    [
        ("bus", "BusError", "E006", 503, "error"),
        ("bug", "KeyError", "E999", 500, "error"),
        ("missing", "NotFound", "E007", 404, "info"),
        ("no/such/path", "HTTPNotFound", "E007", 404, "info"),
    ],
)
async def test_the_error_of_an_answer_is_logged(
    path: str,
    kind: str,
    code: str,
    status: int,
    level: str,
    observer: Bus,
    running_probe: RunningProbe,
    web_client: aiohttp.ClientSession,
) -> None:
    found: dict[str, dict[str, Any]] = {}
    async with running_probe() as probe, observer.tail(LogRecorded) as told:
        async with web_client.get(f"{probe.url}/api/v1/things/{path}", headers={"X-Trace-Id": "t1"}) as response:
            assert response.status == status
        while "request_completed" not in found:
            for record in LogRecorded.read(await first(told, LogRecorded)).records:
                found[record["event"]] = record
    occurred = found["error_occurred"]
    assert (occurred["error_type"], occurred["error_code"], occurred["status_code"]) == (kind, code, status)
    assert (occurred["level"], occurred["trace_id"], occurred["service"]) == (level, "t1", "metadata")
    assert ("exception" in occurred) is (kind == "KeyError")


@pytest.mark.claim("7.12")
@pytest.mark.parametrize("given", [None, "", "with space", "x" * 129])
async def test_a_missing_or_invalid_trace_id_is_replaced_with_a_uuid(
    given: str | None, running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    headers = {} if given is None else {"X-Trace-Id": given}
    async with running_probe() as probe, web_client.get(probe.url + HEALTH, headers=headers) as response:
        made = (await response.json())["trace_id"]
    assert made != given
    assert str(UUID(made)) == made


@pytest.mark.usefixtures("logs_on_bus")
@pytest.mark.claim("9.9")
async def test_requests_and_errors_are_logged_with_their_trace_id_without_secrets(
    observer: Bus, running_probe: RunningProbe, web_client: aiohttp.ClientSession
) -> None:
    found: dict[str, dict[str, Any]] = {}
    async with running_probe() as probe, observer.tail(LogRecorded) as told:
        structlog.get_logger("bus").warning("about_log_records", subject="log.recorded")
        structlog.get_logger("bus").warning("of_the_bus", subject="job.created")
        probe.logger.info("with_secret", api_key="geheim", url="https://h/?key=geheim")
        async with web_client.get(f"{probe.url}/api/v1/things/bug", headers={"X-Trace-Id": "t1"}) as response:
            error = (await response.json())["error"]
        while not {"with_secret", "request_completed"} <= set(found):
            for record in LogRecorded.read(await first(told, LogRecorded)).records:
                found[record["event"]] = record
    assert "about_log_records" not in found  # each batch would cause the next one
    assert (found["of_the_bus"]["service"], found["of_the_bus"]["version"]) == ("stack", VERSION)
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


@pytest.mark.usefixtures("logs_on_bus")
@pytest.mark.claim("10.4")
async def test_every_error_is_logged_with_code_and_message(observer: Bus, running_probe: RunningProbe) -> None:
    """Also if it is logged without them, or by code without error codes: libraries and the bus."""
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
    async with running_probe() as probe, observer.tail(LogRecorded) as told:
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


@pytest.mark.usefixtures("logs_on_bus")
async def test_control_characters_are_escaped_and_long_texts_cut_in_log_records(
    observer: Bus, running_probe: RunningProbe, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup(level="INFO", console="INFO")
    async with running_probe() as probe, observer.tail(LogRecorded) as told:
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


@pytest.mark.usefixtures("logs_on_bus")
async def test_log_records_are_published_in_batches_of_100(observer: Bus, running_probe: RunningProbe) -> None:
    sizes: list[int] = []
    async with running_probe() as probe, observer.tail(LogRecorded) as told:
        for number in range(250):
            probe.logger.info("one_of_many", number=number)
        numbers: list[int] = []
        while len(numbers) < 250:
            records = LogRecorded.read(await first(told, LogRecorded)).records
            sizes.append(len(records))
            numbers += [record["number"] for record in records if record["event"] == "one_of_many"]
    assert numbers == list(range(250))
    assert max(sizes) == 100
