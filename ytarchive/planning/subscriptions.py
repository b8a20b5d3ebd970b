"""Read the channels that somebody follows elsewhere, from the file that the other program exports.

Google Takeout      subscriptions.csv       Channel Id, Channel Url, Channel Title
feed readers        OPML                    outlines with the addresses of feeds
NewPipe, Tubular    JSON                    {"subscriptions": [{"url": …, "name": …}, …]}
anything else       a target on each line   # and ; begin comments
"""

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from services.common.errors import InvalidRequest
from services.common.targets import ParsedTargets
from services.common.validation import decode_utf8
from ytarchive.planning.job_request import batch_targets

_FEED = re.compile(r"feeds/videos\.xml\?(?:.*&)?(channel_id|playlist_id)=([A-Za-z0-9_-]+)")


def read_subscriptions(file: str) -> list[str]:
    """Return the targets of a file, each once, in its order. Raise InvalidRequest."""
    path = Path(file).expanduser()
    try:
        text = decode_utf8(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file}: cannot be read: {error}") from error
    found = list(dict.fromkeys(target for target in _targets(text, file) if target))
    if not found:
        raise InvalidRequest(f"{file} names no channel: expected subscriptions.csv, OPML, NewPipe's JSON, or a list.")
    return found


def _targets(text: str, file: str) -> Iterable[str]:
    begin = text.lstrip("\ufeff \t\r\n")[:1]
    if begin == "<":
        return _of_opml(text, file)
    if begin in {"{", "["}:
        return _of_json(text, file)
    first = text.lstrip("\ufeff").splitlines()[0] if text.strip() else ""
    if "," in first and "channel" in first.lower():
        return _of_csv(text)
    return batch_targets(text.splitlines())


def _of_opml(text: str, file: str) -> list[str]:
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - expat limits what entities may become; the file is the user's
    except ElementTree.ParseError as error:
        raise InvalidRequest(f"{file}: is no OPML: {error}") from error
    addresses = [outline.get("xmlUrl") or outline.get("htmlUrl") or "" for outline in root.iter("outline")]
    return [found for address in addresses if (found := _of_address(address)) is not None]


def _of_address(address: str) -> str | None:
    """Return what a feed is of; the address itself, if it is one of YouTube; None for other feeds."""
    if feed := _FEED.search(address):
        return feed[2]
    return address if ParsedTargets.parse([address]).found else None


def _of_json(text: str, file: str) -> list[str]:
    try:
        data = json.loads(text)
        rows = data["subscriptions"] if isinstance(data, dict) else data
        addresses = [str(row["url"]) if isinstance(row, dict) else str(row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{file}: is no list of subscriptions: {error}") from error
    return [found for address in addresses if (found := _of_address(address)) is not None]


def _of_csv(text: str) -> list[str]:
    rows = csv.reader(text.lstrip("\ufeff").splitlines())
    next(rows, None)
    return [row[0].strip() for row in rows if row]
