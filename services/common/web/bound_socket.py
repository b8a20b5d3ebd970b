"""The socket of a service, bound before anything else starts: the URL is known early, and a port in use is reported at
once."""

import errno
import socket
from dataclasses import dataclass

from services.common.errors import ConfigError
from services.common.settings.load import Endpoint


@dataclass(frozen=True)
class BoundSocket:
    """A bound socket that does not listen yet, and the URL of the service."""

    socket: socket.socket
    url: str

    @classmethod
    def bind(cls, name: str, endpoint: Endpoint, section: str | None = None) -> "BoundSocket":
        """Bind host and port of `[services.NAME]`, or of another `section` (port 0: any free one). `localhost` means
        127.0.0.1 only.

        Raise ConfigError, which names port and key.
        """
        section = section or f"services.{name}"
        host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
        try:
            family, kind, protocol, _name, address = socket.getaddrinfo(
                host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except socket.gaierror as error:
            raise ConfigError(f"{section}.host = {endpoint.host!r}: {error.strerror}. Correct it.") from error
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            bound.close()
            raise _refused(name, section, endpoint, error) from error
        bound.setblocking(False)
        port = bound.getsockname()[1]
        shown = socket.gethostname() if endpoint.is_wildcard else host
        return cls(bound, f"http://{f'[{shown}]' if ':' in shown else shown}:{port}")


def is_free(endpoint: Endpoint) -> bool:
    """Return whether the endpoint can be bound now."""
    try:
        BoundSocket.bind("probe", endpoint).socket.close()
    except ConfigError:
        return False
    return True


def _refused(name: str, section: str, endpoint: Endpoint, error: OSError) -> ConfigError:
    place = f"{endpoint.host}:{endpoint.port}"
    key = f"{section}.port"
    variable = f"YTARCHIVE_{key.replace('.', '__').upper()}"
    if error.errno == errno.EADDRINUSE:
        why = f"port {place} is taken by another program"
    elif error.errno == errno.EACCES:
        why = f"port {place} needs more rights than this program has"
    else:
        why = f"{place} cannot be bound: {error.strerror}"
    remedy = f"Stop that program, or set {key} ({variable}) to another port, 0 for any."
    return ConfigError(f"The {name} service cannot start: {why}. {remedy}", key=key, port=endpoint.port)
