"""A service's port: bound early, shown as others reach it, told of when it cannot be had."""

import socket

import pytest

from services.common.errors import ConfigError
from services.common.settings.sections import Endpoint
from services.common.web.bound_socket import BoundSocket, is_free


@pytest.mark.parametrize(
    ("host", "bound", "shown"),
    [
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", socket.gethostname()),  # noqa: S104 - what a container is configured with
    ],
)
def test_where_it_is_bound_and_how_it_is_shown(host: str, bound: str, shown: str) -> None:
    listener = BoundSocket.bind("jobs", Endpoint(host=host, port=0))
    with listener.socket:
        address, port = listener.socket.getsockname()
        assert address == bound
        assert listener.url == f"http://{shown}:{port}"


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("no.such.host.invalid", r"services\.jobs\.host = 'no\.such\.host\.invalid'"),
        ("192.0.2.1", r"192\.0\.2\.1:0 cannot be bound.*services\.jobs\.port"),  # RFC 5737: nobody's address
    ],
)
def test_a_host_that_is_not_ours(host: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        BoundSocket.bind("jobs", Endpoint(host=host, port=0))


def test_a_port_is_taken_or_free() -> None:
    listener = BoundSocket.bind("jobs", Endpoint(port=0))
    with listener.socket:
        listener.socket.listen()
        taken = Endpoint(port=listener.socket.getsockname()[1])
        assert not is_free(taken)
        with pytest.raises(ConfigError, match=r"is taken by another program.*YTARCHIVE_SERVICES__JOBS__PORT"):
            BoundSocket.bind("jobs", taken)
    assert is_free(taken)
