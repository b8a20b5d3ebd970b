"""Body of a response; padding is generated while it is read, so a large file needs little memory."""

from dataclasses import dataclass

PAD_BLOCK = 4093


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes to serve: `head`, then `pad` bytes of `pattern`, which repeats every PAD_BLOCK bytes."""

    head: bytes
    pad: int = 0
    pattern: bytes = b""

    @property
    def size(self) -> int:
        return len(self.head) + self.pad

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `stop`."""
        stop = min(stop, self.size)
        data = self.head[start:stop]
        offset = max(start, len(self.head)) - len(self.head)
        wanted = stop - start - len(data)
        if wanted > 0:
            skip = offset % PAD_BLOCK
            repeats = (skip + wanted) // PAD_BLOCK + 1
            data += (self.pattern * repeats)[skip : skip + wanted]
        return data
