"""The name of an egress."""

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
def test_the_way_out_has_a_name_without_secrets(proxy: str | None, expected: str) -> None:
    assert egress_of(proxy, "box") == expected
