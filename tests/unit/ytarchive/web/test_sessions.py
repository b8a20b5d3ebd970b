"""Sessions of people who have logged in: they end, are bounded, and a damaged file ends all of them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.errors import Forbidden, InvalidRequest
from services.common.names import TokenScope
from services.common.settings.load import Config
from services.common.web.access import Arrival
from services.common.web.tokens import TokenStore, digest
from ytarchive.web.sessions import IDLE, Password, Session, Sessions, csrf_token


def begun(config: Config, scope: TokenScope) -> str:
    """Begin a session with a token, whose name counts on."""
    tokens = TokenStore(config)
    token = tokens.issue(f"device-{len(tokens.issued())}", scope) if len(tokens.issued()) < 3 else ""
    return Sessions(config).begin(scope, digest(token) if token else tokens.issued()[0].sha256)


def cookie(secret: str, method: str = "GET", **headers: str) -> Arrival:
    return Arrival(method, "/api/v1/jobs", {"Cookie": f"a=b; ytarchive_session={secret}; c", **headers})


def test_a_session_has_its_scope_until_it_ends(config: Config) -> None:
    sessions = Sessions(config)
    reader, operator = begun(config, "read"), begun(config, "operate")
    assert sessions.identify(cookie(reader), "read") is not None
    with pytest.raises(Forbidden, match="scope read"):
        sessions.identify(cookie(reader), "operate")
    with pytest.raises(Forbidden, match="X-CSRF-Token"):
        sessions.identify(cookie(operator, "POST"), "operate")
    ours = {"X-CSRF-Token": csrf_token(operator)}
    assert Sessions(config).identify(cookie(operator, "POST", **ours), "operate") is not None  # another process
    with pytest.raises(Forbidden, match="X-CSRF-Token"):
        sessions.identify(cookie(reader, "POST", **ours), "read")  # of another session
    sessions.end(operator)
    assert sessions.identify(cookie(operator), "read") is None
    assert sessions.identify(cookie(reader), "read") is not None
    sessions.end_all()
    assert sessions.identify(cookie(reader), "read") is None


@pytest.mark.parametrize(
    "header",
    ["", "ytarchive_session=\udcff", "ytarchive_session=", "ytarchive_session=guess", "\x00=;;;", "a=" + "x" * 9000],
)
def test_other_cookies_are_nobody(config: Config, header: str) -> None:
    begun(config, "operate")
    assert Sessions(config).identify(Arrival("GET", "/", {"Cookie": header}), "read") is None


def test_a_foreign_header_is_refused_and_a_revoked_token_ends_its_sessions(config: Config) -> None:
    tokens, sessions = TokenStore(config), Sessions(config)
    secret = sessions.begin("operate", digest(tokens.issue("tablet", "operate")))
    with pytest.raises(Forbidden, match="X-CSRF-Token"):
        sessions.identify(cookie(secret, "POST", **{"X-CSRF-Token": "\udcff"}), "operate")
    assert sessions.identify(cookie(secret), "operate") is not None
    tokens.revoke("tablet")
    assert sessions.identify(cookie(secret), "read") is None


def test_a_session_of_a_password_ends_with_it(config: Config) -> None:
    password, sessions = Password(config), Sessions(config)
    password.set("a first password")
    first = sessions.begin("operate", password.credential() or "")
    assert sessions.identify(cookie(first), "read") is not None
    password.set("a second password")
    assert sessions.identify(cookie(first), "read") is None
    second = sessions.begin("operate", password.credential() or "")
    password.remove()
    assert sessions.identify(cookie(second), "read") is None


def written(config: Config) -> Path:
    return config.storage.base_data_dir / "auth" / "sessions.json"


def test_an_unused_session_ends_and_use_is_noted(config: Config) -> None:
    sessions = Sessions(config)
    secret = begun(config, "read")
    now = datetime.now(UTC)

    def age(by: timedelta) -> None:
        (one,) = [Session.model_validate(row) for row in json.loads(written(config).read_bytes())]
        aged = one.model_copy(update={"used_at": now - by})
        written(config).write_text(f"[{aged.model_dump_json()}]")

    age(timedelta(days=2))
    assert sessions.identify(cookie(secret), "read") is not None
    assert f"{now:%Y-%m-%d}" in written(config).read_text()  # used today
    age(IDLE + timedelta(minutes=1))
    assert sessions.identify(cookie(secret), "read") is None


def test_the_number_of_sessions_is_bounded(config: Config) -> None:
    sessions = Sessions(config)
    first = begun(config, "read")
    for _ in range(200):
        last = begun(config, "read")
    assert sessions.identify(cookie(first), "read") is None
    assert sessions.identify(cookie(last), "read") is not None


def test_a_damaged_file_ends_all_sessions_and_no_more(config: Config) -> None:
    sessions = Sessions(config)
    secret = begun(config, "read")
    written(config).write_text("{")
    assert sessions.identify(cookie(secret), "read") is None
    assert sessions.identify(cookie(begun(config, "read")), "read") is not None


def test_a_password_is_kept_as_a_hash(config: Config) -> None:
    password = Password(config)
    assert not password.check("whatever it is")
    for bad in ("short", "x" * 1001):
        with pytest.raises(InvalidRequest):
            password.set(bad)
    password.set("pässword 🔑 of mine")
    assert password.check("pässword 🔑 of mine")
    assert not password.check("pässword 🔑 of mine ")
    assert not password.check("x" * 100_000)
    file = config.storage.base_data_dir / "auth" / "password"
    assert file.read_text().startswith("$argon2id$")
    assert file.stat().st_mode & 0o777 == 0o600
    password.remove()
    assert not password.exists
