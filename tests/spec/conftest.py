"""One system for all claims that can share it: `ytarchive up` as users have it, and a playlist that it has saved."""

import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ytarchive.emulator import EmulatorClient, sample

PATIENCE = 60.0  # seconds
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
    """A running stack, used from outside: REST, the tree, the command line."""

    cli: Any
    child: Any
    emulator: EmulatorClient
    urls: dict[str, str]
    jobs: dict[str, Json] = field(default_factory=dict)  # by what a test calls it

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

    def save(self, *targets: str, type: str = "playlist_download", **options: Any) -> Json:
        """A job, followed to its end: what GET /jobs/{id} then says."""
        created = self.ask("jobs", "jobs", method="POST", body={"targets": targets, "type": type, "options": options})
        assert created.status == 201, created.body
        job_id = created.data["job_id"]
        told: Json = self.until(lambda: self._ended(job_id))
        return told

    def _ended(self, job_id: str) -> Json | None:
        told: Json = self.ask("jobs", f"jobs/{job_id}").data
        return told if told["job"]["finished_at"] else None

    def until(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < deadline, f"did not come true within {PATIENCE} s"
            time.sleep(0.05)
        return found

    def records(self, **wanted: Any) -> list[Json]:
        """The log records that have these values, of all services, from logs/."""
        files = [path for path in (self.data / "logs").glob("*.jsonl") if not path.name.startswith("events-")]
        lines = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
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
def system(start: Callable[..., System]) -> System:
    """Has saved the demo playlist: ten videos with captions, two that are gone."""
    started = start()
    started.emulator.reset()
    started.jobs["demo"] = started.save(sample.DEMO_PLAYLIST, caption_languages=["en", "de"])
    return started
