"""The hosts that the emulator serves."""

import pytest

from ytarchive.emulator.transport.tls import is_allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("youtube.com", True),
        ("WWW.YouTube.com", True),
        ("rr3---sn-x.googlevideo.com", True),
        ("youtu.be.", True),
        ("notyoutube.com", False),
        ("youtube.com.evil.example", False),
        ("", False),
        ("127.0.0.1", False),
    ],
)
def test_only_hosts_of_youtube_are_allowed(host: str, allowed: bool) -> None:
    assert is_allowed(host) is allowed
