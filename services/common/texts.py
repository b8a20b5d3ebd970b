"""Texts of other systems. Pure."""

from typing import Any


def encodable(text: str) -> str:
    """Replace lone surrogates: JSON can contain them (a text that was cut within an emoji), UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def all_encodable(value: Any) -> Any:
    """Return JSON-like data with every text, and every key, encodable. What needs no change is returned as it is."""
    if isinstance(value, str):
        return value if value.isascii() else encodable(value)
    if isinstance(value, dict):
        return {all_encodable(key): all_encodable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [all_encodable(part) for part in value]
    if isinstance(value, tuple):
        return tuple(all_encodable(part) for part in value)
    return value
