"""A stack from `ytarchive up` that the tests of the specification share, and a playlist that it has saved."""

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
    """A REST response."""

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
    """A running stack, used from outside: through REST, the bus, the archive tree and the command line."""

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

    def request(
        self, service: str, path: str, *, method: str = "GET", body: Any = None, headers: Json | None = None
    ) -> Answer:
        """Send a request. `path` is relative to /api/v1/, or absolute if it begins with a slash."""
        url = self.urls[service] + (path if path.startswith("/") else f"/api/v1/{path}")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent_headers = {"Content-Type": "application/json", **(headers or {})}
        sent = urllib.request.Request(url, data=raw, method=method, headers=sent_headers)  # noqa: S310 - http, ours
        try:
            with urllib.request.urlopen(sent, timeout=30) as response:  # noqa: S310 - as above
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def create_job(self, *targets: str, type: str = "playlist_download", **options: Any) -> str:
        """Create a job; return its id."""
        created = self.request(
            "jobs", "jobs", method="POST", body={"targets": targets, "type": type, "options": options}
        )
        assert created.status == 201, created.body
        return str(created.data["job_id"])

    def run_job(self, *targets: str, type: str = "playlist_download", **options: Any) -> Json:
        """Create a job and wait for its end; return the final GET /jobs/{id}."""
        return self.wait_for_end(self.create_job(*targets, type=type, **options))

    def wait_for_end(self, job_id: str) -> Json:
        def look() -> Json | None:
            result: Json = self.request("jobs", f"jobs/{job_id}").data
            return result if result["job"]["finished_at"] else None

        result: Json = until(look)
        return result

    def record_events(self, *subjects: str, during: Callable[[list[Json]], Any]) -> list[Json]:
        """Return the envelopes that a plain NATS client receives on these subjects while `during` runs, each with its
        subject and its time of arrival (monotonic seconds). `during` is called with the growing list."""
        return asyncio.run(self._record_events(subjects, during))

    async def _record_events(self, subjects: tuple[str, ...], during: Callable[[list[Json]], Any]) -> list[Json]:
        stack = json.loads((self.data / "run" / "stack.json").read_text())
        client = await nats.connect(stack["nats_url"], token=stack["nats_token"])
        received: list[Json] = []

        async def receive(message: Any) -> None:
            received.append({**json.loads(message.data), "subject": message.subject, "at": time.monotonic()})

        for subject in subjects:
            await client.subscribe(subject, cb=receive)
        await client.flush()
        await asyncio.to_thread(during, received)
        await client.flush()  # everything published before has arrived now
        await client.close()
        return received

    def stop(self) -> Any:
        """Stop the stack with SIGTERM; return its exit code and output."""
        self.child.process.terminate()
        return self.child.end()

    def log_records(self, **wanted: Any) -> list[Json]:
        """Return the log records of all services in logs/ that have these values."""
        files = [path for path in (self.data / "logs").glob("*.jsonl") if not path.name.startswith("events-")]
        whole = [path.read_bytes().rpartition(b"\n")[0] for path in files]  # the last line may be incomplete
        lines = [json.loads(line) for text in whole for line in text.splitlines()]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def query_jobs(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query on jobs.db."""
        with closing(sqlite3.connect(f"file:{self.data}/jobs/jobs.db?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()


@pytest.fixture(scope="session")
def start(
    cli_at: Callable[..., Any], emulator_child: EmulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., System]:
    """`start(**settings)` starts another stack with these environment variables; it ends with the session."""

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
    """Return the shared stack. If a test of this session uses `demo`, it is saved first, before another test archives
    one of its videos."""
    started = start()
    started.emulator.reset()
    if any("demo" in getattr(item, "fixturenames", ()) for item in request.session.items):
        started.demo = started.run_job(sample.DEMO_PLAYLIST, caption_languages=["en", "de"])
    return started


@pytest.fixture(scope="session")
def demo(system: System) -> Json:
    """Return the job that saved the demo playlist: ten videos with captions, two unavailable ones."""
    assert system.demo is not None
    return system.demo
