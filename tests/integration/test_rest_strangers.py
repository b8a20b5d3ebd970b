"""Strangers on the REST of jobs and download: whatever they send, they get a ServiceResponse with a code; the services
live on."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from bus import BusSettings
from services.common.events import JobCreated
from services.common.models import ErrorCode, ServiceResponse
from services.common.settings.load import Config
from services.download.service import DownloadService
from services.jobs.rest_models import JobQuery
from services.jobs.service import JobsService

JOBS = "/api/v1/jobs"
VIDEO = "video000001"
NOBODY = ["nobody", "%00", "a%00b", "%FF%FE", "%ED%A0%80", "..", "%2e%2e%2f", "a" * 2000, "%F0%9F%92%A9", "'--", "1;x"]
CHUNKED = (
    f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ACTIONS = ("cancel", "pause", "resume", "retry")


class Raw:
    """HTTP by hand: what no well-behaved client would send."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname or "", place.port or 0

    async def send(self, *parts: bytes) -> tuple[int, ServiceResponse]:
        """One request on a connection of its own: the status, and the body, which must be a ServiceResponse."""
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
async def raw(jobs: JobsService) -> AsyncIterator[Raw]:
    """Whatever a test sends: at its end nothing was created and the service is well."""
    stranger = Raw(jobs.url)
    yield stranger
    assert (await jobs.parts.reader.jobs(JobQuery())).total == 0
    assert jobs.critical_errors() == []


def refused(answer: tuple[int, ServiceResponse], *statuses: int, says: str = "", sent: object = None) -> None:
    status, body = answer
    assert status in statuses, (sent, body)
    assert not body.success
    assert body.error is not None
    assert body.error.code is ErrorCode.INVALID_REQUEST
    assert body.error.message
    assert says in body.error.message, body.error.message
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
    job(options={"quality": None}), job(options={"quality": "\0"}), job(options={"caption_languages": "en"}),
    job(options={"caption_languages": ["../en"]}), job(options={"output_dir": "/\0"}), job(options={"output_dir": "x"}),
    job(options={"output_dir": "/etc/../etc"}), job(options={"output_dir": "~nobody/x"}),
    job(options={"output_dir": "/" + "a" * 5000}), b"1e999", b"NaN", b'{"targets": ["x"], "priority": NaN}',
]  # fmt: skip


async def test_bad_bodies_of_a_new_job(raw: Raw) -> None:
    for body in BODIES:
        refused(await raw.ask("POST", JOBS, body), 400, sent=body[:200])


async def test_bad_bodies_of_a_cancel(raw: Raw) -> None:
    for body in (
        b"{",
        b"[]",
        b"null",
        b'{"video_id": 1}',
        b'{"video_id": "short"}',
        b'{"x": 1}',
        b'{"video_id": "\\u0000"}',
    ):
        refused(await raw.ask("POST", f"{JOBS}/any/cancel", body), 400)


async def test_a_job_that_nobody_has(raw: Raw) -> None:
    for name in NOBODY:
        for tail in ("", "/items", "/events"):
            refused(await raw.ask("GET", f"{JOBS}/{name}{tail}"), 404)
        for action in ACTIONS:
            refused(await raw.ask("POST", f"{JOBS}/{name}/{action}"), 404)


async def test_bytes_that_are_no_characters(raw: Raw) -> None:
    for path in (b"/\xff", b"/api/v1/jobs/\xff\xfe", b"/api/v1/jobs/\xed\xa0\x80/items", b"/api/v1/jobs?\xff=\xff"):
        refused(await raw.ask("GET", path), 400, 404)
    refused(await raw.ask("POST", b"/api/v1/jobs/\xff/pause"), 400, 404)


async def test_bad_queries(raw: Raw) -> None:
    for value in ("0", "-1", "501", "9" * 50, "9" * 5000, "x", "", "%00", "1.5", "%FF", "٣٣٣٣", "null"):
        refused(await raw.ask("GET", f"{JOBS}?limit={value}"), 400, says="limit")
    for query in (
        "offset=-1", "offset=10000000000", "status=all", "status=", "status=%FF", "status=%ED%A0%80", "status=%00",
        "unknown=1", "%FF=1", "%ED%A0%80=1", "limit=1&limit=2", "limit[]=1", "=1",
    ):  # fmt: skip
        refused(await raw.ask("GET", f"{JOBS}?{query}"), 400)


async def test_bad_queries_of_items(raw: Raw, jobs: JobsService) -> None:
    """Whether the job exists is not looked at before: the query alone is wrong."""
    for query in ("limit=0", "limit=1001", "offset=-1", "x=1", "offset=9999999999999999999999"):
        refused(await raw.ask("GET", f"{JOBS}/any/items?{query}"), 400)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "foo", "CONNECT", "G\0T")


async def test_wrong_methods(raw: Raw, jobs: JobsService) -> None:
    """For every path of jobs: only what a route names. What is no HTTP at all cannot even be read: 400."""
    paths = {route.path.replace("{job_id}", "any") for route in jobs.routes}
    assert len(paths) >= 8
    for path in paths:
        methods = {route.method for route in jobs.routes if re.fullmatch(route.path.replace("{job_id}", "[^/]+"), path)}
        for method in sorted(set(METHODS) - methods - {"HEAD"}):  # an answer to HEAD has no body
            statuses = {"foo": (400,), "G\0T": (400,), "CONNECT": (400, 404, 405)}.get(method, (405,))
            refused(await raw.ask(method, path), *statuses, sent=(method, path))


async def test_what_is_no_http(raw: Raw) -> None:
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
        refused(await raw.send(sent), 400, sent=sent[:200])


async def test_large_bodies(raw: Raw) -> None:
    large = b'{"targets": ["' + b"x" * 1024**2 + b'"]}'
    for path in (JOBS, f"{JOBS}/any/cancel"):
        refused(await raw.ask("POST", path, large), 413)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    refused(await raw.send(CHUNKED.encode(), chunk * 17, b"0\r\n\r\n"), 413)


async def test_compressed_bodies(raw: Raw) -> None:
    bomb = gzip.compress(b" " * 50 * 1024**2)
    assert len(bomb) < 1024**2
    refused(await raw.ask("POST", JOBS, bomb, "Content-Encoding: gzip"), 400, 413)
    refused(await raw.ask("POST", JOBS, b"no gzip", "Content-Encoding: gzip"), 400)


async def test_a_body_in_small_pieces_is_read(raw: Raw) -> None:
    """A chunked body is as good as another: it is refused for what it says, not for how it came."""
    pieces = [b"1\r\n%c\r\n" % letter for letter in b'{"targets": []}']
    refused(await raw.send(CHUNKED.encode(), *pieces, b"0\r\n\r\n"), 400, says="targets")


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
async def test_only_json_is_json(raw: Raw, kind: str | None) -> None:
    refused(await raw.ask("POST", JOBS, job(), kind=kind), 400, says="application/json")
    refused(await raw.ask("POST", f"{JOBS}/any/cancel", b"{}", kind=kind), 400, says="application/json")


async def test_pages_of_other_sites_give_no_orders(raw: Raw, jobs: JobsService) -> None:
    orders = [r for r in jobs.routes if r.method != "GET"]
    assert len(orders) >= 8
    for order in orders:
        for header in (
            "Origin: https://example.com", "Origin: null", f"Origin: http://{raw.host}", "Origin: http://[",
            f"Origin: http://{raw.host}:{raw.port}.example.com", "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ):  # fmt: skip
            path = order.path.replace("{job_id}", "any")
            refused(await raw.ask(order.method, path, job(), header), 403, says="another site")


async def test_a_page_of_its_own_may(raw: Raw) -> None:
    own = f"Origin: http://{raw.host}:{raw.port}"
    refused(await raw.ask("POST", f"{JOBS}/any/pause", b"", own, "Sec-Fetch-Site: same-origin"), 404)


@pytest.mark.parametrize("trace", ["", "a b", "x" * 129, "\x80", "a\tb", "ü"])
async def test_a_trace_that_is_none_is_replaced(raw: Raw, trace: str) -> None:
    status, body = await raw.ask("GET", JOBS, b"", f"X-Trace-Id: {trace}")
    assert status == 200
    assert len(body.trace_id) == 36
    assert body.trace_id != trace


async def test_many_at_once_are_all_answered(raw: Raw) -> None:
    answers = await asyncio.gather(*(raw.ask("POST", JOBS, body) for body in (*BODIES, *BODIES)))
    assert {status for status, _ in answers} == {400}


# --- download -----------------------------------------------------------------------------------------------------

ORDER = "/api/v1/download/video"


@pytest.fixture
async def download(config: Config, broker: BusSettings, jobs: JobsService) -> AsyncIterator[Raw]:
    """Whatever a test sends: at its end no job was made, nothing was begun, and the service is well."""
    service = DownloadService(config, broker)
    await service.startup()
    async with service.bus.tail(JobCreated) as told:
        yield Raw(service.url)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(told), 0.2)
    assert service.parts.offers.asked == 0
    assert service.critical_errors() == []
    assert (await jobs.parts.reader.jobs(JobQuery())).total == 0
    await service.shutdown(5)


def order(**changes: Any) -> bytes:
    return json.dumps({"video": VIDEO} | changes).encode()


async def test_bad_bodies_of_an_order(download: Raw) -> None:
    """What is wrong with a new job is wrong with an order; and so is what only an order does not take."""
    same = [body.replace(b'"targets"', b'"video"') for body in BODIES]
    own = [
        order(video=["x"]), order(video="PL" + "a" * 30), order(video="@somebody"), order(video="\ud800"),
        order(targets=[VIDEO]), order(type="video_download"), order(job_id="mine"), order(priority=101),
        order(options={"output_dir": "/\0"}), order(options={"quality": "("}), order(options={"api_key": 7}),
    ]  # fmt: skip
    for body in (*same, *own):
        refused(await download.ask("POST", ORDER, body), 400, sent=body[:200])
    refused(await download.ask("POST", ORDER, b'{"video": "' + b"x" * 1024**2 + b'"}'), 413)
    refused(await download.ask("POST", ORDER, order(), kind="text/plain"), 400, says="application/json")
    refused(await download.ask("POST", ORDER, order(), "Origin: https://example.com"), 403, says="another site")


async def test_tasks_and_videos_that_nobody_has(download: Raw) -> None:
    for name in NOBODY:
        refused(await download.ask("GET", f"/api/v1/download/progress/{name}"), 404, sent=name)
        refused(await download.ask("POST", f"/api/v1/download/cancel/{name}"), 404, sent=name)
        refused(await download.ask("GET", f"/api/v1/download/formats/{name}"), 404, sent=name)
    refused(await download.ask("POST", "/api/v1/download/cancel/x", b"{}", "Origin: null"), 403, says="another site")
    for query in ("limit=0", "limit=501", "offset=-1", "state=ended", "limit=1&limit=2", "%FF=1"):
        refused(await download.ask("GET", f"/api/v1/download/tasks?{query}"), 400, sent=query)
