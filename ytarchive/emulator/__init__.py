"""A YouTube emulator on 127.0.0.1 for the demo and the tests: unmodified clients use it through their proxy setting.

`async with Emulator() as emulator` runs one in this process, `python -m ytarchive.emulator` in another one, which
`emulator_process` starts and an `EmulatorClient` controls. It imports nothing else of this project.
"""

from ytarchive.emulator.child import emulator_process
from ytarchive.emulator.client import EmulatorClient
from ytarchive.emulator.server import Emulator
from ytarchive.emulator.site.world import Channel, Kind, Playlist, Video, World
from ytarchive.emulator.transport.fault_injection import Effect, Fault

__all__ = [
    "Channel",
    "Effect",
    "Emulator",
    "EmulatorClient",
    "Fault",
    "Kind",
    "Playlist",
    "Video",
    "World",
    "emulator_process",
]
