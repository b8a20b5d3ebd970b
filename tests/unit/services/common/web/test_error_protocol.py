"""The private parts of aiohttp that services/common/web/error_protocol.py uses exist.

If this fails after an upgrade of aiohttp, adapt that module, run tests/integration/test_rest_strangers.py, and raise
the upper bound in pyproject.toml.
"""

import inspect

from aiohttp import web


def test_an_app_runner_makes_its_server_in_a_method_of_its_own() -> None:
    assert inspect.iscoroutinefunction(web.AppRunner._make_server)


def test_a_server_keeps_its_loop_and_its_handler() -> None:
    source = inspect.getsource(web.Server.__init__)
    for name in ("self._loop = ", "self.request_handler = ", "self.request_factory = "):
        assert name in source


def test_a_request_handler_answers_errors_in_a_method_of_its_own() -> None:
    parameters = list(inspect.signature(web.RequestHandler.handle_error).parameters)
    assert parameters == ["self", "request", "status", "exc", "message"]
