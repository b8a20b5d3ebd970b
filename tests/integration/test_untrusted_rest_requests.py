"""Malformed and cross-site requests to the REST APIs of jobs and download.

Each is answered with a ServiceResponse that has an error code, and the services stay healthy.
"""

import asyncio
import gzip
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from bus import BusSettings
from services.common.events import JobCreated
from services.common.models import ErrorCode, ServiceResponse
from services.common.settings.load import Config
from services.download.service import DownloadService
from services.jobs.rest_models import JobQuery
from services.jobs.service import JobsService
from tests.fixtures.cluster import until

JOBS = "/api/v1/jobs"
VIDEO = "video000001"
UNKNOWN_IDS = [
    "nobody",
    "%00",
    "a%00b",
    "%FF%FE",
    "%ED%A0%80",
    "..",
    "%2e%2e%2f",
    "a" * 2000,
    "%F0%9F%92%A9",
    "'--",
    "1;x",
]
CHUNKED = (
    f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ACTIONS = ("cancel", "pause", "resume", "retry")


class RawHttp:
    """An HTTP client without checks: it sends what a well-behaved client would not."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname or "", place.port or 0

    async def send(self, *parts: bytes) -> tuple[int, ServiceResponse]:
        """Send one request on a new connection; return its status and its body, which must be a ServiceResponse."""
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 100"):
                    head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ")[1])
                headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(headers[b"Content-Length"]))
            finally:
                writer.close()
        assert headers[b"Content-Type"].startswith(b"application/json"), (head, body)
        return status, ServiceResponse.model_validate_json(body)

    async def ask(
        self, method: str, path: str | bytes, body: bytes = b"", *headers: str, kind: str | None = "application/json"
    ) -> tuple[int, ServiceResponse]:
        target = path if isinstance(path, bytes) else path.encode()
        lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"Host: %b:%d" % (self.host.encode(), self.port)]
        lines += [line.encode("latin-1") for line in headers]
        if kind and body:
            lines.append(b"Content-Type: " + kind.encode())
        if body or method not in {"GET", "HEAD"}:
            lines.append(b"Content-Length: %d" % len(body))
        return await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)


@pytest.fixture
async def jobs(config: Config, broker: BusSettings) -> AsyncIterator[JobsService]:
    service = JobsService(config, broker)
    await service.startup()
    yield service
    await service.shutdown(5)


@pytest.fixture
async def raw(jobs: JobsService) -> AsyncIterator[RawHttp]:
    """A client of jobs; after the test no job exists and the service is healthy."""
    yield RawHttp(jobs.url)
    assert (await jobs.parts.reader.jobs(JobQuery())).total == 0
    assert jobs.critical_errors() == []


def expect_refusal(answer: tuple[int, ServiceResponse], *statuses: int, message: str = "", sent: object = None) -> None:
    status, body = answer
    assert status in statuses, (sent, body)
    assert not body.success
    assert body.error is not None
    assert body.error.code is ErrorCode.INVALID_REQUEST
    assert body.error.message
    assert message in body.error.message, body.error.message
    assert body.trace_id


def job(**changes: Any) -> bytes:
    return json.dumps({"targets": [VIDEO]} | changes).encode()


BODIES: Sequence[bytes] = [
    b"{", b"nonsense", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}" * 2, b"\x00", b"[" * 100_000, b'{"a":' * 50_000,
    b'{"targets": ["\\ud800"]}', b'{"targets": ["x"], "\\ud800": 1}', b'{"targets": ["x"], "\\u0000": 1}',
    job(targets=None), job(targets="x"), job(targets=[]), job(targets=[None]), job(targets=[1]), job(targets=[[VIDEO]]),
    job(targets=[""]), job(targets=["x" * 3000]), job(targets=["\0"]), job(targets=["dQw4w9WgXc\0"]),
    job(targets=["💩"]),
    job(targets=[VIDEO] * 20_001), job(type=1), job(type="all"), job(options=None), job(options=[]), job(priority=101),
    job(priority=10**40), job(priority=1.5), job(priority="high"), job(job_id=""), job(job_id="a" * 65),
    job(job_id="../x"), job(job_id=7), job(job_id="a\0"), job(job_id="a\n"), job(unknown=1),
    job(options={"quality": "a/" * 50_000}), job(options={"quality": "(" * 300_000}), job(options={"quality": 1080}),
    job(options={"quality": "b[ext~='(']"}), job(options={"quality": "b[ext~='(?:a{99999999999})']"}),
    job(options={"quality": "b[)"}), job(options={"quality": None}), job(options={"quality": "\0"}),
    job(options={"caption_languages": "en"}),
    job(options={"caption_languages": ["../en"]}), job(options={"output_dir": "/\0"}), job(options={"output_dir": "x"}),
    job(options={"output_dir": "/etc/../etc"}), job(options={"output_dir": "~nobody/x"}),
    job(options={"output_dir": "/" + "a" * 5000}), b"1e999", b"NaN", b'{"targets": ["x"], "priority": NaN}',
]  # fmt: skip


async def test_invalid_bodies_of_a_new_job_are_refused(raw: RawHttp) -> None:
    for body in BODIES:
        expect_refusal(await raw.ask("POST", JOBS, body), 400, sent=body[:200])


async def test_invalid_bodies_of_a_cancellation_are_refused(raw: RawHttp) -> None:
    for body in (
        b"{",
        b"[]",
        b"null",
        b'{"video_id": 1}',
        b'{"video_id": "short"}',
        b'{"x": 1}',
        b'{"video_id": "\\u0000"}',
    ):
        expect_refusal(await raw.ask("POST", f"{JOBS}/any/cancel", body), 400)


async def test_an_unknown_job_is_not_found(raw: RawHttp) -> None:
    for name in UNKNOWN_IDS:
        for tail in ("", "/items", "/events"):
            expect_refusal(await raw.ask("GET", f"{JOBS}/{name}{tail}"), 404)
        for action in ACTIONS:
            expect_refusal(await raw.ask("POST", f"{JOBS}/{name}/{action}"), 404)


async def test_paths_that_are_not_utf8_are_refused(raw: RawHttp) -> None:
    for path in (b"/\xff", b"/api/v1/jobs/\xff\xfe", b"/api/v1/jobs/\xed\xa0\x80/items", b"/api/v1/jobs?\xff=\xff"):
        expect_refusal(await raw.ask("GET", path), 400, 404)
    expect_refusal(await raw.ask("POST", b"/api/v1/jobs/\xff/pause"), 400, 404)


async def test_invalid_queries_of_jobs_are_refused(raw: RawHttp) -> None:
    for value in ("0", "-1", "501", "9" * 50, "9" * 5000, "x", "", "%00", "1.5", "%FF", "٣٣٣٣", "null"):
        expect_refusal(await raw.ask("GET", f"{JOBS}?limit={value}"), 400, message="limit")
    for query in (
        "offset=-1", "offset=10000000000", "status=all", "status=", "status=%FF", "status=%ED%A0%80", "status=%00",
        "unknown=1", "%FF=1", "%ED%A0%80=1", "limit=1&limit=2", "limit[]=1", "=1",
    ):  # fmt: skip
        expect_refusal(await raw.ask("GET", f"{JOBS}?{query}"), 400)


async def test_an_invalid_query_of_items_is_refused_before_the_job_is_looked_up(
    raw: RawHttp, jobs: JobsService
) -> None:
    for query in ("limit=0", "limit=1001", "offset=-1", "x=1", "offset=9999999999999999999999"):
        expect_refusal(await raw.ask("GET", f"{JOBS}/any/items?{query}"), 400)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "foo", "CONNECT", "G\0T")


async def test_methods_without_a_route_are_refused(raw: RawHttp, jobs: JobsService) -> None:
    """Check every path of jobs. A method that is not valid HTTP is answered with 400 instead of 405."""
    paths = {re.sub(r"\{\w+\}", "any", route.path) for route in jobs.routes}
    assert len(paths) >= 8
    for path in paths:
        methods = {route.method for route in jobs.routes if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path)}
        for method in sorted(set(METHODS) - methods - {"HEAD"}):  # a response to HEAD has no body
            statuses = {"foo": (400,), "G\0T": (400,), "CONNECT": (400, 404, 405)}.get(method, (405,))
            expect_refusal(await raw.ask(method, path), *statuses, sent=(method, path))


async def test_malformed_http_is_refused(raw: RawHttp) -> None:
    for sent in (
        b"\r\n\r\n\0\0\0\0\r\n\r\n", b"GET /api/v1/jobs HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nA: \0\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n",
    ):  # fmt: skip
        expect_refusal(await raw.send(sent), 400, sent=sent[:200])


async def test_bodies_that_are_too_large_are_refused(raw: RawHttp) -> None:
    large = b'{"targets": ["' + b"x" * 1024**2 + b'"]}'
    for path in (JOBS, f"{JOBS}/any/cancel"):
        expect_refusal(await raw.ask("POST", path, large), 413)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    expect_refusal(await raw.send(CHUNKED.encode(), chunk * 17, b"0\r\n\r\n"), 413)


async def test_decompression_bombs_and_invalid_gzip_bodies_are_refused(raw: RawHttp) -> None:
    bomb = gzip.compress(b" " * 50 * 1024**2)
    assert len(bomb) < 1024**2
    expect_refusal(await raw.ask("POST", JOBS, bomb, "Content-Encoding: gzip"), 400, 413)
    expect_refusal(await raw.ask("POST", JOBS, b"no gzip", "Content-Encoding: gzip"), 400)


async def test_bodies_that_break_off_or_cannot_be_decoded_are_no_errors_of_the_service(
    raw: RawHttp, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody who can connect may send them: an error with a traceback for each would fill the log."""
    broken = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    encoded = f"GET {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nno."
    with capture_logs() as records:

        def counts(event: str, number: int) -> bool:
            return [record["event"] for record in records].count(event) == number

        _reader, writer = await asyncio.open_connection(raw.host, raw.port)
        writer.write(broken.encode())
        await until(lambda: counts("request_received", 1), "the head is received")
        writer.transport.abort()
        await until(lambda: counts("request_completed", 1), "the service notices the end of the connection")
        reader, writer = await asyncio.open_connection(raw.host, raw.port)
        writer.write(encoded.encode())
        await asyncio.wait_for(reader.read(), 60)  # until the service closes the connection
        writer.close()
    assert [record for record in records if record["log_level"] == "error"] == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_chunked_body_is_read_and_validated(raw: RawHttp) -> None:
    """The refusal concerns the content of the body, not its transfer encoding."""
    pieces = [b"1\r\n%c\r\n" % letter for letter in b'{"targets": []}']
    expect_refusal(await raw.send(CHUNKED.encode(), *pieces, b"0\r\n\r\n"), 400, message="targets")


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
async def test_a_body_of_another_content_type_is_refused(raw: RawHttp, kind: str | None) -> None:
    expect_refusal(await raw.ask("POST", JOBS, job(), kind=kind), 400, message="application/json")
    expect_refusal(await raw.ask("POST", f"{JOBS}/any/cancel", b"{}", kind=kind), 400, message="application/json")


async def test_cross_site_requests_that_change_something_are_refused(raw: RawHttp, jobs: JobsService) -> None:
    routes = [r for r in jobs.routes if r.method != "GET"]
    assert len(routes) >= 8
    for route in routes:
        for header in (
            "Origin: https://example.com", "Origin: null", f"Origin: http://{raw.host}", "Origin: http://[",
            f"Origin: http://{raw.host}:{raw.port}.example.com", "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ):  # fmt: skip
            path = route.path.replace("{job_id}", "any")
            expect_refusal(await raw.ask(route.method, path, job(), header), 403, message="another site")


async def test_a_same_origin_request_passes_the_cross_site_check(raw: RawHttp) -> None:
    same_origin = f"Origin: http://{raw.host}:{raw.port}"
    expect_refusal(await raw.ask("POST", f"{JOBS}/any/pause", b"", same_origin, "Sec-Fetch-Site: same-origin"), 404)


@pytest.mark.parametrize("trace", ["", "a b", "x" * 129, "\x80", "a\tb", "ü"])
async def test_an_invalid_trace_id_is_replaced(raw: RawHttp, trace: str) -> None:
    status, body = await raw.ask("GET", JOBS, b"", f"X-Trace-Id: {trace}")
    assert status == 200
    assert len(body.trace_id) == 36
    assert body.trace_id != trace


async def test_concurrent_invalid_requests_are_all_answered(raw: RawHttp) -> None:
    answers = await asyncio.gather(*(raw.ask("POST", JOBS, body) for body in (*BODIES, *BODIES)))
    assert {status for status, _ in answers} == {400}


# --- download -----------------------------------------------------------------------------------------------------

DOWNLOAD = "/api/v1/download/video"


@pytest.fixture
async def download(config: Config, broker: BusSettings, jobs: JobsService) -> AsyncIterator[RawHttp]:
    """A client of download; after the test no job was created, no download started, and the service is healthy."""
    service = DownloadService(config, broker)
    await service.startup()
    async with service.bus.tail(JobCreated) as told:
        yield RawHttp(service.url)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(told), 0.2)
    assert service.parts.offers.asked == 0
    assert service.critical_errors() == []
    assert (await jobs.parts.reader.jobs(JobQuery())).total == 0
    await service.shutdown(5)


def download_body(**changes: Any) -> bytes:
    return json.dumps({"video": VIDEO} | changes).encode()


async def test_invalid_bodies_of_a_download_request_are_refused(download: RawHttp) -> None:
    """Try the invalid bodies of a new job, and those that only a download request refuses."""
    same = [body.replace(b'"targets"', b'"video"') for body in BODIES]
    own = [
        download_body(video=["x"]), download_body(video="PL" + "a" * 30), download_body(video="@somebody"),
        download_body(video="\ud800"), download_body(targets=[VIDEO]), download_body(type="video_download"),
        download_body(job_id="mine"), download_body(priority=101),
        download_body(options={"output_dir": "/\0"}), download_body(options={"quality": "("}),
        download_body(options={"api_key": 7}),
    ]  # fmt: skip
    for body in (*same, *own):
        expect_refusal(await download.ask("POST", DOWNLOAD, body), 400, sent=body[:200])
    expect_refusal(await download.ask("POST", DOWNLOAD, b'{"video": "' + b"x" * 1024**2 + b'"}'), 413)
    expect_refusal(
        await download.ask("POST", DOWNLOAD, download_body(), kind="text/plain"), 400, message="application/json"
    )
    expect_refusal(
        await download.ask("POST", DOWNLOAD, download_body(), "Origin: https://example.com"),
        403,
        message="another site",
    )


async def test_unknown_tasks_and_videos_are_not_found(download: RawHttp) -> None:
    for name in UNKNOWN_IDS:
        expect_refusal(await download.ask("GET", f"/api/v1/download/progress/{name}"), 404, sent=name)
        expect_refusal(await download.ask("POST", f"/api/v1/download/cancel/{name}"), 404, sent=name)
        expect_refusal(await download.ask("GET", f"/api/v1/download/formats/{name}"), 404, sent=name)
    expect_refusal(
        await download.ask("POST", "/api/v1/download/cancel/x", b"{}", "Origin: null"), 403, message="another site"
    )
    for query in ("limit=0", "limit=501", "offset=-1", "state=ended", "limit=1&limit=2", "%FF=1"):
        expect_refusal(await download.ask("GET", f"/api/v1/download/tasks?{query}"), 400, sent=query)
