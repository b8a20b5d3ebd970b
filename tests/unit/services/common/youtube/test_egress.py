"""Names of egresses."""

import pytest

from services.common.youtube.egress import egress_of


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        (None, "box/direct"),
        ("", "box/direct"),
        ("http://user:secret@proxy.example:3128", "box/proxy.example:3128"),
        ("socks5://10.0.0.1", "box/10.0.0.1"),
        ("user:secret@proxy.example:3128", "box/proxy.example:3128"),
    ],
)
def test_an_egress_name_contains_host_and_proxy_but_no_credentials(proxy: str | None, expected: str) -> None:
    assert egress_of(proxy, "box") == expected
