"""Bearer tokens of the REST API: the own token of an installation, and those that were issued to others.

`{base_data_dir}/auth/token` contains the own token as text: services and the command line read it. Of an issued token
`auth/tokens.json` contains only the SHA-256, because a token of 256 random bits cannot be guessed from it.
"""

import hashlib
import hmac
import os
import re
import secrets
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from services.common.errors import ConfigError, InvalidRequest, NotFound
from services.common.infra.files import locked, sync_directory, write_atomically
from services.common.names import TOKEN_SCOPES, TokenScope
from services.common.settings.load import Config

OWN = "own"  # the name of the own token
_PREFIX = "yta_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class IssuedToken(BaseModel, frozen=True):
    """A token without its secret. `sha256` in hex."""

    name: str
    scope: TokenScope
    sha256: str
    created_at: AwareDatetime


_ISSUED: TypeAdapter[list[IssuedToken]] = TypeAdapter(list[IssuedToken])


class TokenStore:
    """The tokens of one installation. All calls block for one small file."""

    def __init__(self, config: Config) -> None:
        self._configured = config.auth.token.get_secret_value() if config.auth.token else None
        self._dir = config.storage.base_data_dir / "auth"
        self._own_file = self._dir / "token"
        self._issued_file = self._dir / "tokens.json"
        self._own: str | None = None  # read once, because requests ask for it
        self._read: tuple[tuple[int, int, int] | None, list[IssuedToken]] = (None, [])

    # --- the own token ------------------------------------------------------------------------------------------------

    def own(self) -> str | None:
        """Return `[auth] token`, else the one in the data directory, else None. Raise ConfigError when its file is
        empty or unreadable."""
        if self._configured is not None:
            return self._configured
        try:
            found = self._own_file.read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self._own_file} cannot be read ({error}). Set [auth] token, or remove the file."
            ) from error
        if not found:
            raise ConfigError(f"{self._own_file} is empty. Set [auth] token, or remove it: the next start creates it.")
        return found

    def ensure_own(self) -> str:
        """Return the own token; the first call creates it (mode 0600). Raise ConfigError when that is impossible."""
        found = self.own()
        if found is not None:
            return found
        try:
            return self._create_own()
        except OSError as error:
            raise ConfigError(
                f"The access token cannot be written to {self._own_file} ({error.strerror}), and without one no "
                "service is opened to the network. Make the folder writable, or set [auth] token.",
                key="auth.token",
            ) from error

    def _create_own(self) -> str:
        """Several services may do this at once: the first one wins, because a hard link replaces nothing."""
        self._prepare()
        draft = self._dir / f".token.{secrets.token_hex(4)}.new"
        write_atomically(draft, _new_token() + "\n", mode=0o600)
        try:
            os.link(draft, self._own_file)
            sync_directory(self._dir)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return self._own_file.read_text("ascii").strip()

    # --- issued tokens ------------------------------------------------------------------------------------------------

    def issued(self) -> list[IssuedToken]:
        """Return the issued tokens, oldest first. Raise ConfigError when their file is damaged."""
        try:
            status = self._issued_file.stat()
        except FileNotFoundError:
            return []
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._read[0] != version:
            try:
                self._read = (version, _ISSUED.validate_json(self._issued_file.read_bytes()))
            except (OSError, ValidationError) as error:
                raise ConfigError(
                    f"{self._issued_file} is damaged: no issued token is accepted. Remove the file and issue the "
                    "tokens again.",
                    file=str(self._issued_file),
                ) from error
        return self._read[1]

    def issue(self, name: str, scope: TokenScope) -> str:
        """Create a token and return it: this is the only time that it can be seen."""
        if not _NAME.fullmatch(name) or name == OWN:
            raise InvalidRequest(
                f"A token cannot have the name {name!a}. Use up to 64 letters, digits, '.', '_' and '-'."
            )
        self._prepare()
        with locked(self._dir / "lock"):
            issued = self.issued()
            if any(token.name == name for token in issued):
                raise InvalidRequest(f"There is a token {name} already. Revoke it first, or choose another name.")
            token = _new_token()
            entry = IssuedToken(name=name, scope=scope, sha256=digest(token), created_at=datetime.now(UTC))
            self._write([*issued, entry])
        return token

    def revoke(self, name: str) -> None:
        """Remove an issued token; requests with it are refused from now on. Raise NotFound for an unknown name."""
        if all(token.name != name for token in self.issued()):
            raise NotFound(f"There is no token {name!a}. `ytarchive auth token list` shows all.")
        with locked(self._dir / "lock"):
            self._write([token for token in self.issued() if token.name != name])

    def _write(self, issued: list[IssuedToken]) -> None:
        write_atomically(self._issued_file, _ISSUED.dump_json(issued, indent=2), mode=0o600)

    def _prepare(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    # --- check --------------------------------------------------------------------------------------------------------

    def has(self, sha256: str) -> bool:
        """Return whether a token with this digest is valid."""
        if self._own is None:
            self._own = self.own()
        own = self._own is not None and hmac.compare_digest(digest(self._own), sha256)
        return own or any(hmac.compare_digest(one.sha256, sha256) for one in self.issued())

    def scope_of(self, token: str) -> TokenScope | None:
        """Return the scope of a valid token, else None. The time does not depend on how much of a token is right."""
        given = digest(token)
        if self._own is None:
            self._own = self.own()
        if self._own is not None and hmac.compare_digest(digest(self._own), given):
            return "operate"
        matching = [entry.scope for entry in self.issued() if hmac.compare_digest(entry.sha256, given)]
        return matching[0] if matching else None


def includes(scope: TokenScope, needed: TokenScope) -> bool:
    return TOKEN_SCOPES.index(scope) >= TOKEN_SCOPES.index(needed)


def _new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """A token that a client sends may have any bytes, which aiohttp decodes to surrogates where they are not UTF-8."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
