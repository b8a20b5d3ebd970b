"""Check that the private attributes of aiohttp used by services/common/web/error_protocol.py exist.

If this fails after an upgrade of aiohttp, adapt that module, run tests/integration/test_untrusted_rest_requests.py, and
raise the upper bound in pyproject.toml.
"""

import inspect

from aiohttp import web


def test_an_app_runner_creates_its_server_in_an_overridable_coroutine() -> None:
    assert inspect.iscoroutinefunction(web.AppRunner._make_server)


def test_a_server_stores_its_loop_handler_and_request_factory() -> None:
    source = inspect.getsource(web.Server.__init__)
    for name in ("self._loop = ", "self.request_handler = ", "self.request_factory = "):
        assert name in source


def test_a_request_handler_has_the_attributes_that_limits_and_streams_need() -> None:
    assert {"_request_count", "_task_handler", "_current_request", "_manager"} <= set(web.RequestHandler.__slots__)
    assert "keepalive_timeout" in inspect.signature(web.RequestHandler.__init__).parameters


def test_a_request_handler_answers_errors_in_an_overridable_method() -> None:
    parameters = list(inspect.signature(web.RequestHandler.handle_error).parameters)
    assert parameters == ["self", "request", "status", "exc", "message"]
