"""YouTube emulator on 127.0.0.1 for the demo and the tests; unmodified clients reach it through their proxy setting.

`async with Emulator() as emulator` runs it in this process. `emulator_process` runs `python -m ytarchive.emulator` as a
child process and yields the `EmulatorClient` that controls it. The package imports nothing else of this project.
"""

from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.client import EmulatorClient
from ytarchive.emulator.server import Emulator
from ytarchive.emulator.site.world import Channel, Playlist, Video, VideoKind, World
from ytarchive.emulator.transport.fault_injection import Effect, Fault

__all__ = [
    "Channel",
    "Effect",
    "Emulator",
    "EmulatorClient",
    "Fault",
    "Playlist",
    "Video",
    "VideoKind",
    "World",
    "emulator_process",
]
