"""The bound socket of a service: its address, its URL, and the errors if it cannot be bound."""

import socket

import pytest

from services.common.errors import ConfigError
from services.common.settings.sections import Endpoint
from services.common.web.bound_socket import BoundSocket, is_free


@pytest.mark.parametrize(
    ("host", "bound", "public"),
    [
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", socket.gethostname()),  # noqa: S104 - the setting used in a container
    ],
)
def test_the_bound_address_and_the_url_for_other_machines(host: str, bound: str, public: str) -> None:
    listener = BoundSocket.bind("jobs", Endpoint(host=host, port=0))
    with listener.socket:
        address, port = listener.socket.getsockname()
        assert address == bound
        assert listener.url == f"http://{public}:{port}"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("no.such.host.invalid", r"services\.jobs\.host = 'no\.such\.host\.invalid'"),
        ("192.0.2.1", r"192\.0\.2\.1:0 cannot be bound.*services\.jobs\.port"),  # RFC 5737: reserved for documentation
    ],
)
def test_a_host_of_another_machine_is_a_configuration_error(host: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        BoundSocket.bind("jobs", Endpoint(host=host, port=0))


def test_a_port_in_use_is_detected_and_refused() -> None:
    listener = BoundSocket.bind("jobs", Endpoint(port=0))
    with listener.socket:
        listener.socket.listen()
        taken = Endpoint(port=listener.socket.getsockname()[1])
        assert not is_free(taken)
        with pytest.raises(ConfigError, match=r"is taken by another program.*YTARCHIVE_SERVICES__JOBS__PORT"):
            BoundSocket.bind("jobs", taken)
    assert is_free(taken)
