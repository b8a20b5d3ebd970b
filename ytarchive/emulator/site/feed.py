"""The Atom feed of a list: its first fifteen entries."""

from html import escape

from ytarchive.emulator.site.world import UNAVAILABLE_IN_LISTINGS, Playlist, Video, World, published_at

ENTRIES = 15
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns:media="http://search.yahoo.com/mrss/"'
    ' xmlns="http://www.w3.org/2005/Atom">\n'
)


def feed_of(world: World, playlist: Playlist) -> str:
    """Return the feed of a playlist, or of the uploads of a channel."""
    channel = world.channel_of(playlist)
    author = f"<author><name>{_text(channel.title)}</name></author>"
    shown = [v for v in playlist.entries if world.listed_kind(v) not in UNAVAILABLE_IN_LISTINGS][:ENTRIES]
    entries = "".join(_entry(world, world.videos[video_id]) for video_id in shown)
    head = f"<yt:channelId>{channel.id}</yt:channelId><title>{_text(playlist.title)}</title>{author}\n"
    return f"{_HEAD}{head}{entries}</feed>\n"


def _entry(world: World, video: Video) -> str:
    path = f"shorts/{video.id}" if video.tab == "shorts" else f"watch?v={video.id}"
    return (
        f"<entry><id>yt:video:{video.id}</id><yt:videoId>{video.id}</yt:videoId>"
        f"<yt:channelId>{video.channel}</yt:channelId><title>{_text(video.title)}</title>"
        f'<link rel="alternate" href="https://www.youtube.com/{path}"/>'
        f"<author><name>{_text(world.channel_of(video).title)}</name></author>"
        f"<published>{published_at(video).isoformat()}</published>"
        f"<media:group><media:title>{_text(video.title)}</media:title>"
        f"<media:description>{_text(video.description)}</media:description>"
        f'<media:community><media:statistics views="{video.views}"/></media:community></media:group></entry>\n'
    )


def _text(text: str) -> str:
    """Escape a text, without the characters that XML cannot have."""
    return escape("".join(char for char in text if char.isprintable() or char in "\n\t"))
