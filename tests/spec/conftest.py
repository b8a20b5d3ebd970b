"""One system for all claims that can share it: `ytarchive up` as users have it, and a playlist that it has saved."""

import asyncio
import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.fixtures.waiting import until
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What REST said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found

    @property
    def data(self) -> Any:
        return self.json["data"]


@dataclass
class System:
    """A running stack, used from outside: REST, the bus, the tree, the command line."""

    cli: Any
    child: Any
    emulator: EmulatorClient
    urls: dict[str, str]
    demo: Json | None = None

    @property
    def archive(self) -> Path:
        return Path(self.cli.archive)

    @property
    def data(self) -> Path:
        return Path(self.cli.data)

    def ask(
        self, service: str, path: str, *, method: str = "GET", body: Any = None, headers: Json | None = None
    ) -> Answer:
        """`path` below /api/v1/, or from the root when it begins with a slash."""
        url = self.urls[service] + (path if path.startswith("/") else f"/api/v1/{path}")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        said = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(url, data=raw, method=method, headers=said)  # noqa: S310 - http, ours
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - as above
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def begin(self, *targets: str, type: str = "playlist_download", **options: Any) -> str:
        """A new job; its id."""
        created = self.ask("jobs", "jobs", method="POST", body={"targets": targets, "type": type, "options": options})
        assert created.status == 201, created.body
        return str(created.data["job_id"])

    def save(self, *targets: str, type: str = "playlist_download", **options: Any) -> Json:
        """A job, followed to its end: what GET /jobs/{id} then says."""
        return self.ended(self.begin(*targets, type=type, **options))

    def ended(self, job_id: str) -> Json:
        def look() -> Json | None:
            told: Json = self.ask("jobs", f"jobs/{job_id}").data
            return told if told["job"]["finished_at"] else None

        told: Json = until(look)
        return told

    def overhear(self, *subjects: str, during: Callable[[list[Json]], Any]) -> list[Json]:
        """The envelopes on these subjects while something is done, as a plain client of the broker sees them, each
        with its subject and the (monotonic) second in which it came. `during` gets the list as it grows."""
        return asyncio.run(self._overhear(subjects, during))

    async def _overhear(self, subjects: tuple[str, ...], during: Callable[[list[Json]], Any]) -> list[Json]:
        stack = json.loads((self.data / "run" / "stack.json").read_text())
        client = await nats.connect(stack["nats_url"], token=stack["nats_token"])
        heard: list[Json] = []

        async def hear(message: Any) -> None:
            heard.append({**json.loads(message.data), "subject": message.subject, "at": time.monotonic()})

        for subject in subjects:
            await client.subscribe(subject, cb=hear)
        await client.flush()
        await asyncio.to_thread(during, heard)
        await client.flush()  # what was said before is here now
        await client.close()
        return heard

    def stop(self) -> Any:
        """End it as `kill` does; what it did."""
        self.child.process.terminate()
        return self.child.end()

    def records(self, **wanted: Any) -> list[Json]:
        """The log records that have these values, of all services, from logs/."""
        files = [path for path in (self.data / "logs").glob("*.jsonl") if not path.name.startswith("events-")]
        whole = [path.read_bytes().rpartition(b"\n")[0] for path in files]  # the last line may be on its way
        lines = [json.loads(line) for text in whole for line in text.splitlines()]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def rows(self, query: str, *values: Any) -> list[Any]:
        """From jobs.db."""
        with closing(sqlite3.connect(f"file:{self.data}/jobs/jobs.db?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()


@pytest.fixture(scope="session")
def start(
    cli_at: Callable[..., Any], emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., System]:
    """`start(**settings)`: another system, with variables of its own; it ends with the session."""

    def begin(**settings: str) -> System:
        settings = {"YTARCHIVE_YOUTUBE__API_ENDPOINT": emulator_child.api_endpoint} | settings
        cli = cli_at(tmp_path_factory.mktemp("system") / "home", **settings)
        child = cli.start("up")
        child.wait_for("Ready.")
        urls = json.loads((cli.data / "run" / "stack.json").read_text())["services"]
        return System(cli, child, emulator_child, urls)

    return begin


@pytest.fixture(scope="session")
def system(start: Callable[..., System], request: pytest.FixtureRequest) -> System:
    """Where a test of this session asks for `demo`, it is saved before anything else, so that nothing of it is held."""
    started = start()
    started.emulator.reset()
    if any("demo" in getattr(item, "fixturenames", ()) for item in request.session.items):
        started.demo = started.save(sample.DEMO_PLAYLIST, caption_languages=["en", "de"])
    return started


@pytest.fixture(scope="session")
def demo(system: System) -> Json:
    """The job that saved the demo playlist: ten videos with captions, two that are gone."""
    assert system.demo is not None
    return system.demo
