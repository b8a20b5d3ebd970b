"""Addresses in settings. Pure. Messages never repeat the text, which may contain a password."""

from urllib.parse import urlsplit

PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
BROKER_SCHEMES = ("nats", "tls", "ws", "wss")


def parse_address(text: str, schemes: tuple[str, ...]) -> tuple[str, str, int | None]:
    """Return scheme, host and port (None: without one) of a URL. Without a scheme it has the first of `schemes`.

    Raises ValueError.
    """
    try:
        parts = urlsplit(text if "://" in text else f"{schemes[0]}://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "host or port is not valid; in a password write special characters as %XX, for example %40 for @"
        ) from None
    if parts.scheme not in schemes:
        raise ValueError(f"{parts.scheme}:// is not supported; supported are {', '.join(schemes)}")
    if not host:
        raise ValueError("it has no host")
    return parts.scheme, host, port
