import pytest

from services.common.errors import Forbidden
from services.common.web.access import AccessRules, Arrival, is_loopback

RULES = AccessRules("nas", frozenset({"archive.example.org"}))
API = "/api/v1/jobs"
PAGE = "/videos"
CROSS = "Sec-Fetch-Site: cross-site"
SAME_SITE = "Sec-Fetch-Site: same-site"
NAVIGATE = "Sec-Fetch-Mode: navigate"


def accepted(method: str, path: str, *headers: str) -> bool:
    given = dict(header.split(": ", 1) for header in headers)
    try:
        RULES.check(Arrival(method, path, {"Host": "localhost:8000", **given}, local="10.0.0.7"), "read")
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "[::ffff:127.0.0.1]", "nas:8000",
     "archive.example.org", "ARCHIVE.example.org:443", "10.0.0.7:8000"],
)  # fmt: skip
def test_names_of_the_service_are_answered(host: str) -> None:
    assert accepted("GET", API, f"Host: {host}")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8000", "", "10.0.0.1", "[::2]", "localhost:x",
     "localhost@evil.example", "user@localhost", "localhost/evil", "nas.evil.example", "[::1", "localhost:99999"],
)  # fmt: skip
def test_other_host_names_are_refused(host: str) -> None:
    """A host name of another site may resolve to this machine: DNS rebinding."""
    assert not accepted("GET", API, f"Host: {host}")
    assert not accepted("POST", API, f"Host: {host}", f"Origin: http://{host}")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8000", True),
        ("http://archive.example.org", True),  # a reverse proxy may replace Host
        ("https://archive.example.org:8443", True),
        ("http://localhost:3000", False),  # another program on this machine
        ("http://localhost", False),
        ("http://nas", False),
        ("http://localhost:8000.evil.example", False),
        ("http://evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_origins(method: str, origin: str, expected: bool) -> None:
    assert accepted(method, API, f"Origin: {origin}") is expected


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", API, ["Sec-Fetch-Site: none"], True),  # typed by the user
        ("GET", API, ["Sec-Fetch-Site: same-origin"], True),
        ("POST", API, ["Sec-Fetch-Site: same-origin"], True),
        ("GET", API, [CROSS], False),  # an <img> of another page
        ("GET", API, [CROSS, NAVIGATE], False),
        ("GET", PAGE, [CROSS, NAVIGATE], True),  # a link to the page
        ("GET", PAGE, [CROSS], False),
        ("POST", PAGE, [CROSS, NAVIGATE], False),  # a form of another page
        ("GET", API, [SAME_SITE, NAVIGATE], True),  # a link from the page of another service
        ("GET", API, [SAME_SITE], False),
        ("POST", API, [SAME_SITE, NAVIGATE], False),
        ("GET", API, ["Sec-Fetch-Site: invalid"], False),
    ],
)
def test_fetch_metadata(method: str, path: str, headers: list[str], expected: bool) -> None:
    assert accepted(method, path, *headers) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("nas", False), ("::", False), ("192.168.0.2", False)],
)  # fmt: skip
def test_loopback_hosts(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
