"""Texts that other systems cut within a character."""

import json

import pytest

from services.common.texts import all_encodable


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('"plain"', "plain"),
        ('"half \\ud83d"', "half ?"),
        ('"whole \\ud83d\\ude00"', "whole \U0001f600"),
        ('{"a\\ud83d": ["b\\udc00", 1, null, {"c": true}]}', {"a?": ["b?", 1, None, {"c": True}]}),
    ],
)
def test_lone_surrogates_are_replaced_everywhere(given: str, expected: object) -> None:
    cleaned = all_encodable(json.loads(given))
    assert cleaned == expected
    json.dumps(cleaned, ensure_ascii=False).encode()
