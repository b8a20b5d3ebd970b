"""Compare the lengths of recordings. Pure."""

_SECONDS, _SHARE = 5.0, 0.03  # by which two lengths may differ: containers and listings round


def is_shorter(length: float, than: float) -> bool:
    """Return whether a recording is shorter than another one, both in seconds, beyond rounding."""
    return length < than - max(_SECONDS, _SHARE * than)
