"""The process that forks children: `python -m services.common.youtube.child.fork_server FFMPEG`.

It imports yt-dlp and asks ffmpeg for its version once, so that a child starts in milliseconds and shares that memory.
It starts no thread, loads no plug-in and opens no file: all that happens in the child. Its stdin is a socket for
packets of JSON:

    parent -> server   {"memory_limit": bytes}, with the descriptors of the child's stdin, stdout and stderr
    server -> parent   {"pid": number}                       of the child, which leads a process group
                       {"pid": number, "exit_code": number}  a child has ended

It ends with its parent, or when the parent closes the socket, and its children end with it.
"""

import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
from contextlib import suppress
from types import SimpleNamespace

import yt_dlp
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

from services.common.youtube.child.operations import OPERATIONS, die_with_parent, serve
from services.common.youtube.child.session import EXTRACTORS
from services.common.youtube.tools import versions

_PACKET = 4096  # bytes
PRELOADED = (
    *OPERATIONS.values(),
    "yt_dlp.extractor.extractors",
    "yt_dlp.extractor.youtube",
    "yt_dlp.downloader.dash",
    "yt_dlp.downloader.hls",
)


def main() -> None:
    channel = socket.socket(fileno=os.dup(0))
    _open_null(0, os.O_RDONLY)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    wakes, wakes_written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # without a handler no byte is written
    signal.set_wakeup_fd(wakes_written, warn_on_full_buffer=False)
    for name in PRELOADED:
        importlib.import_module(name)
    for name in EXTRACTORS:
        yt_dlp.extractor.get_info_extractor(name).suitable("https://www.youtube.com/")  # compiles its pattern
    if ffmpeg := sys.argv[1]:
        _ask_version(ffmpeg)
    gc.collect()
    gc.freeze()  # a collection in a child would copy the memory that it shares
    with selectors.PollSelector() as selector:  # it has no descriptor that children would inherit
        selector.register(channel, selectors.EVENT_READ)
        selector.register(wakes, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _events in selector.select()}
            if wakes in ready:
                os.read(wakes, _PACKET)
                _report_ended(channel)
            if channel.fileno() in ready and not _fork_next(channel, (channel.fileno(), wakes, wakes_written)):
                return


def _ask_version(ffmpeg: str) -> None:
    """Ask ffmpeg what yt-dlp and the provenance of each video want to know. Both keep the answers."""
    FFmpegPostProcessor.get_versions(SimpleNamespace(params={"ffmpeg_location": ffmpeg}))
    versions(ffmpeg)


def _fork_next(channel: socket.socket, own: tuple[int, ...]) -> bool:
    """Fork the child of the next packet. Return False when the parent has closed the socket. `own`: the descriptors
    that the child must not inherit."""
    try:
        data, descriptors, _flags, _address = socket.recv_fds(channel, _PACKET, 3)
    except ConnectionError:
        return False
    if not data:
        return False
    pid = os.fork()
    if pid == 0:
        _become_child(descriptors, own, json.loads(data)["memory_limit"])
    with suppress(OSError):  # both set it: neither must wait for the other
        os.setpgid(pid, pid)
    for descriptor in descriptors:
        os.close(descriptor)
    _send(channel, {"pid": pid})
    return True


def _become_child(descriptors: list[int], own: tuple[int, ...], memory_limit: int) -> None:
    """Turn the forked process into a child. Never returns."""
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        for descriptor in (*descriptors, *own):
            os.close(descriptor)
        random.seed()  # or all children would choose the same pauses
        serve(memory_limit)
    finally:
        os._exit(1)  # whatever happened: the loop of the server must not go on here


def _report_ended(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(channel, {"pid": pid, "exit_code": os.waitstatus_to_exitcode(status)})


def _send(channel: socket.socket, message: dict[str, int]) -> None:
    with suppress(ConnectionError):  # the parent has ended; the next packet is the end
        channel.send(json.dumps(message).encode())


def _open_null(number: int, mode: int) -> None:
    null = os.open(os.devnull, mode)
    os.dup2(null, number)
    os.close(null)


if __name__ == "__main__":
    main()
