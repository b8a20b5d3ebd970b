"""Addresses without credentials; and whether the private attributes of nats-py that bus/connection/nats_client.py uses
exist.

If the latter fails after an upgrade of nats-py, adapt that module, run tests/integration/test_bus*.py, and raise the
upper bound in pyproject.toml.
"""

import inspect

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext

from bus.connection.nats_client import BrokerClient, without_credentials


def test_the_client_has_the_private_attributes_and_methods_that_are_used() -> None:
    client = Client()
    assert client._status == Client.DISCONNECTED
    assert client._transport is None
    assert list(inspect.signature(client._connect_to_server).parameters) == ["s"]
    assert next(iter(inspect.signature(client._send_unsubscribe).parameters)) == "sid"
    assert list(inspect.signature(client.request).parameters) == list(
        inspect.signature(BrokerClient().request).parameters
    )


def test_a_transport_has_a_writer_and_a_plain_writer_below_tls() -> None:
    transport = TcpTransport()  # type: ignore[no-untyped-call]  # nats-py has no annotation there
    assert (transport._io_writer, transport._bare_io_writer) == (None, None)


def test_the_id_of_the_inner_subscription_is_reachable_from_a_pull_subscription() -> None:
    assert "self._sub = " in inspect.getsource(JetStreamContext.PullSubscription.__init__)
    assert "self._id = " in inspect.getsource(Subscription.__init__)


def test_a_message_refers_to_its_client() -> None:
    client = Client()
    assert Msg(client, subject="a", data=b"")._client is client


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://user:pa/ss@word@broker.example:4222", "broker.example:4222"),
        ("token@[::1]:4222/", "[::1]:4222"),
        ("nats://a:b@one:4222, tls://c:d@two", "one:4222, two"),
    ],
)
def test_the_address_of_a_broker_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
