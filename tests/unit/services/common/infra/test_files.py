"""Atomic writes, checksums, free space and lock files."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.common.infra.files import (
    LockHeld,
    acquire,
    free_space,
    lock_holder,
    locked,
    remove_abandoned,
    sha256,
    writable,
    write_atomically,
)


def test_an_atomic_write_replaces_the_file_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "first, and longer")
    write_atomically(path, b"second", mode=0o600)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_atomic_write_leaves_the_target_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, "x")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"x", b"y" * 3_000_000])
def test_sha256(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_free_space_and_writable_use_the_nearest_existing_parent(tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "yet") > 0
    assert writable(tmp_path / "not" / "yet")
    (tmp_path / "file").touch()
    assert not writable(tmp_path / "file" / "below")


def test_a_lock_is_exclusive_and_records_the_pid_of_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    assert lock_holder(path) is None
    with locked(path):
        assert lock_holder(path) == os.getpid()
        with pytest.raises(LockHeld, match=f"locked by process {os.getpid()}") as caught, locked(path):
            raise AssertionError("held twice")
        assert caught.value.pid == os.getpid()
    assert path.exists()
    assert lock_holder(path) is None
    with locked(path):
        pass


def test_a_lock_is_released_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys,pathlib; from services.common.infra.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert lock_holder(path) == child.pid
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert lock_holder(path) is None


async def test_acquire_waits_for_a_lock_without_blocking_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = await acquire(path)
    asyncio.get_running_loop().call_later(0.05, first.close)  # runs only if waiting does not block the loop
    second = await acquire(path, patience=30.0)
    assert lock_holder(path) == os.getpid()
    with pytest.raises(LockHeld):
        await acquire(path, patience=0.05)
    second.close()
    assert lock_holder(path) is None


def test_files_that_killed_writers_left_are_removed(tmp_path: Path) -> None:
    kept = [
        tmp_path / name for name in ("a.json", ".a.json", ".a.json.new", ".a.json.0123ABCD.new", "a.json.0123abcd.new")
    ]
    for path in (*kept, tmp_path / ".a.json.0123abcd.new", tmp_path / ".token.89abcdef.new"):
        path.write_text("{")
    assert remove_abandoned(tmp_path) == 2
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert remove_abandoned(tmp_path / "nowhere") == 0


def test_a_file_that_is_being_written_is_not_abandoned(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from services.common.infra.files import write_atomically
os.fsync = lambda descriptor: (print("writing", flush=True), sys.stdin.readline())
write_atomically(Path(sys.argv[1]) / "a.json", "{}")
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin and writer.stdout
        assert writer.stdout.readline() == "writing\n"
        assert remove_abandoned(tmp_path) == 0
        writer.kill()
        writer.wait()
        assert remove_abandoned(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_written_beside_a_clean_up_are_not_lost(tmp_path: Path) -> None:
    """Between its creation and its lock a sibling looks abandoned."""
    done = threading.Event()

    def clean_up() -> None:
        while not done.is_set():
            remove_abandoned(tmp_path)

    cleaning = threading.Thread(target=clean_up)
    cleaning.start()
    try:
        for number in range(1_000):
            write_atomically(tmp_path / "file", str(number))
    finally:
        done.set()
        cleaning.join()
    assert (tmp_path / "file").read_text() == "999"
