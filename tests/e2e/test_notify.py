"""`[notify]`: a message of the running system reaches somebody's address; `notify test` says which address works."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.conftest import Cli
from tests.fixtures.waiting import until
from ytarchive.emulator.site import sample

SECRET = "s3cret-of-mine"  # noqa: S105 - of this test


@pytest.fixture
def phone() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An address of Apprise, and the messages that came to it."""
    messages: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://user:{SECRET}@127.0.0.1:{server.server_port}/", messages
    server.shutdown()
    server.server_close()


def test_every_address_is_tried(make_cli: Callable[..., Cli], phone: tuple[str, list[dict[str, str]]]) -> None:
    url, messages = phone
    cli = make_cli(YTARCHIVE_NOTIFY__URLS=json.dumps([url, f"json://user:{SECRET}@127.0.0.1:9/", "nonsense"]))
    ran = cli("notify", "test", "--json")
    assert ran.code == 1, ran.out + ran.err
    assert "addresses" in ran.out, ran.out + ran.err
    assert json.loads(ran.out)["addresses"] == [
        {"name": "1. json", "ok": True}, {"name": "2. json", "ok": False}, {"name": "3. no address", "ok": False},
    ]  # fmt: skip
    assert [message["title"] for message in messages] == ["YTArchive: a test"]
    shown = cli("config", "show")
    for output in (ran.out, ran.err, cli("notify", "test").out, shown.out):
        assert SECRET not in output


def test_no_address_is_said(cli: Cli) -> None:
    ran = cli("notify", "test")
    assert (ran.code, "set [notify] urls" in ran.err) == (2, True)


def test_damage_is_told_at_once(make_cli: Callable[..., Cli], phone: tuple[str, list[dict[str, str]]]) -> None:
    url, messages = phone
    cli = make_cli(YTARCHIVE_NOTIFY__URLS=json.dumps([url]))
    assert cli("download", sample.VIDEO_OK).code == 0
    up = cli.start("up")
    up.wait_for("Ready.")
    content = bytearray(cli.mp4(sample.VIDEO_OK).read_bytes())
    content[100] ^= 1
    cli.mp4(sample.VIDEO_OK).write_bytes(content)
    cli("storage", "verify", sample.VIDEO_OK)
    until(lambda: messages or None, "a message")
    assert messages[0]["title"] == "YTArchive: A file of the archive is damaged"
    assert sample.VIDEO_OK in messages[0]["message"]
    for path in cli.data.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
