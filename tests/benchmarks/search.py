"""Measure the cost of search for an archive of 1,000 videos and for one of 20,000.

    python tests/benchmarks/search.py [SMALL [LARGE]]

Each video has 100 cues of captions, a title, a channel and a description, with the word frequencies of a natural
language. All texts pass through the functions that a commit uses. Times are processor times, so that other load does
not count. No limit is asserted. A commit must cost the same in a large archive (last column); the cost of a query grows
with its results, and the size of the index with the captions.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from pathlib import Path

from services.common.domain.archive import Provenance
from services.common.domain.videos import VideoMetadata
from services.common.settings.load import Storage
from services.storage.archive.fingerprint import TextFingerprints
from services.storage.formats.captions import CaptionLine, parse_vtt
from services.storage.formats.manifest import Manifest
from services.storage.index.catalogue import Catalogue, IndexEntry
from services.storage.index.fts import CaptionTrack, VideoTexts
from services.storage.index.schema import open_catalogue, open_read_only
from services.storage.index.search import ArchiveSearch, SearchQuery

AT = datetime(2026, 5, 1, tzinfo=UTC)
CUES, SECONDS_PER_CUE = 100, 3
WORDS_PER_CUE = 8
BATCH = 50
SAMPLES = 30
QUESTIONS = {
    "a rare word": "w30{n:03d}",
    "a word of one video in 20": "w4{n:02d}",
    "a word of every video": "w{n:d}",
    "two words": "w2{n:02d} w30{n:02d}",
    "a phrase": '"w{n:d} w1{n:d}"',
    "a beginning": "w30{n:02d}*",
    "in titles": "w4{n:02d} in:title",
    "one word without another": "w4{n:02d} -w3{n:02d}",
}

Figures = dict[str, float]


class Language:
    """Words `w0`, `w1`, …, each about as often as the word of that rank in a natural language."""

    def __init__(self, seed: int, size: int = 40_000) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._words = [f"w{rank}" for rank in range(size)]
        self._weights = list(accumulate(1 / (rank + 10) for rank in range(size)))

    def text(self, words: int) -> str:
        return " ".join(self._random.choices(self._words, cum_weights=self._weights, k=words))


def videos(count: int) -> Iterator[IndexEntry]:
    language = Language(1)
    provenance = Provenance(source_url="https://example.org", started_at=AT, finished_at=AT)
    for number in range(count):
        video_id = f"v{number:010d}"
        metadata = VideoMetadata(
            video_id=video_id,
            title=language.text(8),
            channel=f"Channel {number % 100}",
            description=language.text(150),
        )
        manifest = Manifest(
            video_id=video_id, fixity={}, metadata=metadata, provenance=provenance, archived_at=AT, updated_at=AT
        )
        lines = tuple(
            CaptionLine(n * SECONDS_PER_CUE * 1000 + n % 7, language.text(WORDS_PER_CUE)) for n in range(CUES)
        )
        texts = VideoTexts(
            fingerprints=TextFingerprints("1", "1", "1"),
            title=metadata.title,
            channel=metadata.channel or "",
            description=metadata.description,
            tracks=(CaptionTrack("en", lines),),
        )
        yield IndexEntry("/archive", "1", manifest, texts)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "catalogue.db"
        self.database = open_catalogue(folder)
        self.catalogue = Catalogue(self.database)
        self.figures: Figures = {}

    async def run(self, count: int) -> Figures:
        await self.fill(count)
        await self.commits(count)
        reader = open_read_only(self.path.parent)
        search = ArchiveSearch(reader, Storage(base_path=self.path.parent / "archive"))
        for what, question in QUESTIONS.items():
            await self.query(search, what, question)
        hours = count * CUES * SECONDS_PER_CUE / 3600
        sizes = await self.sizes()
        self.figures["bytes of text per hour of captions"] = CUES * WORDS_PER_CUE * 5.9 * count / hours
        self.figures["bytes kept per hour: text and times"] = sizes["searched_captions"] / hours
        self.figures["bytes kept per hour: the index"] = sum(v for k, v in sizes.items() if "index" in k) / hours
        reader.close()
        self.database.close()
        return self.figures

    async def fill(self, count: int) -> None:
        taken, batch = 0.0, list[IndexEntry]()
        for entry in videos(count):
            batch.append(entry)
            if len(batch) == BATCH:
                taken += await _timed(partial(self.catalogue.put, batch))
                batch = []
        self.figures["ms per video, rescan in batches"] = taken * 1000 / count

    async def commits(self, count: int) -> None:
        entries = [entry for entry in videos(min(count, SAMPLES)) if entry]
        plain = [await _timed(partial(self.catalogue.put, [replace(entry, texts=None)])) for entry in entries]
        whole = [await _timed(partial(self.catalogue.put, [entry])) for entry in entries]
        self.figures["ms of a commit's transaction, without texts"] = statistics.median(plain) * 1000
        self.figures["ms of a commit's transaction, replacing texts"] = statistics.median(whole) * 1000
        self.figures["  the same, the slowest of a hundred"] = statistics.quantiles(whole, n=100)[98] * 1000

    async def query(self, search: ArchiveSearch, what: str, question: str) -> None:
        taken, found = [], 0
        for number in range(10, 10 + SAMPLES):
            words, _, place = question.format(n=number).partition(" in:")
            query = SearchQuery.model_validate({"q": words, "in": place or None})
            started = time.process_time()
            found += (await search.find(query)).total
            taken.append(time.process_time() - started)
        self.figures[f"ms, {what}: median"] = statistics.median(taken) * 1000
        self.figures[f"ms, {what}: slowest of a hundred"] = statistics.quantiles(taken, n=100)[98] * 1000
        self.figures[f"   videos found, {what}"] = found / SAMPLES

    async def sizes(self) -> dict[str, int]:
        query = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name"
        return await self.database.run(lambda db: {row[0]: row[1] for row in db.execute(query)})


def parsing() -> float:
    """Return the ms to parse one hour of YouTube's automatic captions, which roll up word by word."""
    language, cues = Language(2), list[str]()
    before = language.text(WORDS_PER_CUE)
    for second in range(0, 3600, SECONDS_PER_CUE):
        line = language.text(WORDS_PER_CUE)
        tagged = line.replace(" ", "<00:00:00.500><c> ", 1) + "</c>"
        cues.append(f"{_at(second)}.000 --> {_at(second + 2)}.990 align:start position:0%\n{before}\n{tagged}\n")
        cues.append(f"{_at(second + 2)}.990 --> {_at(second + 3)}.000 align:start position:0%\n{line}\n \n")
        before = line
    text = "WEBVTT\nKind: captions\nLanguage: en\n\n" + "\n".join(cues)
    started = time.process_time()
    assert len(parse_vtt(text)) == 3600 / SECONDS_PER_CUE + 1
    return (time.process_time() - started) * 1000


def _at(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.process_time()
    await work()
    return time.process_time() - started


async def measure(count: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        return await Bench(Path(folder)).run(count)


async def main(small: int, large: int) -> None:
    few, many = await measure(small), await measure(large)
    sys.stdout.write(f"\nsearch, videos of {CUES} cues\n{'':56}{small:>10,}{large:>10,}{'ratio':>8}\n")
    for what, cost in few.items():
        ratio = f"{many[what] / cost:8.1f}" if cost else ""
        sys.stdout.write(f"{what:56}{cost:10.2f}{many[what]:10.2f}{ratio}\n")
    sys.stdout.write(f"{'ms to read an hour of automatic captions':56}{parsing():10.2f}\n")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(numbers + [1_000, 20_000][len(numbers) :])))
