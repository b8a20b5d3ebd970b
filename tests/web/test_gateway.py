"""One origin: what is forwarded to which service, media with ranges, and who gets in."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from services.common.names import SERVICES
from tests.web.conftest import Served
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="session")
FILE = f"/api/v1/storage/videos/{sample.VIDEO_OK}/files/{sample.VIDEO_OK}.mp4"


@pytest_asyncio.fixture(loop_scope="session")
async def http(held: Served) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(held.url) as session:
        yield session


async def test_paths_lead_to_the_service_that_owns_them(http: aiohttp.ClientSession) -> None:
    for path, key in {
        "jobs": "jobs",
        "registry/services": "services",
        "storage/videos?limit=1": "videos",
        "logs?limit=1": "logs",
        "metadata/quota": "configured",
        "download/tasks": "tasks",
    }.items():
        async with http.get(f"/api/v1/{path}", headers={"X-Trace-Id": "a-trace"}) as answer:
            body = await answer.json()
            assert (answer.status, answer.headers["X-Trace-Id"]) == (200, "a-trace"), path
            assert key in body["data"], body
    for name in SERVICES:
        async with http.get(f"/api/v1/services/{name}/health") as answer:
            assert (await answer.json())["data"]["service"] == name
        async with http.get(f"/api/v1/services/{name}/docs") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")


async def test_errors_of_a_service_and_of_the_gateway_look_alike(http: aiohttp.ClientSession) -> None:
    for path, status, code in [
        ("/api/v1/storage/videos?limit=0", 400, "E007"),
        ("/api/v1/jobs/none", 404, "E007"),
        ("/api/v1/nothing", 404, "E007"),
        ("/api/v1/services/jobs/secrets", 404, "E007"),
        ("/api/v1/services/nobody/health", 404, "E007"),
        ("/assets/none.js", 404, "E007"),
    ]:
        async with http.get(path) as answer:
            assert answer.status == status, path
            body = await answer.json()
            assert (body["success"], body["error"]["code"], bool(body["trace_id"])) == (False, code, True), path
    async with http.get("/..%2f..%2f..%2f..%2fetc%2fpasswd") as answer:
        assert '<div id="page">' in await answer.text()  # the page, which knows no such place
    async with http.post("/api/v1/jobs", data="x=1", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 400
    async with http.put("/api/v1/jobs", json={}) as answer:
        assert (answer.status, "POST" in answer.headers["Allow"]) == (405, True)


async def test_media_are_sent_in_ranges(http: aiohttp.ClientSession) -> None:
    async with http.get(FILE) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
        assert answer.headers["Content-Type"] == "video/mp4"
    async with http.head(FILE) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(whole))
    for header, part in {"bytes=0-9": whole[:10], "bytes=100-": whole[100:], "bytes=-7": whole[-7:]}.items():
        async with http.get(FILE, headers={"Range": header, "If-Range": etag}) as answer:
            assert (answer.status, await answer.read()) == (206, part)
    async with http.get(FILE, headers={"Range": "bytes=0-9", "If-Range": '"another"'}) as answer:
        assert (answer.status, await answer.read()) == (200, whole)
    async with http.get(FILE, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416
    async with http.get(FILE, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304


async def test_other_sites_and_other_names_are_refused(http: aiohttp.ClientSession) -> None:
    for path in ("/", "/api/v1/jobs", FILE, "/api/v1/live"):
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        ):
            async with http.get(path, headers=headers) as answer:
                assert answer.status == 403, (path, headers)
    async with http.post("/api/v1/jobs", json={"targets": ["x"]}, headers={"Sec-Fetch-Site": "same-site"}) as answer:
        assert answer.status == 403
    async with http.get("/library?q=x", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}) as link:
        assert link.status == 200  # a link on another site leads here


async def test_the_page_is_strict_and_its_files_last(http: aiohttp.ClientSession) -> None:
    async with http.get("/v/anything?tab=x") as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()
        assert answer.headers["Cache-Control"] == "no-cache"
    assert "default-src 'none'" in policy
    assert "trusted-types 'none'" in policy
    assert "unsafe" not in policy
    script = page.partition('src="')[2].partition('"')[0]
    async with http.get(script, headers={"Accept-Encoding": "gzip"}) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Encoding"] == "gzip"
        etag = answer.headers["ETag"]
    async with http.get(script, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304


async def messages(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield id, name and data of server-sent events."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        name, _, value = raw.decode().rstrip("\r\n").partition(": ")
        if name in {"id", "event", "data"}:
            fields[name] = value
        elif not name and "data" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


async def test_the_live_stream_tells_all_and_goes_on_where_it_was(held: Served, http: aiohttp.ClientSession) -> None:
    """Metadata alone are asked for: nothing in the archive changes."""
    body = {"targets": [sample.VIDEO_OK], "type": "metadata_only", "options": {"skip_existing": False}}
    async with http.get("/api/v1/live?topics=job") as early:
        stream = messages(early)
        number, name, data = await anext(stream)
        assert (name, data) == ("snapshot", {"running": []})
        async with http.post("/api/v1/jobs", json=body) as answer:
            job = (await answer.json())["data"]
        seen: list[tuple[str, str, Any]] = []
        async for message in stream:
            seen.append(message)
            if message[2].get("type") == "job.completed":
                break
    kinds = [data["type"] for _, _, data in seen]
    assert kinds[0] == "job.created"
    assert {kind.partition(".")[0] for kind in kinds} == {"job"}
    assert {data["trace_id"] for _, _, data in seen} == {job["trace_id"]}
    assert seen[-1][2]["data"]["job"]["status"] == "completed"

    async with http.get("/api/v1/live?topics=job", headers={"Last-Event-ID": seen[1][0]}) as late:
        stream = messages(late)
        assert (await anext(stream))[1] == "resumed"
        again = [await anext(stream) for _ in seen[2:]]
    assert again == seen[2:]

    for last in ("00000000-7", number.partition("-")[0] + "-999999"):
        async with http.get("/api/v1/live", params={"last": last}) as lost:
            assert (await anext(messages(lost)))[1] == "snapshot"


async def test_other_players_get_an_address_that_ends(http: aiohttp.ClientSession, held: Served) -> None:
    async with http.get(FILE) as answer:
        whole = await answer.read()
    async with http.get(f"/api/v1/media/{sample.VIDEO_OK}/link") as answer:
        link = (await answer.json())["data"]
    async with http.get(link["playlist"]) as answer:
        lines = (await answer.text()).splitlines()
        assert lines == ["#EXTM3U", link["url"]]
        assert ".m3u" in answer.headers["Content-Disposition"]
    async with http.get(link["url"], headers={"Range": "bytes=5-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, whole[5:10])
    async with http.head(link["url"]) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(whole))
    other = link["url"].replace(f"{sample.VIDEO_OK}.mp4", f"{sample.VIDEO_OK}.info.json")
    later = link["url"].replace(f"expires={link['expires']}", f"expires={link['expires'] + 1}")
    for wrong in (other, later, link["url"][:-1] + ("0" if link["url"][-1] != "0" else "1")):
        async with http.get(wrong) as answer:
            assert answer.status == 403
    async with http.get(f"/api/v1/media/{sample.VIDEO_DELETED}/link") as answer:
        assert answer.status == 404
