"""The body of an answer, made piece by piece so that a large file needs no memory."""

from __future__ import annotations

from dataclasses import dataclass

PAD_BLOCK = 4093


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes to serve: `head`, then `pad` bytes of a pattern that repeats every 4093."""

    head: bytes
    pad: int = 0
    pattern: bytes = b""

    @property
    def size(self) -> int:
        return len(self.head) + self.pad

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`."""
        stop = min(stop, self.size)
        data = self.head[start:stop]
        offset = max(start, len(self.head)) - len(self.head)
        wanted = stop - start - len(data)
        if wanted > 0:
            skip = offset % PAD_BLOCK
            repeats = (skip + wanted) // PAD_BLOCK + 1
            data += (self.pattern * repeats)[skip : skip + wanted]
        return data
