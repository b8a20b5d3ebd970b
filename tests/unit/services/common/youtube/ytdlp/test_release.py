"""The installed yt-dlp: its age, whether a newer one is known, and how to update it."""

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.common.youtube.ytdlp import release
from services.common.youtube.ytdlp.release import NewestRelease

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
Index = Callable[..., Awaitable[TestServer]]


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    """Start a release page on 127.0.0.1 that answers with this text."""
    servers: list[TestServer] = []

    async def start(text: str, status: int = 200) -> TestServer:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text=text, status=status, content_type="application/json")

        app = web.Application()
        app.router.add_get("/releases/latest", answer)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        servers.append(server)
        return server

    yield start
    await asyncio.gather(*(server.close() for server in servers))


def url_of(server: TestServer) -> str:
    return str(server.make_url("/releases/latest"))


def index_page(version: str) -> str:
    return json.dumps({"tag_name": version, "name": f"yt-dlp {version}", "draft": False})


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2026.11.20", 10), ("2026.11.20.232900", 10), ("2027.01.01", 0), ("master", None), ("2026.13.45", None)],
)
def test_the_age_is_that_of_the_day_in_the_version(version: str, expected: int | None) -> None:
    assert release.age(version, date(2026, 11, 30)) == expected


def test_versions_are_compared_as_numbers() -> None:
    assert release.is_newer("2026.11.2", "2026.9.30")
    assert release.is_newer("2026.09.30.1", "2026.9.30")
    assert not release.is_newer("2026.09.30", "2026.9.30")


def test_the_update_command_is_that_of_the_installation(tmp_path: Path) -> None:
    venv, pipx = tmp_path / "venv", tmp_path / "pipx" / "venvs" / "ytarchive"
    venv.mkdir()
    pipx.mkdir(parents=True)
    (pipx / "pipx_metadata.json").write_text("{}")
    assert release.installation_command(pipx, image=False) == "pipx runpip ytarchive install -U 'yt-dlp[default]'"
    with_pip = release.installation_command(venv, "/opt/my venv/bin/python", image=False)
    assert with_pip == "'/opt/my venv/bin/python' -m pip install -U 'yt-dlp[default]'"
    assert release.installation_command(venv, image=True).startswith("docker compose build")


def test_in_the_image_the_update_runs_in_a_container() -> None:
    assert release.remedy(image=True).startswith(
        "`ytarchive update` (`docker compose run --rm cli update`), or `docker"
    )


def test_the_oldest_supported_version_is_the_lower_bound_of_the_package() -> None:
    requirement = tomllib.loads((Path(__file__).parents[6] / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"yt-dlp[default]>={release.lowest()}" in requirement


def test_the_advice_names_version_age_newest_and_command(tmp_path: Path) -> None:
    version = release.installed()
    assert version is not None
    days = (NOW.date() - (release.released(version) or date.min)).days
    assert f"yt-dlp {version} ({days} days old) may be out of date" in release.advice(version, tmp_path, NOW)
    release.keep_newest(tmp_path, NewestRelease(version="2099.01.01", asked_at=NOW))
    assert "days old) is out of date: 2099.01.01 exists" in release.advice(version, tmp_path, NOW)
    assert f"Update it: `ytarchive update`, or `{release.installation_command()}`" in release.advice(
        version, tmp_path, NOW
    )
    release.keep_newest(tmp_path, NewestRelease(version=version, asked_at=NOW))
    assert "days old) was the newest on 2026-11-30" in release.advice(version, tmp_path, NOW)


async def test_the_newest_version_is_read_from_the_index(index: Index) -> None:
    found = await release.ask_newest(url_of(await index(index_page("2099.01.01"))))
    assert found is not None
    assert found.version == "2099.01.01"


@pytest.mark.parametrize(
    ("text", "status"),
    [("no JSON", 200), ("{}", 200), (index_page("2099.01.01"), 503), (index_page("\x1b[31m2099"), 200)],
)
async def test_an_index_that_answers_something_else_is_no_error(index: Index, text: str, status: int) -> None:
    assert await release.ask_newest(url_of(await index(text, status))) is None


async def test_an_index_that_does_not_answer_is_no_error(index: Index) -> None:
    server = await index("")
    url = url_of(server)
    await server.close()
    assert await release.ask_newest(url) is None


async def test_the_index_is_asked_once_a_day(index: Index, tmp_path: Path) -> None:
    url = url_of(await index(index_page("2099.01.01")))
    yesterday = datetime.now(UTC) - timedelta(days=1, seconds=1)
    release.keep_newest(tmp_path, NewestRelease(version="2098.01.01", asked_at=yesterday))
    asking = asyncio.create_task(release.ask_daily(url, tmp_path))
    async with asyncio.timeout(20):
        while (known := release.known_newest(tmp_path)) is None or known.version != "2099.01.01":  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.02)
    asking.cancel()
    other = url_of(await index(index_page("2100.01.01")))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(release.ask_daily(other, tmp_path), 0.3)
    assert (release.known_newest(tmp_path) or known).version == "2099.01.01"


def test_a_file_that_cannot_be_read_counts_as_unknown(tmp_path: Path) -> None:
    (tmp_path / "yt-dlp.json").write_text("{")
    assert release.known_newest(tmp_path) is None
