"""Masking of secrets in texts and structures."""

from typing import Any

import pytest

from services.common.settings.masking import MASK, mask, mask_url


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/videos?part=snippet&key=geheim&x=1",
        "https://host/?access_token=geheim",
        "proxy http://user:geheim@10.0.0.1:3128 refused",
        "nats://geheim@127.0.0.1:4222",
        "http://user:pa@geheim@10.0.0.1:3128",
        "http://us%40er:pa%2Fss%40geheim@proxy.example:3128 refused",
        "socks5h://user:geheim@[::1]:1080/",
        "http://user:pa/geheim@proxy.example:3128",
        "http://user:pa?geheim#x@[2001:db8::1]:3128",
        "nats://geheim:x@127.0.0.1:4222,nats://user:geheim@[::1]:4222",
        "user:geheim@proxy.example:3128 refused",
        "proxy=user:pa/geheim@proxy.example:3128",
        "(us.er:pa@geheim@[::1]:3128)",
        "Authorization: Bearer geheim",
        "Cookie: SID=geheim; HSID=geheim",
        '{"api_key": "geheim"}',
        "password=geheim",
        "nats_token=geheim",
        '{"my_api_key": "two words, geheim"}',
        '{"password": "a \\" geheim',
        "AIza" + "geheim" + "x" * 29,
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    assert "geheim" not in mask(text)
    assert MASK in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL123&monkey=1",
        "a cookie recipe: butter and sugar".replace("cookie recipe:", "cookie recipe,"),
        "mail to someone@example.org",
        "https://www.youtube.com/@SomeChannel",
        "http://localhost:8000/api/v1/@SomeChannel",
        "http://[::1]:8000/@SomeChannel?mail=someone@example.org",
        "time 12:30 host:8000 a@b",
        "page_key listing/1/flat/0",
    ],
)
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("scheme", ["http://", "socks5h://", ""])
@pytest.mark.parametrize(
    "secret", ["user:geheim", "geheim", "u:12/geheim", "u:'geheim\"", "u:ge,heim@geheim", "u:%2fgeheim"]
)
@pytest.mark.parametrize("address", ["proxy.example:3128", "[::1]:3128", "proxy.example"])
def test_the_credentials_of_a_url_are_masked_whatever_their_characters(scheme: str, secret: str, address: str) -> None:
    assert mask_url(f"{scheme}{secret}@{address}") == f"{scheme}{MASK}@{address}"
    assert mask_url(f"{scheme}{address}") == f"{scheme}{address}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"options": {"api_key": "geheim", "quality": "720p"}}, {"options": {"api_key": MASK, "quality": "720p"}}),
        ({"headers": {"X-Goog-Api-Key": "geheim"}}, {"headers": {"X-Goog-Api-Key": MASK}}),
        ([{"cookies": ["geheim"]}], [{"cookies": MASK}]),
        ({"nats_token": "geheim", "token": None, "password": ""}, {"nats_token": MASK, "token": None, "password": ""}),
        ({"page_key": "a", "cookies_file": "/c.txt"}, {"page_key": "a", "cookies_file": "/c.txt"}),
        (("a", 1, None, True), ["a", 1, None, True]),
    ],
)
def test_secrets_in_nested_structures_are_masked(value: Any, expected: Any) -> None:
    assert mask(value) == expected
