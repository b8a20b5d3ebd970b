"""Blob: ranges of a padded body."""

from hypothesis import given
from hypothesis import strategies as st

from ytarchive.emulator.transport.blob import Blob

PATTERN = bytes(n % 251 for n in range(4093))


@given(st.binary(max_size=50), st.integers(0, 20_000), st.integers(0, 21_000), st.integers(0, 21_000))
def test_read_returns_a_slice_of_the_whole(head: bytes, pad: int, start: int, stop: int) -> None:
    blob = Blob(head, pad, PATTERN)
    whole = (head + PATTERN * 6)[: len(head) + pad]
    assert blob.size == len(whole)
    assert blob.read(0, blob.size) == whole
    assert blob.read(start, stop) == whole[start:stop]
