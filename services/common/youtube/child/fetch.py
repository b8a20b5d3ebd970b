"""The operation `fetch`: extract one video and download the requested files. Runs in the child."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from services.common.domain.archive import FileFact, FileRole, Provenance
from services.common.domain.videos import Look, VideoMetadata, Wanted
from services.common.infra.files import sha256, sync_file
from services.common.rules import judge
from services.common.texts import all_encodable, encodable
from services.common.youtube import tools
from services.common.youtube.child import captions, prospects, thumbnail
from services.common.youtube.child.media import fetch_media, is_audio
from services.common.youtube.child.session import VIDEO, Session, session, set_stage
from services.common.youtube.child.video import public_info, video_metadata
from services.common.youtube.messages import (
    BetterFound,
    FetchRequest,
    FetchResult,
    Finishing,
    FormatChoice,
    MetadataFound,
)
from services.common.youtube.partial import working_in
from services.common.youtube.streams import original_streams

_LIVE = frozenset({"is_live", "is_upcoming", "post_live"})


class LiveNow(Exception):
    """The video is a live stream, or its recording is not available yet."""


class FfmpegMissing(Exception):
    """ffmpeg, which merges video and audio, is missing."""


class LeftOut(Exception):
    """The rules of the job do not take the video. The message says why."""


class NoVideo(Exception):
    """The URL is not that of a video."""


def run(request: dict[str, Any], options: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    """Emit MetadataFound, Downloading messages, Finishing and FetchResult (messages.py). Raise yt-dlp's errors."""
    order = FetchRequest.model_validate(request)
    _Fetch(order, session(options), lambda message: emit(message.model_dump(mode="json"))).run()


def extract(ydl: Any, video_id: str) -> dict[str, Any]:
    """Extract a video, before formats are selected. Raise yt-dlp's errors, NoVideo."""
    url = f"https://www.youtube.com/watch?v={video_id}"
    ydl.params["writesubtitles"] = True  # yt-dlp then warns of captions that it leaves out
    try:
        raw: dict[str, Any] = ydl.extract_info(url, download=False, process=False, ie_key=VIDEO)
    finally:
        ydl.params["writesubtitles"] = False
    if not raw or raw.get("_type", "video") != "video":
        raise NoVideo(f"{url} is not a single video")
    return {**raw, **{name: all_encodable(raw[name]) for name in raw if not name.startswith("_")}}


def expect_recorded(raw: dict[str, Any]) -> None:
    """Raise LiveNow when the media are not available yet."""
    if raw.get("live_status") in _LIVE:
        raise LiveNow(f"live_status {raw['live_status']}")


def select(ydl: Any, raw: dict[str, Any], choice: FormatChoice) -> dict[str, Any]:
    """Return the extraction with the formats of a choice selected. Raise ExtractorError when there are none."""
    ydl.params["format_sort"] = list(choice.sort)
    ydl.format_selector = ydl.build_format_selector(choice.selector)
    streams = raw.get("formats") or []
    if choice.original:
        streams = original_streams(streams, choice.audio_language)
    found: dict[str, Any] = ydl.process_ie_result({**raw, "formats": [dict(one) for one in streams]}, download=False)
    return found


class _Fetch:
    def __init__(self, order: FetchRequest, session: Session, tell: Callable[[BaseModel], None]) -> None:
        self.order = order
        self.wanted = order.wanted
        self.session = session
        self.ydl = session.ydl
        self.tell = tell
        self.directory = Path(order.directory)
        self.files: list[tuple[Path, FileRole, str | None]] = []
        self.absent: list[str] = []
        self.started_at = datetime.now(UTC)

    def run(self) -> None:
        if self.wanted.media and not self._ffmpeg:
            raise FfmpegMissing("imageio-ffmpeg has no ffmpeg for this platform, and none is installed")
        info = self._extract()
        media = self.wanted.media
        if self.wanted.look is not None:
            self.wanted = self._only_better(info, self.wanted.look)
        if self.wanted.media or self.wanted.thumbnail or self.wanted.captions or self.wanted.info:
            with working_in(self.directory, self.order.dispatch_id), self._paths():
                self._fetch_files(info)
                self.tell(Finishing())
                facts = [self._fact(*file) for file in self.files]
        else:
            facts = []
        self.tell(
            FetchResult(
                files=tuple(facts),
                absent=tuple(self.absent),
                provenance=self._provenance(info, media=media),
                warnings=tuple(encodable(warning) for warning in self.session.warnings),
            )
        )

    @property
    def _ffmpeg(self) -> str | None:
        path: str | None = self.ydl.params.get("ffmpeg_location")
        return path

    def _extract(self) -> dict[str, Any]:
        """Extract once; send the metadata before formats are selected, which may fail."""
        raw = extract(self.ydl, self.order.video_id)
        metadata = video_metadata(raw)
        self._expect_wanted(metadata)
        if self.wanted.media:
            expect_recorded(raw)
        self.tell(MetadataFound(metadata=metadata))
        return select(self.ydl, raw, self.order.choice)

    def _expect_wanted(self, metadata: VideoMetadata) -> None:
        """Raise LeftOut when no rules take the video. What even an extraction does not tell leaves nothing out."""
        verdicts = [judge(rules, metadata.facts) for rules in self.wanted.rules]
        if verdicts and all(verdict.taken is False for verdict in verdicts):
            raise LeftOut(verdicts[0].reason)

    def _only_better(self, info: dict[str, Any], look: Look) -> Wanted:
        """Return the request without media that are not better than the archived ones, and without captions that do not
        exist."""
        wanted = self.wanted
        sharper, longer = prospects.is_better(look, info)
        media = wanted.media and (sharper or longer)
        languages = tuple(one for one in wanted.captions if self._track(info, one) is not None)
        for language in wanted.captions:
            if language not in languages:
                self._note_absent_captions(language)
        if media or languages:
            resolution = prospects.resolution_of(info) if media and sharper else None
            self.tell(BetterFound(resolution=resolution, longer=media and longer, captions=languages))
        return wanted.model_copy(update={"media": media, "captions": languages, "info": wanted.info or media})

    @contextmanager
    def _paths(self) -> Iterator[None]:
        """Make yt-dlp write into the work directory."""
        params = self.ydl.params
        params["paths"] = {"home": str(self.directory)}
        params["outtmpl"]["default"] = f"{self.order.video_id}.%(ext)s"
        params["merge_output_format"] = "mp4"
        try:
            yield
        finally:
            params["paths"] = {}

    def _fetch_files(self, info: dict[str, Any]) -> None:
        video_id = self.order.video_id
        set_stage("files")
        for language in self.wanted.captions:
            self._fetch_caption(info, language)
        if self.wanted.thumbnail:
            picture = self.directory / f"{video_id}_thumb.jpg"
            found = thumbnail.fetch_thumbnail(self.ydl, video_id, picture)
            if found is thumbnail.Found.SAVED:
                self.files.append((picture, FileRole.THUMBNAIL, None))
            elif found is thumbnail.Found.ABSENT:
                self.absent.append("thumbnail")
        if self.wanted.info or (self.wanted.metadata and self.wanted.look is None):
            self._write_info(info)
        if self.wanted.media:
            set_stage("media")
            audio = is_audio(info) if self.order.choice.audio is None else self.order.choice.audio
            media = fetch_media(
                self.session,
                info,
                self.directory,
                audio=audio,
                connections=self.order.connections,
                tell=self.tell,
            )
            self.files.insert(0, (media, FileRole.AUDIO if audio else FileRole.VIDEO, None))

    def _fetch_caption(self, info: dict[str, Any], language: str) -> None:
        track = self._track(info, language)
        if track is None:
            self._note_absent_captions(language)
            return
        target = self.directory / f"{self.order.video_id}_{language}.vtt"
        if not captions.fetch_caption(self.ydl, info, track, target):
            return
        if problem := captions.problem_of(target):
            self.ydl.report_warning(f"captions {target.stem}: {problem}")
            target.unlink()
            self.absent.append(f"captions/{language}")
        else:
            self.files.append((target, FileRole.CAPTION, language))

    @staticmethod
    def _track(info: dict[str, Any], language: str) -> captions.Track | None:
        if not captions.valid_language(language):
            return None
        return captions.choose_track(language, info.get("subtitles") or {}, info.get("automatic_captions") or {})

    def _note_absent_captions(self, language: str) -> None:
        """Note captions that do not exist, unless YouTube may have them and wants a token for them."""
        if not (captions.valid_language(language) and prospects.captions_left_out(self.session.warnings)):
            self.absent.append(f"captions/{language}")

    def _write_info(self, info: dict[str, Any]) -> None:
        """Write info.json before the media are processed, which adds local paths to `info`."""
        path = self.directory / f"{self.order.video_id}.info.json"
        clean = public_info(self.ydl.sanitize_info(info, remove_private_keys=True))
        path.write_text(json.dumps(clean, ensure_ascii=False, indent=1), encoding="utf-8")
        self.files.append((path, FileRole.INFO, None))

    def _provenance(self, info: dict[str, Any], *, media: bool) -> Provenance:
        """`media`: whether they were requested. Of a look that fetches none, it tells what is offered now."""
        return Provenance(
            source_url=info.get("webpage_url") or f"https://www.youtube.com/watch?v={self.order.video_id}",
            extractor=str(info.get("extractor") or "youtube"),
            format_ids=str(info["format_id"]).split("+") if media else [],
            tools=tools.versions(self._ffmpeg) if self._ffmpeg else {},
            started_at=self.started_at,
            finished_at=datetime.now(UTC),
            height=info.get("height") if media else None,
            width=info.get("width") if media else None,
            offered=prospects.offered(info),
            duration_seconds=info.get("duration"),
            missing_formats=prospects.missing_formats(map(encodable, self.session.warnings)),
            stream_ended_at=prospects.stream_ended_at(info),
        )

    @staticmethod
    def _fact(path: Path, role: FileRole, language: str | None) -> FileFact:
        """The file is synced first: a digest of bytes that a power cut can still lose would be wrong."""
        sync_file(path)
        return FileFact(name=path.name, role=role, size=path.stat().st_size, sha256=sha256(path), language=language)
