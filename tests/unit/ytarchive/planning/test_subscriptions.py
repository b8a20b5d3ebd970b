"""The files in which other programs export what somebody follows."""

import json
from pathlib import Path

import pytest

from services.common.errors import InvalidRequest
from ytarchive.planning.subscriptions import read_subscriptions

ONE, TWO = "UCaaaaaaaaaaaaaaaaaaaaaa", "UCbbbbbbbbbbbbbbbbbbbbbb"
FEED = "https://www.youtube.com/feeds/videos.xml"
OPML = f"""<?xml version="1.0"?><opml version="1.1"><body><outline text="Subscriptions">
  <outline text="One" type="rss" xmlUrl="{FEED}?channel_id={ONE}"/>
  <outline text="List" xmlUrl="{FEED}?playlist_id=PLaaaaaaaaaaaaaaaa"/>
  <outline text="A blog" xmlUrl="https://example.org/feed.xml"/>
  <outline text="Two" htmlUrl="https://www.youtube.com/channel/{TWO}"/>
  <outline text="One again" xmlUrl="{FEED}?channel_id={ONE}"/>
</outline></body></opml>"""
NEWPIPE = {"app_version": "1", "subscriptions": [
    {"service_id": 0, "url": f"https://www.youtube.com/channel/{ONE}", "name": "One"},
    {"service_id": 1, "url": "https://soundcloud.com/somebody", "name": "Elsewhere"},
]}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        (f'Channel Id,Channel Url,Channel Title\n{ONE},http://x,One\n\n{TWO},http://y,"Two, too"\n', [ONE, TWO]),
        (f"\ufeffChannel Id,Channel Url,Channel Title\r\n{ONE},http://x,One\r\n", [ONE]),
        (OPML, [ONE, "PLaaaaaaaaaaaaaaaa", f"https://www.youtube.com/channel/{TWO}"]),
        (json.dumps(NEWPIPE), [f"https://www.youtube.com/channel/{ONE}"]),
        (f"# mine\n@somebody\n{ONE}\n\n{ONE}\n", ["@somebody", ONE]),
    ],
)
def test_what_is_read(text: str, targets: list[str], tmp_path: Path) -> None:
    file = tmp_path / "subscriptions"
    file.write_text(text, encoding="utf-8")
    assert read_subscriptions(str(file)) == targets


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "names no channel"), (b"<opml", "is no OPML"), (b"{}", "no list of subscriptions"), (b"\xff\xfe", "read"),
     (b'{"subscriptions": 3}', "no list of subscriptions"), (b"<opml/>", "names no channel")],
)  # fmt: skip
def test_what_cannot_be_read_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "subscriptions"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=message):
        read_subscriptions(str(file))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_subscriptions(str(tmp_path / "nowhere"))
