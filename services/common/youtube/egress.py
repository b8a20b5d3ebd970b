"""The name of a machine's way out to YouTube. Blocks are counted for it, so metadata and download must agree on it."""

import socket
from urllib.parse import urlsplit

YOUTUBE = "www.youtube.com"
"""The host whose breaker counts what yt-dlp's extractions meet."""


def egress_of(proxy: str | None, host: str | None = None, *, name: str | None = None) -> str:
    """`name/direct`, or `name/proxy:port`; never the proxy's user and password.

    `name` is `[youtube] egress`, for what leaves by one address under several host names (containers of one machine);
    without it the host's own name counts.
    """
    host = name or host or socket.gethostname()
    if not proxy:
        return f"{host}/direct"
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = f":{parts.port}" if parts.port else ""
    return f"{host}/{parts.hostname or 'proxy'}{port}"
