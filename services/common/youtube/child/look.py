"""The operation `look`: what is new in a channel or playlist, with as few requests as possible.

Request:  {"target": a Target other than VIDEOS, "how": "feed" or "list", "known": ids of the newest known videos,
           "prefixes": of the lists of a channel (`UU`, or some of `UULF`, `UUSH`, `UULV`),
           "since": a day before which uploads are of no interest, or null}
Messages: {"head": a PlaylistMetadata, "requests": so far}    once, before the entries
          {"entries": [an Entry, …], "requests": so far}        up to 100 entries

A feed has the 15 newest videos of a list: 1 request. A list of uploads is read, newest first, until a page has a known
video: 2 requests, and 1 more for each further page. A playlist is read to its end, because it may be in any order.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlencode
from xml.etree import ElementTree

from yt_dlp.networking import Request
from yt_dlp.utils import YoutubeDLError

from services.common.domain.videos import Entry, PlaylistMetadata, Target, TargetKind
from services.common.rules import VideoKind, published_between
from services.common.targets import target_url
from services.common.texts import encodable
from services.common.validation import validate_channel_id, validate_video_id
from services.common.youtube.child import listing
from services.common.youtube.child.session import make_ydl

PAGE = listing.PAGE
_FEED = "https://www.youtube.com/feeds/videos.xml"
_FEED_LIMIT = 4 * 1024**2  # bytes
_TABS = frozenset({"UULF", "UUSH", "UULV"})
_KINDS = {"UUSH": VideoKind.SHORT, "UULV": VideoKind.STREAM}  # UULF has videos and premieres
_NAMES = {
    "atom": "http://www.w3.org/2005/Atom",
    "yt": "http://www.youtube.com/xml/schemas/2015",
    "media": "http://search.yahoo.com/mrss/",
}

Json = dict[str, Any]
T = TypeVar("T")


class FeedUnreadable(Exception):
    """What YouTube sent is no feed of videos."""


def run(request: Json, options: Json, emit: Callable[[Json], None]) -> None:
    """Look at the target. Raise yt-dlp's errors, FeedUnreadable."""
    target = Target.model_validate(request["target"])
    since = datetime.fromisoformat(request["since"]).replace(tzinfo=UTC) if request["since"] else None
    known = frozenset(request["known"])
    look = Look(make_ydl(_with_dates(options)), target, request["prefixes"], known, since, emit)
    if request["how"] == "feed":
        look.feeds()
    else:
        look.lists()


class Look:
    """One look, with a YoutubeDL. `now`: the time, to which lists tell ages."""

    def __init__(
        self,
        ydl: Any,
        target: Target,
        prefixes: Sequence[str],
        known: frozenset[str],
        since: datetime | None,
        emit: Callable[[Json], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._ydl = ydl
        self._target = target
        self._prefixes = prefixes
        self._known = known
        self._since = since
        self._emit = emit
        self._requests = 0
        self._page: Json | None = None  # of a channel that is not named by its id
        self._lacking: list[YoutubeDLError] = []  # lists that the channel does not have
        self._headed = False

    def feeds(self) -> None:
        """A channel, named by its id. Some of its lists may be missing: of a channel without shorts, say."""
        for prefix in self._prefixes:
            self._requests += 1
            feed = self._existing(partial(self._read_feed, prefix), prefix)
            if feed is None:
                continue
            elements = feed.findall("atom:entry", _NAMES)
            found = (_of_feed(element, n, _KINDS.get(prefix)) for n, element in enumerate(elements))
            self._tell_head(
                PlaylistMetadata(
                    playlist_id=f"{prefix}{self._target.id[2:]}",
                    title=_text(feed.findtext("atom:author/atom:name", None, _NAMES)),
                    channel_id=self._target.id,
                )
            )
            self._tell([entry for entry in found if entry is not None])

    def _read_feed(self, prefix: str) -> ElementTree.Element:
        key = ("channel_id", self._target.id) if prefix == "UU" else ("playlist_id", f"{prefix}{self._target.id[2:]}")
        with self._ydl.urlopen(Request(f"{_FEED}?{urlencode([key])}")) as answer:
            raw = answer.read(_FEED_LIMIT)
        try:
            found = ElementTree.fromstring(raw)  # noqa: S314 - expat limits what entities may become; 4 MiB at most
        except ElementTree.ParseError as error:
            raise FeedUnreadable(f"the feed of {self._target} is no XML: {error}") from error
        if found.tag != f"{{{_NAMES['atom']}}}feed":
            raise FeedUnreadable(f"the feed of {self._target} is no Atom feed")
        return found

    def lists(self) -> None:
        head: PlaylistMetadata | None = None
        for id, kind, named in self._targets():
            self._requests += 2
            url = target_url(Target(kind=TargetKind.PLAYLIST, id=id))
            playlist = self._existing(partial(listing.extract, self._ydl, url), id[:4])
            if playlist is None:
                continue
            if head is None:
                if named is None and self._target.kind is TargetKind.CHANNEL:
                    named = {**playlist, "title": playlist.get("channel") or playlist.get("title")}
                head = listing.metadata_of(playlist, id, named)
                self._tell_head(head)
            lines = iter(playlist.get("entries") or ())
            self._read(lines, kind)

    def _read(self, lines: Iterator[Json], kind: VideoKind | None) -> None:
        position, now = 0, self._now()
        while page := list(islice(lines, PAGE)):
            entries = [
                _of_list(line, position + n, kind, now)
                for n, line in enumerate(page)
                if validate_video_id(line.get("id") or "")
            ]
            self._tell(entries)
            position += len(page)
            if self._target.kind is TargetKind.CHANNEL and self._has_enough(entries):
                return
            self._requests += len(page) == PAGE

    def _has_enough(self, entries: Sequence[Entry]) -> bool:
        """Return whether the rest of a list that has the newest first is known, or too old."""
        old = [self._since and entry.published_until and entry.published_until < self._since for entry in entries]
        return (bool(old) and all(old)) or any(entry.video_id in self._known for entry in entries)

    def _targets(self) -> Iterator[tuple[str, VideoKind | None, Json | None]]:
        """Yield the id of each list, the kind of its videos, and the channel's page if that was requested."""
        if self._target.kind is not TargetKind.CHANNEL:
            yield self._target.id, None, None
            return
        if not validate_channel_id(self._target.id):
            self._page = listing.channel_page(self._ydl, self._target)
            self._requests += 1
        channel_id = str(self._page["channel_id"]) if self._page is not None else self._target.id
        for prefix in self._prefixes:
            yield f"{prefix}{channel_id[2:]}", _KINDS.get(prefix), self._page

    def _existing(self, read: Callable[[], T], prefix: str) -> T | None:
        """Read a list of a channel. Return None for one of a kind of video that the channel does not have; raise when
        the channel has no list at all."""
        try:
            return read()
        except YoutubeDLError as error:
            if prefix not in _TABS or not _missing(error):
                raise
            self._lacking.append(error)
            if len(self._lacking) == len(self._prefixes):
                self._expect_channel(error)
            return None

    def _expect_channel(self, error: YoutubeDLError) -> None:
        """None of the wanted lists exists: the channel has such videos not yet, or does not exist."""
        if self._page is not None:  # it was found by its name
            self._tell_head(listing.metadata_of(self._page, f"UU{self._page['channel_id'][2:]}", self._page))
            return
        self._requests += 2
        uploads = f"UU{self._target.id[2:]}"
        try:
            playlist = listing.extract(self._ydl, target_url(Target(kind=TargetKind.PLAYLIST, id=uploads)))
        except YoutubeDLError:
            raise error from None
        named = {**playlist, "title": playlist.get("channel") or playlist.get("title")}
        self._tell_head(listing.metadata_of(playlist, uploads, named))

    def _tell_head(self, playlist: PlaylistMetadata) -> None:
        if not self._headed:
            self._headed = True
            self._emit({"head": playlist.model_dump(mode="json"), "requests": self._requests})

    def _tell(self, entries: Sequence[Entry]) -> None:
        self._emit({"entries": [entry.model_dump(mode="json") for entry in entries], "requests": self._requests})


def _missing(error: YoutubeDLError) -> bool:
    """Return whether YouTube says that there is no such list, or feed."""
    cause = getattr(error, "cause", None) or error
    gone = getattr(cause, "status", None) == HTTPStatus.NOT_FOUND
    return gone or "does not exist" in str(error)


def _with_dates(options: Json) -> Json:
    """Let yt-dlp read the ages that a list shows; its own pages need no further request for that."""
    given = listing.complete(options)
    return {**given, "extractor_args": {**given["extractor_args"], "youtubetab": {"approximate_date": ["1"]}}}


def _of_list(line: Json, position: int, kind: VideoKind | None, now: datetime) -> Entry:
    told = line.get("timestamp")
    between = published_between(datetime.fromtimestamp(told, UTC), now) if told else (None, None)
    return listing.entry_of(line, position).model_copy(
        update={
            "kind": kind,
            "published_from": between[0],
            "published_until": between[1],
            "views": line.get("view_count"),
            "members_only": True if line.get("availability") == "subscriber_only" else None,
        }
    )


def _of_feed(entry: ElementTree.Element, position: int, kind: VideoKind | None) -> Entry | None:
    video_id = entry.findtext("yt:videoId", "", _NAMES)
    if not validate_video_id(video_id):
        return None
    link = entry.find("atom:link[@rel='alternate']", _NAMES)
    if kind is None and link is not None and "/shorts/" in link.get("href", ""):
        kind = VideoKind.SHORT
    at = _time(entry.findtext("atom:published", "", _NAMES))
    views = entry.find("media:group/media:community/media:statistics", _NAMES)
    counted = views.get("views", "") if views is not None else ""
    return Entry(
        video_id=video_id,
        title=_text(entry.findtext("atom:title", None, _NAMES)),
        channel=_text(entry.findtext("atom:author/atom:name", None, _NAMES)),
        position=position,
        kind=kind,
        published_from=at,
        published_until=at,
        views=int(counted) if counted.isdecimal() else None,
    )


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _text(value: str | None) -> str | None:
    return encodable(value) if value is not None else None
