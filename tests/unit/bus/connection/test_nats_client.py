"""The private parts of nats-py that bus/connection/nats_client.py uses exist.

If this fails after an upgrade of nats-py, adapt that module, run tests/integration/test_bus*.py, and raise the upper
bound in pyproject.toml.
"""

import inspect

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext


def test_the_client_has_a_status_a_transport_and_the_methods_that_are_used() -> None:
    client = Client()
    assert client._status == Client.DISCONNECTED
    assert client._transport is None
    assert list(inspect.signature(client._connect_to_server).parameters) == ["s"]
    assert next(iter(inspect.signature(client._send_unsubscribe).parameters)) == "sid"


def test_a_transport_has_a_writer_and_one_below_tls() -> None:
    transport = TcpTransport()  # type: ignore[no-untyped-call]  # nats-py has no annotation there
    assert (transport._io_writer, transport._bare_io_writer) == (None, None)


def test_a_pull_subscription_leads_to_the_id_of_its_subscription() -> None:
    assert "self._sub = " in inspect.getsource(JetStreamContext.PullSubscription.__init__)
    assert "self._id = " in inspect.getsource(Subscription.__init__)


def test_a_message_leads_to_its_client() -> None:
    client = Client()
    assert Msg(client, subject="a", data=b"")._client is client
