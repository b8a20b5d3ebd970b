"""A long run: do memory, open files, children and the broker's store stay level while thousands of videos are saved?

    python -m tests.benchmarks.soak --videos 5000

Prints a row per 1,000 videos; the exit code is 1 when a value at the end exceeds that at 1,000 by more than a tenth.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from tests.fixtures.process_tree import pss, tree
from tests.fixtures.processes import INHERITED_VARIABLES, ending_with_parent
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.site import sample

_TOLERANCE = 1.1
_STEP = 1_000


@dataclass(frozen=True)
class Sample:
    """The whole process tree: PSS in MiB, open files, processes; the broker's store in MiB."""

    videos: int
    pss: float
    files: int
    processes: int
    store: float


def measure(pid: int, videos: int, store: Path) -> Sample:
    memory, files, processes = 0, 0, 0
    for one in tree(pid):
        try:
            memory += pss(one)
            files += sum(1 for _ in Path(f"/proc/{one}/fd").iterdir())
        except FileNotFoundError:  # it has ended
            continue
        processes += 1
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return Sample(videos, round(memory / 1024, 1), files, processes, round(size / 1024**2, 1))


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
        return json.load(answer)["data"]


def run(videos: int, home: Path, emulator: EmulatorClient) -> list[Sample]:
    env = {
        **{key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ},
        "HOME": str(home),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_YOUTUBE__PROXY": emulator.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator.ca_file),
        "YTARCHIVE_NATS__EVENTS_MAX_BYTES": str(16 * 1024**2),
        "YTARCHIVE_NATS__LOGS_MAX_BYTES": str(2 * 1024**2),
        **{f"YTARCHIVE_SERVICES__{name}__PORT": "0" for name in ("JOBS", "METADATA", "DOWNLOAD", "STORAGE", "LOGGING")},
    }
    command = ending_with_parent([sys.executable, "-m", "ytarchive", "up"])
    with (home / "up.log").open("wb") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as up:
        info = home / ".ytarchive" / "data" / "run" / "stack.json"
        while not info.exists():
            time.sleep(0.1)
        jobs = f"{json.loads(info.read_text())['services']['jobs']}/api/v1/jobs"
        playlists = [f"PLsoak{number:028d}" for number in range(videos // 500)]
        for playlist in playlists:
            emulator.put_playlist(playlist, count=500, channel=sample.CHANNEL)
        options = {"quality": "144p", "include_captions": False}
        job_id = call(jobs, {"targets": playlists, "options": options})["job_id"]
        samples: list[Sample] = []
        while True:
            job = call(f"{jobs}/{job_id}")["job"]
            done = job["counts"]["total"] - job["counts"]["open"]
            if done >= _STEP * (len(samples) + 1) or job["finished_at"]:
                samples.append(measure(up.pid, done, info.parent.parent / "jobs" / "nats"))
                print(*astuple(samples[-1]), sep="\t", flush=True)  # noqa: T201 - the result
                emulator.clear_log()
            if job["finished_at"]:
                break
            time.sleep(2.0)
        print(job["status"], job["counts"], flush=True)  # noqa: T201 - the result
        up.send_signal(signal.SIGTERM)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=5_000)
    options = parser.parse_args()
    print(*(field.name for field in fields(Sample)), sep="\t")  # noqa: T201 - the result
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, emulator_process() as emulator:
        samples = run(options.videos, Path(folder), emulator)
    first, last = samples[0], samples[-1]
    grown = [
        field.name
        for field in fields(Sample)[1:]
        if getattr(last, field.name) > _TOLERANCE * max(1, getattr(first, field.name))
    ]
    print("level" if not grown else f"grown: {', '.join(grown)}")  # noqa: T201 - the result
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
