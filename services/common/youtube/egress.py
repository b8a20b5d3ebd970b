"""The name of a machine's way to YouTube. Blocks are recorded per egress, so metadata and download must use the
same."""

import socket
from urllib.parse import urlsplit

YOUTUBE = "www.youtube.com"
"""The host whose circuit breaker counts the failures of extractions."""


def egress_of(proxy: str | None, host: str | None = None, *, name: str | None = None) -> str:
    """Return `name/direct` or `name/proxy:port`, without the proxy's credentials.

    `name` is `[youtube] egress`, for several host names behind one address (containers of one machine); the default is
    the host name.
    """
    host = name or host or socket.gethostname()
    if not proxy:
        return f"{host}/direct"
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = f":{parts.port}" if parts.port else ""
    return f"{host}/{parts.hostname or 'proxy'}{port}"
