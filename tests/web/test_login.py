"""A page that other machines can reach asks who somebody is."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from services.common.web.limits import WRONG_TOKENS_AT_ONCE
from tests.conftest import Cli
from tests.web.conftest import Served, Visit, serve
from ytarchive.emulator.site import sample

pytestmark = pytest.mark.asyncio(loop_scope="session")
PASSWORD = "correct horse battery staple"  # noqa: S105 - of this test


@pytest.fixture
def opened(make_cli: Callable[..., Cli]) -> Served:
    """A system whose page is bound to all addresses, reached on this machine."""
    cli = make_cli(YTARCHIVE_WEB__HOST="0.0.0.0")  # noqa: S104 - what a login is for
    assert cli("auth", "password", "--stdin", stdin=f"{PASSWORD}\n").code == 0
    served = serve(cli)
    return Served(cli, f"http://127.0.0.1:{served.url.rpartition(':')[2]}")


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_somebody_logs_in_works_and_logs_out_everywhere(opened: Served, visit: Visit) -> None:
    page = await visit(opened, "/library?view=table", allowed={401})
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert not (await Axe().run(page)).response["violations"]
    await page.get_by_label("Password, or an access token").fill("wrong one here")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("This is not the password.")
    await page.get_by_label("Password, or an access token").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{opened.url}/library?view=table")
    await expect(page.get_by_text("Nothing is saved yet")).to_be_visible()
    await expect(page.get_by_role("link", name="Live")).to_be_visible()
    assert await page.evaluate("document.cookie") == ""  # scripts do not see it

    order = """() => fetch('/api/v1/jobs/cleanup', {method: 'POST', headers: {'Content-Type': 'application/json'},
      body: '{"dry_run": true}'}).then((answer) => answer.status)"""
    other = await visit(opened, "/", context=page.context, allowed={401, 403})
    await expect(other.get_by_role("heading", level=1)).to_have_text("Today")
    await page.get_by_role("button", name="Log out everywhere").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert await other.evaluate(order) == 401
    await other.get_by_role("link", name="Library").first.click()
    await expect(other.get_by_role("heading", level=1)).to_have_text("Log in")


async def answer_of(http: aiohttp.ClientSession, method: str, url: str, **arguments: Any) -> tuple[int, Any]:
    async with http.request(method, url, **arguments) as answer:
        return answer.status, await answer.json()


async def test_orders_need_more_than_the_cookie_and_nothing_is_kept_in_clear(
    opened: Served, http: aiohttp.ClientSession
) -> None:
    session, jobs = f"{opened.url}/api/v1/session", f"{opened.url}/api/v1/jobs"
    assert (await answer_of(http, "GET", jobs))[0] == 401
    status, body = await answer_of(http, "GET", session)
    assert (status, body["data"]["needed"], body["data"]["password"]) == (200, True, True)
    async with http.post(session, json={"password": PASSWORD}) as answer:
        assert answer.status == 200
        cookie = answer.cookies["ytarchive_session"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        csrf = (await answer.json())["data"]["csrf"]
    have = {"Cookie": f"ytarchive_session={cookie.value}"}
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 200
    body = {"dry_run": True}
    for headers, wanted in [
        (have, 403),
        (have | {"X-CSRF-Token": "0" * 64}, 403),
        (have | {"X-CSRF-Token": csrf, "Origin": "https://evil.example"}, 403),
        ({"X-CSRF-Token": csrf}, 401),
        (have | {"X-CSRF-Token": csrf}, 200),
    ]:
        assert (await answer_of(http, "POST", f"{jobs}/cleanup", json=body, headers=headers))[0] == wanted, headers

    for wrong in ({}, {"password": PASSWORD, "token": "x"}, {"password": ""}, {"password": "x", "more": 1}):
        assert (await answer_of(http, "POST", session, json=wrong))[0] == 400
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await answer_of(http, "POST", session, data=f"password={PASSWORD}", headers=form))[0] == 400

    auth = opened.cli.data / "auth"
    assert {stat.S_IMODE(path.stat().st_mode) for path in auth.iterdir()} == {0o600}
    everything = b"".join(path.read_bytes() for path in opened.cli.data.rglob("*") if path.is_file())
    for secret in (PASSWORD, cookie.value, csrf):
        assert secret.encode() not in everything

    opened.cli("download", sample.VIDEO_OK)
    _, media = await answer_of(http, "GET", f"{opened.url}/api/v1/media/{sample.VIDEO_OK}/link", headers=have)
    async with http.get(media["data"]["url"]) as answer:  # without a cookie
        assert (answer.status, answer.headers["Content-Type"]) == (200, "video/mp4")

    async with http.get(session, headers=have) as answer:  # whoever comes again stays for 30 more days
        renewed = answer.cookies["ytarchive_session"]
        assert (renewed.value, renewed["max-age"], renewed["httponly"]) == (cookie.value, str(30 * 86_400), True)
    await answer_of(http, "DELETE", session, headers=have | {"X-CSRF-Token": csrf})
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 401
    async with http.get(media["data"]["url"]) as answer:
        assert answer.status == 200  # only this session has ended
    async with http.post(session, json={"password": PASSWORD}) as answer:
        have = {"Cookie": f"ytarchive_session={answer.cookies['ytarchive_session'].value}"}
        have |= {"X-CSRF-Token": (await answer.json())["data"]["csrf"]}
    assert (await answer_of(http, "DELETE", f"{session}?everywhere=true", headers=have))[0] == 200
    async with http.get(media["data"]["url"]) as answer:
        assert answer.status == 403


async def test_tokens_log_in_with_their_scope_and_guesses_are_limited(
    opened: Served, http: aiohttp.ClientSession
) -> None:
    session, jobs = f"{opened.url}/api/v1/session", f"{opened.url}/api/v1/jobs"
    token = json.loads(opened.cli("auth", "token", "add", "tablet", "--json").out)["token"]
    assert (await answer_of(http, "GET", jobs, headers={"Authorization": f"Bearer {token}"}))[0] == 200
    async with http.post(session, json={"token": token}) as answer:
        cookie = answer.cookies["ytarchive_session"].value
        data = (await answer.json())["data"]
    assert data["scope"] == "read"
    have = {"Cookie": f"ytarchive_session={cookie}", "X-CSRF-Token": data["csrf"]}
    status, refused = await answer_of(http, "POST", jobs, json={"targets": ["x"]}, headers=have)
    assert (status, refused["error"]["details"]["reason"]) == (403, "scope")
    assert (await answer_of(http, "GET", f"{opened.url}/api/v1/settings", headers=have))[0] == 403
    assert (await answer_of(http, "DELETE", f"{session}?everywhere=true", headers=have))[0] == 403
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 200
    opened.cli("auth", "token", "revoke", "tablet")
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 401
    async with http.post(session, json={"password": PASSWORD}) as answer:
        have = {"Cookie": f"ytarchive_session={answer.cookies['ytarchive_session'].value}"}
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 200

    assert opened.cli("auth", "password", "--stdin", stdin="another password\n").code == 0  # ends its sessions
    assert (await answer_of(http, "GET", jobs, headers=have))[0] == 401
    guesses = (answer_of(http, "POST", session, json={"password": f"guess {n}"}) for n in range(30))
    statuses = sorted(status for status, _ in await asyncio.gather(*guesses))
    assert statuses[:WRONG_TOKENS_AT_ONCE] == [401] * WRONG_TOKENS_AT_ONCE
    assert statuses[WRONG_TOKENS_AT_ONCE + 3 :] == [429] * (27 - WRONG_TOKENS_AT_ONCE)  # some come back with time
    assert opened.cli("auth", "password", "--stdin", stdin="short\n").code == 2
