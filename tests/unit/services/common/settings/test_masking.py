"""Masking of secrets in texts and structures."""

from typing import Any

import pytest

from services.common.settings.masking import MASK, mask


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/videos?part=snippet&key=geheim&x=1",
        "https://host/?access_token=geheim",
        "proxy http://user:geheim@10.0.0.1:3128 refused",
        "nats://geheim@127.0.0.1:4222",
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
        "page_key listing/1/flat/0",
    ],
)
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assert mask(text) == text


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
