"""People who log in to the page where it can be reached from other machines: a password, and sessions.

`{base_data_dir}/auth/password` contains an argon2 hash, `auth/sessions.json` the SHA-256 of each session's secret (256
random bits), which only the browser has, in a cookie that scripts cannot read. An order needs a second value, which is
derived from that secret and which a page of another site cannot know.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from services.common.errors import ConfigError, Forbidden, InvalidRequest
from services.common.infra.files import locked, write_atomically
from services.common.infra.logs import VERSION
from services.common.names import TokenScope
from services.common.settings.load import Config
from services.common.web.access import SAFE_METHODS, Arrival
from services.common.web.tokens import TokenStore, digest, includes

COOKIE = "ytarchive_session"
CSRF_HEADER = "X-CSRF-Token"
IDLE = timedelta(days=30)  # until a session that is not used ends
SHORTEST_PASSWORD = 8
MEDIA_KEY = "media.key"  # of signed addresses (ytarchive/web/media.py)
_LONGEST_PASSWORD = 1_000
_MOST = 200  # sessions; the one that was used longest ago goes
_NOTED_EVERY = timedelta(hours=1)  # that a session is used

_log = structlog.get_logger("ytarchive.web", service="web", version=VERSION)


class Session(BaseModel, frozen=True):
    """A session without its secret. `sha256` in hex. `credential`: a digest of the token or the password that began it,
    with which it ends."""

    sha256: str
    scope: TokenScope
    created_at: AwareDatetime
    used_at: AwareDatetime
    credential: str


_SESSIONS: TypeAdapter[list[Session]] = TypeAdapter(list[Session])


class Password:
    """The password of the page. All calls block; `check` for about 50 ms."""

    def __init__(self, config: Config) -> None:
        self._dir = config.storage.base_data_dir / "auth"
        self._file = self._dir / "password"

    @property
    def exists(self) -> bool:
        return self._file.is_file()

    def set(self, password: str) -> None:
        """Raise InvalidRequest for one that is too short, ConfigError when it cannot be written."""
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise InvalidRequest(f"A password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters.")
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self._file, _hasher().hash(password) + "\n", mode=0o600)
        except OSError as error:
            raise ConfigError(f"The password cannot be written to {self._file} ({error.strerror}).") from error

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    def credential(self) -> str | None:
        """Return a digest of what is stored, which another password changes; None without a password."""
        try:
            return digest(self._file.read_text("ascii"))
        except (OSError, UnicodeDecodeError):
            return None

    def check(self, password: str) -> bool:
        """Raise ConfigError when the file cannot be read."""
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > _LONGEST_PASSWORD:
            return False
        try:
            return bool(_hasher().verify(self._file.read_text("ascii").strip(), password))
        except FileNotFoundError:
            return False
        except VerificationError:
            return False
        except (OSError, UnicodeDecodeError, InvalidHashError) as error:
            raise ConfigError(
                f"{self._file} cannot be read. Set the password again: `ytarchive auth password`."
            ) from error


def _hasher() -> Any:
    from argon2 import PasswordHasher  # only where somebody logs in

    return PasswordHasher()


class Sessions:
    """The sessions of one installation. All calls block for one small file."""

    def __init__(self, config: Config) -> None:
        self._dir = config.storage.base_data_dir / "auth"
        self._file = self._dir / "sessions.json"
        self._tokens, self._password = TokenStore(config), Password(config)
        self._read: tuple[tuple[int, int, int] | None, dict[str, Session]] = (None, {})

    def begin(self, scope: TokenScope, credential: str) -> str:
        """Begin a session, which lasts as long as its `credential`. Return its secret, which is kept nowhere."""
        secret = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        session = Session(sha256=digest(secret), scope=scope, created_at=now, used_at=now, credential=credential)
        with locked(self._lock()):
            newest = sorted(self._known().values(), key=lambda one: one.used_at, reverse=True)
            self._write([session, *newest[: _MOST - 1]])
        return secret

    def end(self, secret: str) -> None:
        with locked(self._lock()):
            self._write([one for one in self._known().values() if one.sha256 != digest(secret)])

    def end_all(self) -> None:
        """End all sessions, and with their key all signed addresses of media."""
        with locked(self._lock()):
            self._write([])
            (self._dir / MEDIA_KEY).unlink(missing_ok=True)

    def find(self, headers: Mapping[str, str]) -> tuple[str, Session] | None:
        """Return the secret and the session of a request; None without a valid one."""
        secret = _cookie_of(headers)
        session = self._known().get(digest(secret)) if secret else None
        if secret is None or session is None:
            return None
        if session.credential != self._password.credential() and not self._tokens.has(session.credential):
            return None  # the token was revoked, or there is another password
        if datetime.now(UTC) - session.used_at > _NOTED_EVERY:
            self._note_use(session)
        return secret, session

    def identify(self, arrival: Arrival, needed: TokenScope) -> str | None:
        """As SessionRules: return a key for the session of a request, None without one."""
        found = self.find(arrival.headers)
        if found is None:
            return None
        secret, session = found
        given = arrival.headers.get(CSRF_HEADER, "")
        if arrival.method not in SAFE_METHODS and not hmac.compare_digest(digest(given), digest(csrf_token(secret))):
            raise Forbidden(
                f"An order of somebody who has logged in needs the header {CSRF_HEADER}. Load the page again.",
                reason="csrf",
            )
        if not includes(session.scope, needed):
            raise Forbidden(f"You have logged in with the scope {session.scope}; this needs {needed}.", reason="scope")
        return session.sha256

    def _note_use(self, session: Session) -> None:
        used = session.model_copy(update={"used_at": datetime.now(UTC)})
        try:
            with locked(self._lock()):
                known = self._known()
                if session.sha256 in known:
                    self._write([used if one.sha256 == used.sha256 else one for one in known.values()])
        except OSError as error:  # a full disk ends no session
            _log.warning("session_not_noted", error_message=str(error))

    def _known(self) -> dict[str, Session]:
        """Return the sessions that have not ended, by digest. Of a damaged file none: people log in again."""
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return {}
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._read[0] != version:
            try:
                found = _SESSIONS.validate_json(self._file.read_bytes())
            except ValidationError:
                _log.warning("sessions_lost", error_message=f"{self._file} is damaged: everybody has to log in again.")
                found = []
            self._read = (version, {one.sha256: one for one in found})
        oldest = datetime.now(UTC) - IDLE
        return {key: one for key, one in self._read[1].items() if one.used_at > oldest}

    def _write(self, sessions: list[Session]) -> None:
        write_atomically(self._file, _SESSIONS.dump_json(sessions), mode=0o600)

    def _lock(self) -> Path:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._dir / "lock"


def csrf_token(secret: str) -> str:
    """Return what orders of a session must carry beside the cookie."""
    return hmac.new(secret.encode(), b"orders", hashlib.sha256).hexdigest()


def _cookie_of(headers: Mapping[str, str]) -> str | None:
    """Other programs of this host name may have set cookies of any form."""
    for one in headers.get("Cookie", "").split(";"):
        name, _, value = one.strip().partition("=")
        if name == COOKIE and value:
            return value
    return None
