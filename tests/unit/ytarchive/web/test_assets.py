"""Without the page everything else works, and it is said how to get it."""

import os
import subprocess
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ytarchive.web.assets import FOLDER, AnyPageQuery, Assets, show

ROOT = Path(__file__).parents[4]


async def test_an_installation_without_the_page_says_how_to_get_it(tmp_path: Path) -> None:
    class Call:
        def __init__(self, request: web.Request) -> None:
            self.raw, self.path = request, dict(request.match_info)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await show(Call(request), AnyPageQuery(), Assets(tmp_path))  # type: ignore[arg-type]  # all that it reads

    application = web.Application()
    application.router.add_get("/{name:.*}", answer)
    async with TestClient(TestServer(application)) as client:
        for path in ("/", "/library"):
            async with client.get(path) as found:
                assert found.status == 503
                assert "make page" in await found.text()


def test_packages_that_cannot_be_had_leave_the_last_build(tmp_path: Path) -> None:
    before = {path.name for path in FOLDER.rglob("*")}
    nowhere = {"DENO_DIR": str(tmp_path), "NPM_CONFIG_REGISTRY": "http://127.0.0.1:9"}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "page" / "build.py")], env=os.environ | nowhere, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "The page was not built: deno bundle" in ran.stderr
    assert "Everything else works without it." in ran.stderr
    assert {path.name for path in FOLDER.rglob("*")} == before
