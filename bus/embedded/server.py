"""An embedded broker: a nats-server child process on 127.0.0.1, with its own token and store lock."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from pydantic import SecretStr

from bus.connection.nats_client import Callbacks, close_client, open_client
from bus.embedded.child_exit import ended_within
from bus.embedded.headway import Headway
from bus.embedded.probe import HOST, accepts_connections, is_free, port_of
from bus.embedded.program import find_server
from bus.embedded.store_check import STORE, StoreUnreadable, set_aside, unreadable_parts
from bus.embedded.store_lock import StoreLock
from bus.errors import BrokerUnavailable
from bus.settings import BusSettings
from bus.streams.configuration import reset_consumers
from bus.tasks import cancel_and_wait

log = structlog.get_logger("bus", logger_name="bus")

_MAX_PAYLOAD = 8 * 1024**2
_ROOM = 1024**3  # bytes of the store beside our two streams: key-value buckets, and purged space that is not freed yet
_STALLED = 30.0  # seconds without headway until a starting server is given up
_LOADING = 10.0  # seconds between two log records about a store that takes long to load
_PANIC = ("panic:", "fatal error:")  # the first words of a Go program that crashes
_STOP_TIMEOUT = 10.0
_POLL = 0.005
_HEALTH_TIMEOUT = 2.0
_FAILED_WRITE = "[ERR] JetStream failed to store a msg"
_UNHEALTHY_LIMIT = 5  # failed health checks in a row until a restart
_WHILE_HEALTHY = 3  # times longer between two checks, as long as they do not fail

# The child requests a death signal for the end of its parent, checks that the parent is still alive, and executes the
# server. Not a preexec_fn: running Python between fork and exec can deadlock a process that has threads.
_SHIM = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1,9)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid()==int(sys.argv[1]) and os.execv(sys.argv[2],sys.argv[2:])\n"
)


# Other variables may contain secrets.
_NEEDED = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "GOMAXPROCS", "GOMEMLIMIT", "GODEBUG")


class EmbeddedServer:
    """Runs a nats-server on `store_dir` and restarts it when necessary.

    Port and token are stored in `store_dir`, so that clients find the server after a restart. Start it from a thread
    that lives as long as the server (best the main thread): Linux sends the death signal when the *thread* that started
    the child ends. On other systems the child survives a SIGKILL of this process until the next start.
    """

    def __init__(
        self, store_dir: Path, *, port: int | None = None, like: BusSettings | None = None, health_every: float = 2.0
    ) -> None:
        """`port`: the preferred port, by default the one used before. `like`: the limits for `settings`.
        `health_every`: the seconds between health checks once one has failed, thrice as many before; after 5 failures
        in a row the server is restarted.
        """
        self._dir = store_dir.expanduser().absolute()
        self._preferred_port = port
        self._health_every = health_every
        self._like = like or BusSettings(url=f"nats://{HOST}")
        self._settings: BusSettings | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = StoreLock(self._dir / "server.lock")
        self._watcher: asyncio.Task[None] | None = None
        self._watching: Client | None = None  # the connection of the health checks
        self._log_from = 0  # where in the log the present child begins

    @property
    def settings(self) -> BusSettings:
        """The connection settings; available after start()."""
        if self._settings is None:
            raise RuntimeError("the server has not been started")
        return self._settings

    @property
    def pid(self) -> int:
        """The process id of the child; available after start()."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def kill(self) -> None:
        """Kill the child at once, if it runs. It is not restarted by this."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def start(self) -> BusSettings:
        """Start the child and wait until it accepts connections. Raise BrokerUnavailable, which names the remedy."""
        binary = find_server()
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            await self._lock.take()
        except OSError as error:
            raise BrokerUnavailable(f"cannot use {self._dir} for the broker's store: {error}") from error
        try:
            before = self._previous_config()
            token = before.get("authorization", {}).get("token") or secrets.token_urlsafe(32)
            await self._launch_readable(binary, token, [self._preferred_port or before.get("port") or -1, -1])
            await self._reset_consumers()
        except BaseException:
            self._end_child(signal.SIGKILL)
            self._lock.release()
            raise
        self._watcher = asyncio.create_task(self._watch(binary))
        return self.settings

    async def _reset_consumers(self) -> None:
        """Make the broker redeliver unacknowledged messages: their consumers ended with the previous broker."""
        try:
            async with self._client() as client:
                await reset_consumers(client)
        except (BrokerUnavailable, nats.errors.Error, TimeoutError) as error:
            log.warning("messages_stay_held", error=str(error))

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        client = await open_client(self.settings, source="broker", callbacks=Callbacks())
        try:
            yield client
        finally:
            await close_client(client)

    async def stop(self) -> None:
        """Stop the child: SIGTERM, and SIGKILL after 10 s. Idempotent."""
        if self._watcher is not None:
            await cancel_and_wait([self._watcher])  # nats-py may swallow the first cancellation
            self._watcher = None
            await self._stop_watching()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT):
                    while self._process.poll() is None:  # noqa: ASYNC110 - there is no event for a child's end
                        await asyncio.sleep(_POLL)
        self._end_child(signal.SIGKILL)
        self._lock.release()

    # --- the child ------------------------------------------------------------------------------------------------

    async def _launch_readable(self, binary: Path, token: str, ports: list[int]) -> None:
        """Start, on an empty store if the present one cannot be loaded: clients notice that it is another one."""
        try:
            await self._launch(binary, token, ports)
            await self._check_store()
        except StoreUnreadable as error:
            self._end_child(signal.SIGKILL)
            place = set_aside(self._dir)
            log.error(
                "broker_store_set_aside",
                store=str(place),
                reason=str(error),
                remedy="the work goes on from jobs.db; remove the folder when nothing is missed",
            )
            await self._launch(binary, token, ports)

    async def _check_store(self) -> None:
        """Raise StoreUnreadable when the server has started without a part of its store."""
        try:
            async with self._client() as client:
                missing = await unreadable_parts(client.jetstream(), self._dir)
        except (BrokerUnavailable, nats.errors.Error, TimeoutError) as error:
            log.warning("broker_store_not_checked", error=str(error))
            return
        if missing:
            raise StoreUnreadable(f"nats-server cannot load {missing[0]}; {len(missing)} such folders in all")

    async def _launch(self, binary: Path, token: str, ports: list[int]) -> None:
        """Start on the first free port of `ports`; -1 lets the server choose."""
        for port in ports:
            if port > 0 and not is_free(port):
                log.warning("broker_port_taken", port=port)
                continue
            self._write_config(token, port)
            self._spawn(binary)
            found = await self._wait_until_ready()
            if found is None:
                continue  # the port was taken meanwhile
            self._write_config(token, found)  # for the next start
            self._settings = self._like.model_copy(
                update={"url": f"nats://{HOST}:{found}", "token": SecretStr(token), "user": None, "password": None}
            )
            log.info("broker_started", pid=self.pid, port=found, store=str(self._dir))
            return
        raise BrokerUnavailable(f"nats-server found no free port on {HOST}; its log: {self._log_tail()}")

    def _spawn(self, binary: Path) -> None:
        command = [str(binary), "-c", str(self._config)]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), *command]
        for old in self._dir.glob("*.ports"):
            old.unlink(missing_ok=True)
        with self._log.open("ab") as output:  # its output before it opens its log file
            self._log_from = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={name: os.environ[name] for name in _NEEDED if name in os.environ},
                start_new_session=True,  # Ctrl-C must not stop the server before its clients
                pass_fds=(self._lock.fileno(),),  # the lock is held as long as either process lives
            )
        self._lock.write(child=self.pid)

    async def _wait_until_ready(self) -> int | None:
        """Return the port for clients; None when it was taken. A large store is loaded before the port opens: wait
        while the child makes headway. Raise BrokerUnavailable, StoreUnreadable."""
        assert self._process is not None, "called after _spawn"  # noqa: S101 - for the type checker
        headway = Headway(self.pid, self._log)
        reported = time.monotonic()
        while headway.stalled_for() < _STALLED:
            if self._process.poll() is not None:
                tail = self._log_tail()
                if "address already in use" in tail:
                    return None
                if any(line.startswith(_PANIC) for line in self._log_lines()) and (self._dir / STORE).exists():
                    raise StoreUnreadable(f"nats-server crashed while it loaded its store: {tail}")
                raise BrokerUnavailable(f"nats-server ended with status {self._process.returncode}: {tail}")
            if (port := self._announced()) is not None and await accepts_connections(port):
                return port
            if time.monotonic() - reported > _LOADING:
                reported = time.monotonic()
                log.warning("broker_loads_its_store", store=str(self._dir), log=self._log_tail())
            await asyncio.sleep(_POLL)
        stalled = f"nats-server made no headway for {_STALLED:g} s while it started: {self._log_tail()}"
        raise StoreUnreadable(stalled) if (self._dir / STORE).exists() else BrokerUnavailable(stalled)

    def _announced(self) -> int | None:
        """Read the port from the server's ports file, `<program>_<pid>.ports`."""
        for path in self._dir.glob(f"*_{self.pid}.ports"):
            with contextlib.suppress(ValueError, KeyError, IndexError, OSError):  # partly written: read again later
                return port_of(json.loads(path.read_text())["nats"][0])
        return None

    def _end_child(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait()
        self._process = None

    # --- health ---------------------------------------------------------------------------------------------------

    async def _watch(self, binary: Path) -> None:
        """Restart the child when it has died or stays unhealthy, as after a full disk."""
        bad = 0
        while True:
            pause = self._health_every if bad else _WHILE_HEALTHY * self._health_every
            ended = self._process is None or await ended_within(self._process, pause)
            if not ended:
                bad = 0 if await self._is_healthy() else bad + 1
                if bad < _UNHEALTHY_LIMIT:
                    continue
            log.error("broker_restarts", reason="unhealthy" if bad else "it ended", log=self._log_tail())
            bad = 0
            await self._restart(binary)

    async def _is_healthy(self) -> bool:
        """Return whether JetStream answers, on a connection that is kept: a monitoring port would be open to all users
        of this machine.

        After a failed write, to a full disk for example, the stream stores nothing more, while JetStream and the info
        of the stream answer. Only the log tells: with a token there can be no system account, which knows the health.
        """
        if any(_FAILED_WRITE in line for line in self._log_lines()):
            return False
        try:
            async with asyncio.timeout(min(self._health_every, _HEALTH_TIMEOUT)):
                if self._watching is None:
                    self._watching = await open_client(self.settings, source="broker", callbacks=Callbacks())
                await self._watching.jetstream().account_info()
        except (BrokerUnavailable, nats.errors.Error, TimeoutError, OSError):
            await self._stop_watching()
            return False
        return True

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            client, self._watching = self._watching, None
            await close_client(client)

    async def _restart(self, binary: Path) -> None:
        """Restart on the same port, which the clients use."""
        token = self.settings.token
        assert token is not None, "start() made one"  # noqa: S101 - for the type checker
        port = port_of(self.settings.url)
        pause = 0.1
        await self._stop_watching()
        while True:
            self._end_child(signal.SIGKILL)
            try:
                await self._launch_readable(binary, token.get_secret_value(), [port])
                return
            except (BrokerUnavailable, OSError) as error:
                log.error("broker_restart_failed", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    # --- files ----------------------------------------------------------------------------------------------------

    @property
    def _config(self) -> Path:
        return self._dir / "nats.conf"

    @property
    def _log(self) -> Path:
        return self._dir / "nats.log"

    def _write_config(self, token: str, port: int) -> None:
        """Write the configuration as JSON, which nats-server accepts. Mode 0600: it contains the token."""
        config = {
            "host": HOST,
            "port": port,
            "ports_file_dir": str(self._dir),
            "authorization": {"token": token},
            "max_payload": _MAX_PAYLOAD,
            "log_file": str(self._log),
            "logfile_size_limit": 8 * 1024**2,
            "logfile_max_num": 2,
            "jetstream": {
                "store_dir": str(self._dir),
                "sync_interval": "always",  # the default of two minutes loses acknowledged messages in a power failure
                "max_file_store": self._like.events_max_bytes + self._like.logs_max_bytes + _ROOM,
                "max_memory_store": 64 * 1024**2,
            },
        }
        draft = self._config.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(config, indent=1, ensure_ascii=False))
        draft.replace(self._config)

    def _previous_config(self) -> dict[str, Any]:
        try:
            config = json.loads(self._config.read_text())
        except (OSError, ValueError):
            return {}
        return config if isinstance(config, dict) else {}

    def _log_tail(self) -> str:
        lines = self._log_lines()
        severe = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines
        return "; ".join(severe[-3:]) or f"there is no output in {self._log}"

    def _log_lines(self) -> list[str]:
        """Return the last lines of the log of the present child."""
        try:
            size = self._log.stat().st_size
            start = self._log_from if self._log_from <= size else 0  # it was rotated
            with self._log.open("rb") as file:
                file.seek(max(start, size - 8000))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []
