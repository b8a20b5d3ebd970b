"""Parse what a user entered into a video, a playlist or a channel. Pure: without requests to YouTube.

Two rules where a URL is ambiguous:

- A video URL that also names a list (`watch?v=…&list=…`) means the list if it is an authored one: PL, UU, FL, OL, or an
  editors' mix (RDCLAK5uy_). Other RD lists are endless mixes generated for the video and the viewer, and WL, LL and
  LM are private to the viewer: then the video is meant.
- A channel means all its uploads; its pages `/videos`, `/shorts` and `/streams` mean those. Its other pages (`/live`,
  `/playlists`, `/search`, …) are refused: they would silently mean something else.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

from services.common.domain.videos import ChannelTab, Target, TargetKind
from services.common.errors import InvalidRequest
from services.common.validation import (
    PRIVATE_LISTS,
    validate_album_id,
    validate_channel_id,
    validate_playlist_id,
    validate_video_id,
)

MAX_VIDEOS = 100  # of one Target, which becomes one page of a listing
_MAX_LENGTH = 2048
_FOLLOW_DIGITS = 12  # of the id of a follow
_MAX_NESTING = 3  # nested links, such as a consent page around an attribution link

_AROUND = " \t\r\n\u00a0\u200b\ufeff<>()[]{}\"'`,;"
_ACCEPTED = (
    "give the URL of a YouTube video, playlist or channel, or a bare id: a video's (11 characters), a playlist's"
    " (begins with PL, UU, FL, OL or RD; with cookies also WL and LL), a channel's (begins with UC), or a @handle"
)
_SITES = ("youtube.com", "youtube-nocookie.com", "youtubekids.com", "youtube.googleapis.com")
_WHOLE_CHANNEL = frozenset({"", "featured", "about", "home"})
_REFUSED_TABS = {
    "live": "what is live now changes: give the URL of the stream itself, or CHANNEL/streams",
    "playlists": "it is a list of playlists: give the URLs of the playlists themselves",
    "releases": "it is a list of albums: give the URLs of their playlists",
    "podcasts": "it is a list of podcasts: give the URLs of their playlists",
    "courses": "it is a list of courses: give the URLs of their playlists",
    "search": "a search has no fixed result: give the URLs of the videos",
    "community": "posts are not archived",
    "posts": "posts are not archived",
    "store": "a shop is not archived",
    "membership": "give CHANNEL for all uploads that your cookies may see",
}
_NO_VIDEO_IDS = frozenset({"videoseries", "live_stream"})  # words of /embed/ that look like one
_VIDEO_PATHS = frozenset({"watch", "shorts", "live", "embed", "v", "e", "w", "watch_popup"})
_LINK_PARAMETERS = {"attribution_link": "u", "redirect": "q", "oembed": "url", "signin": "next"}
# first parts of a path that are not old names of channels
_NOT_A_NAME = frozenset(
    {
        "about", "account", "browse", "c", "channel", "clip", "embed", "explore", "feed", "feeds", "gaming", "hashtag",
        "index", "kids", "live", "logout", "movies", "music", "oops", "playlist", "playlists", "post", "premium",
        "results", "s", "search", "shared", "shorts", "signin", "source", "storefront", "t", "trending", "tv", "upload",
        "user", "watch", "watch_videos",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParsedTarget:
    """One parsed target. `id` is a video id (kind VIDEOS), a playlist id, or a channel as in `Target.id`."""

    kind: TargetKind
    id: str
    tab: ChannelTab | None = None

    @property
    def identity(self) -> tuple[TargetKind, str]:
        """Return a key that is equal for all spellings of a target: channel names are case-insensitive, ids are not."""
        named = self.kind is TargetKind.CHANNEL and not validate_channel_id(self.id)
        id = self.id.casefold() if named else self.id
        return self.kind, f"{id}/{self.tab}" if self.tab else id


def parse_target(text: str) -> ParsedTarget:
    """Parse a URL or a bare id. Raise InvalidRequest, which lists the accepted forms."""
    wanted = _clean(text)
    found = _bare(wanted) or _link(wanted, _MAX_NESTING)
    if found is None:
        raise _refusal(text)
    return found


def parse_targets(text: str) -> list[ParsedTarget]:
    """Parse a URL that may name several videos (`watch_videos?video_ids=…`). Raise InvalidRequest, as parse_target."""
    if (ids := _several_videos(_clean(text))) is None:
        return [parse_target(text)]
    if not ids or not all(map(validate_video_id, ids)):
        raise _refusal(text)
    return [ParsedTarget(TargetKind.VIDEOS, video_id) for video_id in ids]


@dataclass(frozen=True, slots=True)
class ParsedTargets:
    """The targets of a job, each text parsed once.

    `found` are the targets in the given order, without duplicates; `refused` are pairs of a rejected text and a reason.
    """

    found: tuple[ParsedTarget, ...]
    refused: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "ParsedTargets":
        found: dict[tuple[TargetKind, str], ParsedTarget] = {}
        refused: list[tuple[str, str]] = []
        for text in texts:
            try:
                targets = parse_targets(text)
            except InvalidRequest as error:
                refused.append((text, error.message))
            else:
                for target in targets:
                    found.setdefault(target.identity, target)
        return cls(tuple(found.values()), tuple(refused))

    def grouped(self) -> list[Target]:
        """Group single videos by up to 100. Raise InvalidRequest, which names every rejected text."""
        if self.refused:
            messages = [message for _text, message in self.refused]
            more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
            raise InvalidRequest(messages[0] + more, refused=messages[:100])
        return _grouped(self.found)

    def digest(self) -> str:
        """Return a digest of the set of targets, independent of spelling and order (32 hex digits)."""
        identities = {":".join(target.identity) for target in self.found} | {text for text, _message in self.refused}
        return hashlib.sha256("\n".join(sorted(identities)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def group_targets(texts: Iterable[str]) -> list[Target]:
    """Parse all targets, drop duplicates, and group single videos by up to 100; a group takes the position of its first
    video. Raise InvalidRequest, which names every rejected text (`details.refused`)."""
    return ParsedTargets.parse(texts).grouped()


def digest(texts: Iterable[str]) -> str:
    """Return a digest of a set of targets, independent of spelling and order (32 hex digits)."""
    return ParsedTargets.parse(texts).digest()


def follow_id_of(target: str) -> str:
    """Return the id of the follow of a target, whatever its spelling. Raise InvalidRequest for one without an end, such
    as a video."""
    if parse_target(target).kind is TargetKind.VIDEOS:
        raise InvalidRequest(
            f"{target} is a video: follow a channel or a playlist, and save a video with `ytarchive download`.",
            target=target,
        )
    return digest([target])[:_FOLLOW_DIGITS]


def target_url(target: Target) -> str:
    """Return the URL of a playlist or album, or of a channel's page (its uploads are the playlist `UU…`)."""
    if validate_album_id(target.id):
        return f"https://music.youtube.com/browse/{target.id}"
    if target.kind is TargetKind.PLAYLIST:
        return f"https://www.youtube.com/playlist?list={target.id}"
    path = f"channel/{target.id}" if validate_channel_id(target.id) else target.id
    return f"https://www.youtube.com/{quote(path, safe='@/')}"


def _grouped(parsed: Iterable[ParsedTarget]) -> list[Target]:
    groups: list[list[ParsedTarget]] = []
    videos: list[ParsedTarget] | None = None
    for target in parsed:
        if target.kind is not TargetKind.VIDEOS:
            groups.append([target])
            continue
        if videos is None or len(videos) == MAX_VIDEOS:
            videos = []
            groups.append(videos)
        videos.append(target)
    return [_target(group) for group in groups]


def _target(group: list[ParsedTarget]) -> Target:
    if group[0].kind is TargetKind.VIDEOS:
        return Target(kind=TargetKind.VIDEOS, video_ids=tuple(video.id for video in group))
    return Target(kind=group[0].kind, id=group[0].id, tab=group[0].tab)


def _clean(text: str) -> str:
    """Remove what copying leaves: blanks, brackets, quotes, punctuation, escapes of shells and HTML."""
    if len(text) > _MAX_LENGTH:
        raise _refusal(text)
    wanted = text.strip(_AROUND).rstrip(_AROUND + ".:!")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"} for char in wanted):
        raise _refusal(text)
    wanted = re.sub(r"\\([?=&])", r"\1", wanted.replace("&amp;", "&"))
    if re.match(r"https?%3a%2f%2f", wanted, re.IGNORECASE):
        wanted = unquote(wanted)
    return wanted


def _bare(text: str) -> ParsedTarget | None:
    if validate_video_id(text):
        return ParsedTarget(TargetKind.VIDEOS, text)
    parts = text.split("/")
    if validate_channel_id(parts[0]) or text.startswith("@"):
        return _channel_page(parts[0], parts[1:])
    if parts[0] in {"c", "user"} and len(parts) > 1:
        return _channel_page("/".join(parts[:2]), parts[2:])
    return _list(text)


def _link(text: str, depth: int) -> ParsedTarget | None:
    if "://" not in text:
        text = "https://" + text.removeprefix("//")
    try:
        url = urlsplit(text)
        host = (url.hostname or "").rstrip(".")
    except ValueError:  # a malformed IPv6 address, or characters that turn into others when normalised
        return None
    if url.scheme not in {"http", "https"} or depth == 0:
        return None
    path = [unquote(part) for part in url.path.split("/") if part]
    query = {name: values[0].strip() for name, values in parse_qs(url.query).items()}
    if host in {"youtu.be", "www.youtu.be"}:
        return _video_or_list(path[0] if path else None, query)
    if host.removeprefix("www.") == "google.com" and path == ["url"]:
        return _link(query.get("q") or query.get("url", ""), depth - 1)
    if not any(host == site or host.endswith("." + site) for site in _SITES):
        return None
    nested = query.get("continue") if host.startswith("consent.") else query.get(_link_parameter(path))
    if nested:
        return _link(urljoin("https://www.youtube.com/", nested), depth - 1)
    if path == ["tv"] and url.fragment.startswith("/"):  # the page for television sets
        return _link(urljoin("https://www.youtube.com/", url.fragment), depth - 1)
    return _page(path, query)


def _several_videos(text: str) -> list[str] | None:
    """Return the ids of an ad-hoc list of videos; None for any other text."""
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        return None
    if url.path.rstrip("/") != "/watch_videos":
        return None
    return [video_id for given in parse_qs(url.query).get("video_ids", []) for video_id in given.split(",") if video_id]


def _link_parameter(path: list[str]) -> str:
    return _LINK_PARAMETERS.get(path[0], "") if path else ""


def _page(path: list[str], query: dict[str, str]) -> ParsedTarget | None:
    first, name, *rest = [*path, "", ""]
    if first in _VIDEO_PATHS:
        if name == "live_stream":
            return _channel_page(query.get("channel", ""), ["live"])
        return _video_or_list(query.get("v") or ("" if name in _NO_VIDEO_IDS else name), query)
    if first == "playlist":
        return _list(query.get("list", ""))
    if first in {"channel", "browse"} and not validate_channel_id(name):
        return _list(name)
    if first in _CHANNEL_PATHS:
        return _channel_page(_CHANNEL_PATHS[first] + name, rest)
    if first.startswith("@"):
        return _channel_page(first, [name, *rest])
    if first.casefold() in _NOT_A_NAME | _LINK_PARAMETERS.keys() or "." in first:
        return None
    return _channel_page(f"c/{first}", [name, *rest])  # youtube.com/name, from before handles


def _channel_page(channel: str, rest: list[str]) -> ParsedTarget | None:
    """Parse a channel with the page of it that follows in a path. Raise InvalidRequest for a page without videos."""
    found = _channel(channel)
    tab = (rest[0] if rest else "").casefold()
    if found is None or tab in _WHOLE_CHANNEL:
        return found
    if tab in _REFUSED_TABS:
        reason = _REFUSED_TABS[tab].replace("CHANNEL", found.id)
        raise InvalidRequest(f"{found.id}/{tab} cannot be archived: {reason}")
    try:
        return replace(found, tab=ChannelTab(tab))
    except ValueError:
        return None


def _video_or_list(video_id: str | None, query: dict[str, str]) -> ParsedTarget | None:
    """Parse the URL of a video, perhaps within a playlist; the module docstring says which is chosen."""
    video = ParsedTarget(TargetKind.VIDEOS, video_id) if video_id and validate_video_id(video_id) else None
    list_id = query.get("list", "")
    if video is None:
        return _list(list_id)
    made_by_somebody = validate_playlist_id(list_id) and (
        not list_id.startswith("RD") or list_id.startswith("RDCLAK5uy_")
    )
    return ParsedTarget(TargetKind.PLAYLIST, list_id) if made_by_somebody else video


def _list(list_id: str) -> ParsedTarget | None:
    list_id = list_id.removeprefix("VL")  # how YouTube's own pages name a list
    if list_id == "RDMM":
        raise InvalidRequest(
            "RDMM (My mix) is another list at every look and cannot be archived; copy its videos to a playlist of your"
            " own (unlisted will do) and give that one's URL"
        )
    known = list_id in PRIVATE_LISTS or validate_playlist_id(list_id) or validate_album_id(list_id)
    return ParsedTarget(TargetKind.PLAYLIST, list_id) if known else None


def _channel(id: str) -> ParsedTarget | None:
    """Parse `UC…`, `@name`, `c/name` or `user/name`; names may be in any script."""
    id = unicodedata.normalize("NFC", unquote(id))
    if validate_channel_id(id):
        return ParsedTarget(TargetKind.CHANNEL, id)
    name = re.sub(r"^(@|c/|user/)", "", id)
    least, most = (3, 30) if id.startswith("@") else (1, 100)  # support.google.com/youtube/answer/11585688
    # combining marks belong to the names of many scripts, and `\w` leaves them out
    written = all(char in "_-.·" or unicodedata.category(char)[0] in "LMN" for char in name)
    usable = name != id and least <= len(name) <= most and written and name.strip(".") == name
    return ParsedTarget(TargetKind.CHANNEL, id) if usable else None


_CHANNEL_PATHS = {"channel": "", "browse": "", "c": "c/", "user": "user/"}


def _refusal(text: str) -> InvalidRequest:
    shown = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text[:80])
    if not text.strip():
        return InvalidRequest(f"an empty target: {_ACCEPTED}")
    return InvalidRequest(f"'{shown}{'…' if len(text) > 80 else ''}' is not something to archive: {_ACCEPTED}")
