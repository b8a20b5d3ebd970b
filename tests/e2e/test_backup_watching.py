"""A backup contains where somebody was in a video."""

import json
import sqlite3
from contextlib import closing
from urllib.request import Request, urlopen

from services.storage.watching import watching_path
from tests.conftest import Cli


def test_watch_states_are_backed_up_and_restored(cli: Cli) -> None:
    up = cli.start("up")
    up.wait_for("Ready.")
    url = next(line.split()[1] for line in up.out.read_text().splitlines() if line.startswith("page"))
    body = json.dumps({"position_seconds": 62.5, "duration_seconds": 600}).encode()
    place = f"{url}/api/v1/storage/watching/abcdefghijk"
    request = Request(place, body, {"Content-Type": "application/json"})  # noqa: S310 - http to loopback
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        assert answer.status == 200
    assert cli("backup", str(cli.home / "kept")).code == 0
    up.process.terminate()
    up.end()
    watching_path(cli.data).unlink()
    assert cli("restore", str(cli.home / "kept")).code == 0
    with closing(sqlite3.connect(watching_path(cli.data))) as connection:
        assert connection.execute("SELECT video_id, position_seconds FROM watching").fetchall() == [
            ("abcdefghijk", 62.5)
        ]
