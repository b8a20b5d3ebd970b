from pathlib import Path

import pytest
from multidict import CIMultiDict

from services.common.errors import Forbidden
from services.common.settings.load import load_config
from services.common.web.access import AccessRules, Arrival, is_loopback
from services.common.web.tokens import TokenStore

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


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-forwarded-host", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_forwards_is_refused_while_no_token_is_needed(header: str, tmp_path: Path) -> None:
    """A proxy on this machine that nobody has named in the configuration (`ProxyPass / http://127.0.0.1:8000/`) would
    open the service to the network: Host and the peer are those of this machine."""
    headers = CIMultiDict({"Host": "127.0.0.1:8000", header: "10.0.0.9"})
    with pytest.raises(Forbidden, match="allowed_hosts") as caught:
        RULES.check(Arrival("GET", API, headers, local="127.0.0.1", peer="127.0.0.1"), "read")
    assert caught.value.details["reason"] == "proxy"
    env = {"YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path), "YTARCHIVE_SERVICES__ALLOWED_HOSTS": "nas.example"}
    config = load_config(env=env, cwd=tmp_path)
    named = AccessRules.of(config, "localhost", "http://localhost:8000")
    headers["Authorization"] = f"Bearer {TokenStore(config).own()}"
    named.check(Arrival("GET", API, headers, local="127.0.0.1", peer="127.0.0.1"), "read")
