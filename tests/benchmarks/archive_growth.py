"""Measure what the archive's index costs at several sizes: `python -m tests.benchmarks.archive_growth`.

    [--sizes 10000,50000,200000] [--only search,pages,filters,stats,rescan,start,size] [--keep FOLDER]

Each size is an archive of archive_world.py; with `--keep` it stays in FOLDER/{size}, and is used again. Times are the
least of three runs, so that other load counts little; of many questions the 95th percentile. The bars are those of
docs/performance.md, for 200,000 videos. The exit code is 1 when the largest size misses one.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from bus import BusSettings
from bus.embedded.server import EmbeddedServer
from services.common.settings.load import Config, Storage
from services.common.settings.sections import Endpoint, Services
from services.storage.archive.locks import NamedLocks
from services.storage.index.catalogue import Catalogue
from services.storage.index.fts import TextIndex
from services.storage.index.indexer import Indexer
from services.storage.index.queries import VideoQuery
from services.storage.index.roots import ArchiveRoots
from services.storage.index.schema import catalogue_path, open_catalogue
from services.storage.index.search import SearchQuery
from services.storage.offline import OfflineStorage
from services.storage.service import StorageService
from tests.benchmarks.archive_world import Language, World

PARTS = ("search", "pages", "filters", "stats", "rescan", "start", "size")
COMMON_WORDS = 20
RUNS = 3


@dataclass(frozen=True)
class Figure:
    """`bar`: the most that is allowed, or with `least` the least."""

    value: float
    unit: str
    bar: float | None = None
    least: bool = False

    @property
    def missed(self) -> bool:
        return self.bar is not None and (self.value < self.bar if self.least else self.value > self.bar)


@dataclass
class Bench:
    folder: Path
    size: int
    figures: dict[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        any_port = Endpoint(port=0)
        self.config = Config(
            storage=Storage(base_path=self.folder / "archive", base_data_dir=self.folder / "data"),
            services=Services(storage=any_port),
        )
        self.offline = OfflineStorage(self.config)

    async def fill(self) -> None:
        """Make the archive, unless an earlier run has left it complete."""
        complete = self.folder / "complete"
        if complete.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        database = open_catalogue(self.config.storage.base_data_dir)
        await World(self.config.storage).fill(Catalogue(database), self.size)
        database.close()
        complete.touch()

    # --- what is measured ---------------------------------------------------------------------------------------------

    async def search(self) -> None:
        words = sorted(Language(1).words, key=len)
        kinds = {
            "a common word": [words[n] for n in range(0, 100, 5)],
            "two common words": [f"{words[n]} {words[n + 1]}" for n in range(0, 100, 5)],
            "a rare word": [words[n] for n in range(20_000, 40_000, 1_000)],
            "a phrase": [f'"{words[n]} {words[n + 1]}"' for n in range(0, 100, 5)],
            "one letter and *": [f"{letter}*" for letter in "bcdfghjklm"],
            "two letters and *": [f"{words[n][:2]}*" for n in range(0, 100, 5)],
            "three letters and *": [f"{words[n][:3]}*" for n in range(1_000, 2_000, 50)],
            "a common word in a channel": [f"{words[n]}|Channel {n}" for n in range(0, 100, 5)],
            "a word without another": [f"{words[n]} -{words[n + 1]}" for n in range(0, 100, 5)],
        }
        for kind, questions in kinds.items():
            taken = []
            for question in questions:
                text, _, channel = question.partition("|")
                query = SearchQuery(q=text, channel=channel or None)
                taken.append(await _least(lambda query=query: self.offline.search(query)))  # type: ignore[misc]
            self._add(f"search: {kind}, p95", _p95(taken), bar=150)

    async def pages(self) -> None:
        for sort in ("-archived_at", "title", "-upload_date", "duration"):
            await self._page(f"page: first, by {sort}", sort=sort)
            await self._page(f"page: last, by {sort}, offset", sort=sort, offset=self.size - 50)
            cursor = await self._cursor(sort)
            await self._page(f"page: last, by {sort}, after", sort=sort, after=cursor)

    async def _cursor(self, sort: str) -> str | None:
        query = VideoQuery.model_validate({"sort": sort, "offset": self.size - 100, "limit": 50})
        return (await self.offline.videos(query)).next

    async def filters(self) -> None:
        last: dict[str, Any] = {"offset": self.size // 100}
        asked: dict[str, dict[str, Any]] = {
            "status=incomplete": {"status": "incomplete"},
            "status=incomplete, by title": {"status": "incomplete", "sort": "title"},
            "status=complete, near the end": {"status": "complete", "offset": self.size * 9 // 10},
            "status=gone": {"status": "gone"},
            "below_wanted": {"below_wanted": True},
            "a channel of 1 in 6": {"channel": "Channel 1"},
            "a channel of 1 in 6, incomplete, by title": {
                "channel": "channel 1",
                "status": "incomplete",
                "sort": "title",
            },
            "a channel of 1 in 800": {"channel": "Channel 77"},
            "a channel of 1 in 6, further on": {"channel": "Channel 1", **last},
            "words of the title": {"q": "be*"},
            "quality": {"quality": "1080p"},
            "20 minutes and more": {"min_length": 1200},
            "captions in a language": {"captions": "en"},
            "without captions": {"captions": "none"},
            "a year of a channel": {"channel": "Channel 1", "year": 2022},
        }
        for name, options in asked.items():
            await self._page(f"filter: {name}", bar=80, **options)

    async def _page(self, name: str, bar: float = 60, **options: Any) -> None:
        query = VideoQuery.model_validate({key: value for key, value in options.items() if value is not None})
        self._add(name, await _least(lambda: self.offline.videos(query)), bar=bar)

    async def stats(self) -> None:
        self._add("stats", await _least(self.offline.stats), bar=100)

    async def rescan(self) -> None:
        """The second rescan: all files are in the state of the catalogue."""
        settings = self.config.storage
        database = open_catalogue(settings.base_data_dir)
        catalogue = Catalogue(database)
        indexer = Indexer(
            catalogue, TextIndex(database), ArchiveRoots(settings, catalogue), NamedLocks(settings.run_dir / "locks")
        )
        await indexer.rescan(settings.base_path)
        taken = await _least(lambda: indexer.rescan(settings.base_path), runs=2)
        database.close()
        self.figures["rescan, warm"] = Figure(self.size * 1000 / taken, "videos/s", 1_500, least=True)

    async def start(self) -> None:
        """Until the service is ready: it then reads the whole catalogue in the background. Its answers over REST."""
        server = EmbeddedServer(self.folder / "nats", like=BusSettings(url="nats://127.0.0.1"))
        settings = await server.start()
        taken = []
        for _ in range(RUNS):
            service = StorageService(self.config, settings, quiet=10**6)
            begun = time.perf_counter()
            await service.startup()
            taken.append((time.perf_counter() - begun) * 1000)
            if len(taken) == RUNS:
                await self._rest(f"{service.url}/api/v1/storage")
            await service.shutdown(5.0)
        await server.stop()
        self._add("start of the service", min(taken), bar=1_000)

    async def _rest(self, base: str) -> None:
        async with aiohttp.ClientSession() as session:

            async def get(path: str) -> None:
                async with session.get(f"{base}/{path}") as answer:
                    answer.raise_for_status()
                    await answer.read()

            words = sorted(Language(1).words, key=len)[:COMMON_WORDS]
            asked = [f"search?q={word}" for word in words] + [f"search?q={word[:2]}*" for word in words]
            taken = [await _least(partial(get, path)) for path in asked]
            self._add("REST: common words and beginnings, p95", _p95(taken), bar=150)
            self._add("REST: page at the end", await _least(partial(get, f"videos?offset={self.size - 50}")), bar=60)
            self._add("REST: stats", await _least(partial(get, "stats")), bar=100)

    async def size_on_disk(self) -> None:
        size = catalogue_path(self.config.storage.base_data_dir).stat().st_size
        self.figures["catalogue"] = Figure(size / self.size, "bytes/video", 5_120)

    def _add(self, name: str, milliseconds: float, *, bar: float | None = None) -> None:
        self.figures[name] = Figure(milliseconds, "ms", bar)


async def _least(work: Callable[[], Awaitable[object]], runs: int = RUNS) -> float:
    """Return the milliseconds of the fastest run."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun)
    return min(taken) * 1000


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


async def measure(folder: Path, size: int, only: Sequence[str]) -> dict[str, Figure]:
    bench = Bench(folder / str(size), size)
    await bench.fill()
    works: dict[str, Callable[[], Awaitable[None]]] = {
        "search": bench.search,
        "pages": bench.pages,
        "filters": bench.filters,
        "stats": bench.stats,
        "rescan": bench.rescan,
        "start": bench.start,
        "size": bench.size_on_disk,
    }
    for name in only:
        await works[name]()
    return bench.figures


def table(figures: dict[int, dict[str, Figure]]) -> str:
    """Return a line per cost: its value at each size, and the bar for the largest."""
    sizes = sorted(figures)
    lines = [f"{'':44}" + "".join(f"{size:>12,}" for size in sizes) + f"{'bar':>10}"]
    for name, last in figures[sizes[-1]].items():
        values = "".join(f"{figures[size][name].value:>12,.1f}" for size in sizes)
        bar = "" if last.bar is None else f"{last.bar:>10,.0f}{' MISSED' if last.missed else ''}"
        lines.append(f"{f'{name}, {last.unit}':44}{values}{bar}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,50000,200000")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    sizes, only = [int(size) for size in given.sizes.split(",")], given.only.split(",")
    with nullcontext(str(given.keep)) if given.keep else tempfile.TemporaryDirectory() as folder:
        figures = {size: asyncio.run(measure(Path(folder), size, only)) for size in sizes}
    sys.stdout.write(table(figures) + "\n")
    return int(any(figure.missed for figure in figures[max(sizes)].values()))


if __name__ == "__main__":
    sys.exit(main())
