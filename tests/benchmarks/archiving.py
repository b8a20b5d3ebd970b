"""Measure what archiving costs beside the network, against yt-dlp's command line.

    python -m tests.benchmarks.archiving [--only W2,idle] [--runs 5] [--output FILE]

Both programs archive the same videos from the emulator, one after the other in each round, so that a machine that
becomes slower does so for both. The table shows medians; a ratio is ours divided by yt-dlp's of the same run of this
program. CPU seconds are those of all processes of a command, without the emulator, which is its own process. `PSS` is
the largest proportional memory of these processes. Every saved video is decoded at the end of a round.

The work: W1 one small video, W2 a playlist of 50, W3 twelve videos of 20 MB at 2 MB/s for each connection with twelve
slots, compared with the time of the longest stream on the wire, W4 the playlist of W2 again with nothing new. `cold`:
the command starts and ends all it needs; `attached`: `ytarchive up` runs. The exit code is 1 when a ratio misses its
bar; the bars are those of docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from services.common.names import SERVICES
from services.common.youtube.tools import find_ffmpeg
from tests.benchmarks import event_path
from tests.fixtures.process_tree import pss, tree
from tests.fixtures.processes import INHERITED_VARIABLES, ending_with_parent
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.site import sample
from ytarchive.running_stack import StackInfo

PLAYLIST, VIDEOS = "PLbench00000000000000000000000050", 50
LARGE = tuple(f"bench-lg{number:03d}" for number in range(12))
LARGE_SIZE, RATE, SLOTS = 20 * 1000**2, 2 * 1000**2, 12
IDLE_SECONDS = 20.0
_POLL = 0.05
_BIN = Path(sys.executable).parent
_FORMAT = "bv*[height<=720]+ba"


@dataclass(frozen=True)
class Cost:
    """One run of a command. Seconds, CPU seconds, MiB."""

    seconds: float
    cpu: float
    pss: float


@dataclass(frozen=True)
class Bar:
    """The largest ratio to accept, of the time and of the CPU time; and the one to aim at."""

    time: float
    aim: float
    cpu: float | None = None


def median(costs: Sequence[Cost], what: str) -> float:
    return float(statistics.median(getattr(cost, what) for cost in costs))


@dataclass
class Row:
    """The runs of one kind of work, and how many requests each program made in a round."""

    name: str
    bar: Bar
    ours: list[Cost] = field(default_factory=list)
    theirs: list[Cost] = field(default_factory=list)
    requests: dict[str, dict[str, int]] = field(default_factory=dict)

    def ratio(self, what: str) -> float:
        return median(self.ours, what) / median(self.theirs, what)

    @property
    def passed(self) -> bool:
        cpu = self.bar.cpu is None or self.ratio("cpu") <= self.bar.cpu
        return cpu and self.ratio("seconds") <= self.bar.time


# --- processes ----------------------------------------------------------------------------------------------------


def memory(pid: int) -> float:
    """Return the PSS of a process and its descendants in MiB."""
    kib = 0
    for one in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            kib += pss(one)
    return kib / 1024


def processor_time(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, ended ones included."""
    ticks = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def run(command: Sequence[str], env: dict[str, str], *, sample_memory: bool = False) -> Cost:
    """Run a command to its end. Raise RuntimeError, with its output, when it fails."""
    with tempfile.TemporaryFile() as out:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        peak, ended = [0.0], threading.Event()

        def watch() -> None:
            while not ended.wait(_POLL):
                peak[0] = max(peak[0], memory(process.pid))

        watching = threading.Thread(target=watch)
        if sample_memory:
            watching.start()
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        if sample_memory:
            watching.join()
        if process.returncode:
            out.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {out.read().decode()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak[0])


# --- the two programs ---------------------------------------------------------------------------------------------


class Ours:
    """The command line of ytarchive, with a home of its own."""

    def __init__(self, home: Path, emulator: EmulatorClient, **more: str) -> None:
        self.home = home
        home.mkdir(parents=True)
        ports = {f"YTARCHIVE_SERVICES__{name.upper()}__PORT": "0" for name in SERVICES} | {"YTARCHIVE_WEB__PORT": "0"}
        self.env = (
            environment(home)
            | ports
            | more
            | {
                "YTARCHIVE_STORAGE__MIN_FREE": "0",
                "YTARCHIVE_UPDATES__CHECK": "false",
                "YTARCHIVE_YOUTUBE__PROXY": emulator.proxy_url,
                "YTARCHIVE_YOUTUBE__CA_FILE": str(emulator.ca_file),
            }
        )

    def download(self, *targets: str, sample_memory: bool = False) -> Cost:
        command = [str(_BIN / "ytarchive"), "download", "--quality", "720p", *targets]
        return run(command, self.env, sample_memory=sample_memory)

    @property
    def stack_file(self) -> Path:
        return self.home / ".ytarchive" / "data" / "run" / "stack.json"

    def files(self) -> list[Path]:
        return list((self.home / "YTArchive").glob("videos/*/*.mp4"))

    @contextmanager
    def up(self) -> Iterator[tuple[int, float]]:
        """Run `ytarchive up`. Yield its pid, and the seconds until all services answered."""
        begun = time.monotonic()
        command = ending_with_parent([str(_BIN / "ytarchive"), "up"])
        with (
            (self.home / "up.log").open("wb") as log,
            subprocess.Popen(command, env=self.env, stdout=log, stderr=log) as up,
        ):
            while not self.stack_file.exists():
                if up.poll() is not None:
                    raise RuntimeError((self.home / "up.log").read_text())
                time.sleep(0.01)
            yield up.pid, time.monotonic() - begun
            up.send_signal(signal.SIGTERM)


class Theirs:
    """yt-dlp's command line, asked for the same files."""

    def __init__(self, home: Path, emulator: EmulatorClient) -> None:
        self.home = home
        home.mkdir(parents=True)
        self.env = environment(home) | {"SSL_CERT_FILE": str(emulator.ca_file)}
        self._proxy = emulator.proxy_url

    def download(self, *targets: str, sample_memory: bool = False) -> Cost:
        command = [
            *(str(_BIN / "yt-dlp"), "--quiet", "--ignore-config", "--compat-options", "no-certifi"),
            *("--proxy", self._proxy, "--ffmpeg-location", str(find_ffmpeg())),
            *("-f", _FORMAT, "--merge-output-format", "mp4", "--write-info-json"),
            *("--write-subs", "--sub-langs", "en", "--write-thumbnail", "--convert-thumbnails", "jpg"),
            *("--download-archive", str(self.home / "archive.txt")),
            *("-o", str(self.home / "%(id)s" / "%(id)s.%(ext)s")),
            *map(url_of, targets),
        ]
        return run(command, self.env, sample_memory=sample_memory)

    def files(self) -> list[Path]:
        return list(self.home.glob("*/*.mp4"))


Program = Ours | Theirs


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return kept | {"HOME": str(home), "PATH": f"{_BIN}:{kept['PATH']}"}


def url_of(target: str) -> str:
    kind = "playlist?list=" if target.startswith("PL") else "watch?v="
    return f"https://www.youtube.com/{kind}{target}"


# --- the work -----------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, folder: Path, emulator: EmulatorClient, runs: int) -> None:
        self._folder = folder
        self._emulator = emulator
        self._runs = runs
        self._number = 0

    def homes(self, **settings: str) -> tuple[Ours, Theirs]:
        self._number += 1
        folder = self._folder / str(self._number)
        return Ours(folder / "ours", self._emulator, **settings), Theirs(folder / "theirs", self._emulator)

    def compare(self, row: Row, ours: Ours, theirs: Theirs, targets: Sequence[str], *, memory: bool = False) -> None:
        """Run both, each first in every second round, and note costs and requests."""
        programs: list[tuple[Program, list[Cost]]] = [(ours, row.ours), (theirs, row.theirs)]
        if len(row.ours) % 2:
            programs.reverse()
        for program, costs in programs:
            since = self._emulator.last()
            costs.append(program.download(*targets, sample_memory=memory))
            asked = Counter(str(request["kind"]) for request in self._emulator.log(since=since))
            row.requests["ours" if program is ours else "yt-dlp"] = dict(asked)

    def one_video(self, *, attached: bool) -> Row:
        bar = Bar(0.9, 0.6) if attached else Bar(1.8, 1.4)
        row = Row(f"W1 one video, {'attached' if attached else 'cold'}", bar)
        ours, theirs = self.homes()
        warm(ours, theirs)
        with running(ours, attached):
            for number in range(self._runs):
                self.compare(row, ours, theirs, [f"upload-{number + 1:04d}"])
        decode(ours, self._runs + 1)
        return row

    def playlist(self) -> Row:
        row = Row("W2 playlist of 50, cold", Bar(0.45, 0.36, cpu=0.75))
        for _ in range(self._runs):
            ours, theirs = self.homes()
            self.compare(row, ours, theirs, [PLAYLIST], memory=True)
            decode(ours, VIDEOS)
            decode(theirs, VIDEOS)
            shutil.rmtree(ours.home.parent)
        return row

    def large(self) -> Row:
        row = Row("W3 twelve of 20 MB, 2 MB/s each", Bar(1.25, 1.15))
        fault = self._emulator.add_fault("media", "throttle", rate=RATE)
        for _ in range(min(3, self._runs)):
            ours, _theirs = self.homes(YTARCHIVE_DOWNLOAD__SLOTS=str(SLOTS))
            since = self._emulator.last()
            row.ours.append(ours.download(*LARGE, sample_memory=True))
            row.theirs.append(Cost(self._wire(since), 0.0, 0.0))
            decode(ours, len(LARGE))
            shutil.rmtree(ours.home.parent)
        self._emulator.remove_fault(fault)
        return row

    def _wire(self, since: int) -> float:
        """Return the seconds that the longest stream needs: each has a connection of its own."""
        sent: Counter[tuple[str, str]] = Counter()
        for request in self._emulator.log(kind="media", since=since):
            sent[request["video_id"], request["query"]["itag"]] += request["bytes_sent"]
        return max(sent.values()) / RATE

    def again(self, *, attached: bool) -> Row:
        bar = Bar(1.2, 0.9) if attached else Bar(2.5, 1.8)
        row = Row(f"W4 playlist again, {'attached' if attached else 'cold'}", bar)
        ours, theirs = self.homes()
        ours.download(PLAYLIST)
        theirs.download(PLAYLIST)
        with running(ours, attached):
            for _ in range(self._runs):
                self.compare(row, ours, theirs, [PLAYLIST])
        return row

    def idle(self) -> dict[str, float]:
        """Return what five services and the broker cost while nothing happens."""
        ours, theirs = self.homes()
        warm(ours, theirs)
        with ours.up() as (pid, ready):
            time.sleep(5.0)
            begun, before = time.monotonic(), processor_time(pid)
            time.sleep(IDLE_SECONDS)
            share = (processor_time(pid) - before) / (time.monotonic() - begun)
            return {
                "pss_mib": round(memory(pid), 1),
                "cpu_percent": round(100 * share, 2),
                "ready_seconds": round(ready, 2),
            }

    def event_path(self) -> dict[str, float]:
        """Return what events cost per video of W2 (tests.benchmarks.event_path): the least of the runs."""
        runs: list[dict[str, float]] = []
        for number in range(self._runs + 1):
            ours, theirs = self.homes()
            warm(ours, theirs)
            with ours.up() as (pid, _ready):
                time.sleep(1.0)
                info = StackInfo.model_validate_json(ours.stack_file.read_bytes())
                if number < self._runs:
                    runs.append(asyncio.run(event_path.archive(info, PLAYLIST, self._emulator)))
                else:
                    synced = event_path.syncs(info, list(tree(pid)), PLAYLIST, ours.home)
        return {name: round(min(run[name] for run in runs), 1) for name in runs[0]} | synced

    def start(self) -> dict[str, float]:
        """Return the seconds of commands that only look."""
        ours, _theirs = self.homes()
        times: dict[str, float] = {}
        for words in ("version", "jobs list"):
            command = [str(_BIN / "ytarchive"), *words.split()]
            times[words] = round(statistics.median(run(command, ours.env).seconds for _ in range(self._runs + 1)), 2)
        return times


@contextmanager
def running(ours: Ours, attached: bool) -> Iterator[None]:
    if not attached:
        yield
        return
    with ours.up():
        yield


def warm(ours: Ours, theirs: Theirs) -> None:
    """Create the files of the first start, and bytecode."""
    ours.download(sample.VIDEO_OK)
    theirs.download(sample.VIDEO_OK)


def decode(program: Program, expected: int) -> None:
    """Raise RuntimeError unless all videos are there and decode without an error."""
    files = program.files()
    if len(files) != expected:
        raise RuntimeError(f"{program.home}: {len(files)} of {expected} videos")
    for path in files:
        ran = subprocess.run(
            [str(find_ffmpeg()), "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True, check=False
        )
        if ran.returncode or ran.stderr:
            raise RuntimeError(f"{path} does not decode: {ran.stderr.decode()[-500:]}")


# --- the report ---------------------------------------------------------------------------------------------------


def prepare(emulator: EmulatorClient) -> None:
    emulator.put_playlist(PLAYLIST, count=VIDEOS, channel=sample.CHANNEL)
    for video_id in LARGE:
        emulator.put_video(video_id, title=f"Large {video_id}", channel=sample.CHANNEL, size=LARGE_SIZE)


def show(rows: Sequence[Row]) -> None:
    columns = ("yt-dlp", "ours", "ratio", "bar", "aim", "CPU", "ratio", "MiB")
    say(f"{'work':<34}" + "".join(f"{column:>8}" for column in columns))
    for row in rows:
        times = (median(row.theirs, "seconds"), median(row.ours, "seconds"), row.ratio("seconds"))
        cells = [f"{number:.2f}" for number in (*times, row.bar.time, row.bar.aim, median(row.ours, "cpu"))]
        cells += [f"{row.ratio('cpu'):.2f}" if median(row.theirs, "cpu") else "", f"{median(row.ours, 'pss'):.0f}"]
        say(f"{row.name:<34}" + "".join(f"{cell:>8}" for cell in cells) + ("" if row.passed else "  misses its bar"))
        for program, asked in row.requests.items():
            say(f"  requests of {program}: {', '.join(f'{kind} {count}' for kind, count in sorted(asked.items()))}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="some of W1, W2, W3, W4, idle, start, events")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(".bench/archiving.json"))
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))

    def chosen(name: str) -> bool:
        return not wanted or name in wanted

    with tempfile.TemporaryDirectory(prefix="bench-") as folder, emulator_process() as emulator:
        prepare(emulator)
        bench = Bench(Path(folder), emulator, options.runs)
        work: list[tuple[str, Callable[[], Row]]] = [
            ("W1", lambda: bench.one_video(attached=False)),
            ("W1", lambda: bench.one_video(attached=True)),
            ("W2", bench.playlist),
            ("W3", bench.large),
            ("W4", lambda: bench.again(attached=False)),
            ("W4", lambda: bench.again(attached=True)),
        ]
        rows = [measure() for name, measure in work if chosen(name)]
        figures = (("idle", bench.idle), ("start", bench.start), ("events", bench.event_path))
        more = {name: call() for name, call in figures if chosen(name)}
    show(rows)
    for name, values in more.items():
        say(f"{name}: {values}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"at": datetime.now(UTC).isoformat(), "rows": [asdict(row) for row in rows], **more}
    options.output.write_text(json.dumps(report, indent=2))
    return int(not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
