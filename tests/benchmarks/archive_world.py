"""An archive of many videos, for measurements: the tree and the catalogue, written by the functions of the product.

Each video has a title of 8 words, a description of 60, and 50 cues with 2 KB of captions; words are as frequent as in a
natural language and share their beginnings as real words do. One video in 50 lacks captions that were asked for, one in
100 may get better, one in 200 has vanished from YouTube. Five of 205 channels have three quarters of the videos. The
media are empty files.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import VideoMetadata, Wanted
from services.common.events import DownloadCompleted, MetadataFetched
from services.common.models import JobOptions, JobType
from services.common.settings.load import Storage
from services.storage.archive.fingerprint import fingerprint_of
from services.storage.formats.captions import CaptionLine
from services.storage.formats.layout import ArchiveTree, file_name, tree_of
from services.storage.formats.manifest import Manifest, merge
from services.storage.formats.video_metadata import merge_sources
from services.storage.formats.work_plan import WorkPlan
from services.storage.formats.work_plan_entry import UnavailableEntry
from services.storage.index.catalogue import Catalogue, IndexEntry, Sighting
from services.storage.index.documents import fingerprints_of
from services.storage.index.fts import CaptionTrack, VideoTexts

START = datetime(2026, 1, 1, tzinfo=UTC)
CUES, SECONDS_PER_CUE, WORDS_PER_CUE = 50, 3, 7
BATCH = 500
_SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er")]


class Language:
    """40,000 words of two to four syllables, each about as often as the word of that rank in a natural language."""

    def __init__(self, seed: int, size: int = 40_000) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        words = dict[str, None]()
        while len(words) < size:
            words["".join(self._random.choices(_SYLLABLES, k=self._random.choice((1, 2, 2, 3, 4))))] = None
        self.words = sorted(words, key=len)
        self._weights = list(accumulate(1 / (rank + 10) for rank in range(size)))

    def text(self, words: int) -> str:
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=words))


@dataclass(frozen=True)
class Video:
    number: int
    metadata: VideoMetadata
    lines: tuple[CaptionLine, ...]

    @property
    def id(self) -> str:
        return self.metadata.video_id


def videos(count: int) -> Iterator[Video]:
    language = Language(1)
    for number in range(count):
        channel = number % 5 if number % 4 else 5 + number // 4 % 200
        metadata = VideoMetadata(
            video_id=f"v{number:010d}",
            title=language.text(8),
            channel=f"Channel {channel}",
            channel_id=f"UC{channel:022d}",
            description=language.text(60),
            duration_seconds=number * 7919 % 3600 + 0.5 if number % 17 else None,
            upload_date=f"{START - timedelta(days=number * 31 % 3650):%Y-%m-%d}" if number % 19 else None,
        )
        texts = (language.text(WORDS_PER_CUE) for _ in range(CUES))
        lines = tuple(CaptionLine(n * SECONDS_PER_CUE * 1000 + n % 7, text) for n, text in enumerate(texts))
        yield Video(number, metadata, lines)


class World:
    """The tree of `settings.base_path`, and `catalogue` filled from the same texts."""

    def __init__(self, settings: Storage) -> None:
        self.tree: ArchiveTree = tree_of(settings.base_path, settings)

    async def fill(self, catalogue: Catalogue, count: int, *, with_tree: bool = True) -> None:
        """`with_tree` False: the tree exists already, from an earlier run with the same count."""
        batch = list[IndexEntry]()
        (self.tree.metadata / "videos").mkdir(parents=True, exist_ok=True)
        for video in videos(count):
            if with_tree:
                self._write(video)
            batch.append(self._entry(video))
            if len(batch) == BATCH or video.number == count - 1:
                await catalogue.put(batch)
                await catalogue.record_sightings(map(self._sighting, batch))
                batch = []
        generation = catalogue.generation
        await catalogue.mark_scanned(self.tree.key, generation)
        await catalogue.index_plan(_gone_plan(self.tree.key, count))

    def _sighting(self, entry: IndexEntry) -> Sighting:
        metadata = entry.manifest.metadata
        state = fingerprint_of(self.tree.video_metadata(metadata.video_id)) or ""
        return Sighting(metadata.video_id, metadata.title, entry.manifest.archived_at, state)

    def _write(self, video: Video) -> None:
        folder = self.tree.video_dir(video.id)
        (folder / "captions").mkdir(parents=True)
        manifest = _manifest(self.tree.key, video)
        for name in manifest.fixity:
            (folder / name).write_text(_vtt(video.lines) if name.endswith(".vtt") else "")
        self.tree.manifest(video.id).write_text(manifest.model_dump_json(indent=2, exclude_none=True))
        fetched = MetadataFetched(
            job_id="j", root=self.tree.key, video_id=video.id, source_name="yt_dlp", fetched_at=_at(video.number),
            metadata=video.metadata,
        )  # fmt: skip
        merged = merge_sources(None, fetched, "t", _at(video.number))
        self.tree.video_metadata(video.id).write_text(merged.model_dump_json(indent=2))

    def _entry(self, video: Video) -> IndexEntry:
        manifest = _manifest(self.tree.key, video)
        fingerprint = fingerprint_of(self.tree.manifest(video.id)) or ""
        texts = VideoTexts(
            fingerprints=fingerprints_of(self.tree, manifest, fingerprint),
            title=video.metadata.title,
            channel=video.metadata.channel or "",
            description=video.metadata.description,
            tracks=(CaptionTrack("en", video.lines),),
        )
        return IndexEntry(self.tree.key, fingerprint, manifest, texts)


def _at(number: int) -> datetime:
    return START + timedelta(seconds=number * 61)


def _manifest(root: str, video: Video) -> Manifest:
    lacks_captions, low = video.number % 50 == 49, video.number % 100 == 98
    named = [(FileRole.VIDEO, None), (FileRole.THUMBNAIL, None), (FileRole.INFO, None), (FileRole.CAPTION, "en")]
    event = DownloadCompleted(
        dispatch_id=f"{video.id}-1",
        fetch_id="f1",
        job_id="j1",
        video_id=video.id,
        root=root,
        wanted=Wanted(captions=("en", "de") if lacks_captions else ("en",)),
        directory="/tmp",  # noqa: S108 - not used
        files=tuple(_fact(video, role, language) for role, language in named),
        absent=("captions/de",) if lacks_captions else (),
        metadata=video.metadata.model_copy(update={"upload_date": f"{_at(video.number):%Y-%m-%d}"} if low else {}),
        provenance=Provenance(
            source_url=f"https://www.youtube.com/watch?v={video.id}",
            format_ids=["137", "140"],
            tools={"yt-dlp": "2026.10.26", "ffmpeg": "7.1", "ytarchive": "1.0"},
            started_at=_at(video.number),
            finished_at=_at(video.number),
            height=360 if low else 1080,
            width=640 if low else 1920,
            offered=1080,
            duration_seconds=video.metadata.duration_seconds,
        ),
    )
    return merge(None, event, now=_at(video.number), trace_id="trace")


def _fact(video: Video, role: FileRole, language: str | None) -> FileFact:
    digest = hashlib.sha256(f"{video.id} {role}".encode()).hexdigest()
    name = file_name(video.id, role, language)
    return FileFact(name=name, role=role, size=video.number * 4801, sha256=digest, language=language)


def _vtt(lines: Sequence[CaptionLine]) -> str:
    cues = (f"{_time(line.start)} --> {_time(line.start + 2500)}\n{line.text}\n" for line in lines)
    return "WEBVTT\n\n" + "\n".join(cues)


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


def _gone_plan(root: str, count: int) -> WorkPlan:
    later = _at(count) + timedelta(days=1)
    gone = [
        UnavailableEntry(video_id=f"v{number:010d}", reason="private", detected_at=later, title="")
        for number in range(0, count, 200)
    ]
    return WorkPlan(
        plan_id="plan", job_id="j1", trace_id="t", root=root, type=JobType.VIDEO_DOWNLOAD, options=JobOptions(),
        targets=[], created_at=later, updated_at=later, unavailable_videos=gone,
    )  # fmt: skip
