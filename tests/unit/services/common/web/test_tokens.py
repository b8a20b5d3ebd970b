import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.common.errors import (
    ConfigError,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unauthorized,
)
from services.common.names import TokenScope
from services.common.settings.load import Config, load_config
from services.common.web.access import AccessRules, Arrival, needs_token
from services.common.web.limits import WRONG_TOKENS_AT_ONCE
from services.common.web.tokens import TokenStore

OWN = "0123456789abcdef"
SHORT = "0123456789abcde"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(env={"YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "data")}, cwd=tmp_path)


def configured(tmp_path: Path, **variables: str) -> Config:
    own = {"YTARCHIVE_STORAGE__BASE_DATA_DIR": str(tmp_path / "data")}
    return load_config(env=own | {f"YTARCHIVE_{key.upper()}": value for key, value in variables.items()}, cwd=tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_own_token_is_created_once_and_only_for_its_owner(config: Config) -> None:
    store = TokenStore(config)
    assert store.own() is None
    with ThreadPoolExecutor(5) as services:  # all five start at the same time
        found = set(services.map(lambda _: TokenStore(config).ensure_own(), range(5)))
    assert len(found) == 1
    assert found == {TokenStore(config).own()}
    folder = config.storage.base_data_dir / "auth"
    assert [path.name for path in folder.iterdir()] == ["token"]
    assert (mode(folder), mode(folder / "token")) == (0o700, 0o600)


def test_an_empty_file_of_the_own_token_is_named(config: Config) -> None:
    """Nobody could send a token that fits, and the command line would report a missing one."""
    path = config.storage.base_data_dir / "auth" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("\n")
    for use in (TokenStore(config).ensure_own, TokenStore(config).own):
        with pytest.raises(ConfigError, match=f"{path} is empty"):
            use()


def test_the_configured_token_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    config = configured(tmp_path, auth__token=OWN)
    store = TokenStore(config)
    assert store.ensure_own() == OWN
    assert store.scope_of(OWN) == "operate"
    assert not config.storage.base_data_dir.exists()


def test_a_short_token_is_rejected_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="YTARCHIVE_AUTH__TOKEN") as caught:
        configured(tmp_path, auth__token=SHORT)
    assert SHORT not in caught.value.message


def test_without_a_place_for_the_token_no_service_is_opened(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "auth").write_text("a file")
    with pytest.raises(ConfigError, match="auth"):
        AccessRules.of(configured(tmp_path), "nas", "http://nas:8000")


def test_issued_tokens(config: Config) -> None:
    store = TokenStore(config)
    other = TokenStore(config)  # that of a running service
    secrets: dict[TokenScope, str] = {scope: store.issue(scope, scope) for scope in ("read", "request", "operate")}
    assert [token.name for token in other.issued()] == ["read", "request", "operate"]
    assert {scope: other.scope_of(token) for scope, token in secrets.items()} == {scope: scope for scope in secrets}
    written = (config.storage.base_data_dir / "auth" / "tokens.json").read_text()
    assert not any(token in written for token in secrets.values())
    store.revoke("request")
    assert other.scope_of(secrets["request"]) is None
    assert other.scope_of(secrets["read"]) == "read"


@pytest.mark.parametrize("name", ["", "own", "a b", "../x", "x" * 65, "-x", "ü", "a\n"])
def test_invalid_names(config: Config, name: str) -> None:
    with pytest.raises(InvalidRequest):
        TokenStore(config).issue(name, "read")


def test_a_name_is_issued_once_and_an_unknown_one_is_not_revoked(config: Config) -> None:
    store = TokenStore(config)
    store.issue("page", "read")
    with pytest.raises(InvalidRequest, match="already"):
        store.issue("page", "operate")
    with pytest.raises(NotFound, match="other"):
        store.revoke("other")
    assert [token.scope for token in store.issued()] == ["read"]


def test_a_damaged_list_of_tokens_does_not_lock_out_the_own_token(config: Config) -> None:
    store = TokenStore(config)
    own = store.ensure_own()
    (config.storage.base_data_dir / "auth" / "tokens.json").write_text("[{")
    assert store.scope_of(own) == "operate"
    with pytest.raises(ConfigError, match="is damaged"):
        store.scope_of("another")


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("localhost", {}, False),
        ("127.0.0.1", {}, False),
        ("nas", {}, True),
        ("192.168.0.2", {}, True),
        ("::", {}, True),
        ("localhost", {"services__allowed_hosts": "archive.example.org"}, True),
        ("localhost", {"auth__trusted_proxies": "10.0.0.1"}, True),
        ("localhost", {"auth__token": OWN}, True),
    ],
)
def test_where_a_token_is_needed(tmp_path: Path, host: str, settings: dict[str, str], expected: bool) -> None:
    assert needs_token(configured(tmp_path, **settings), host) is expected


def answer(
    rules: AccessRules,
    needed: TokenScope,
    authorization: str | None,
    user: str = "",
    peer: str = "",
    forwarded_for: str = "",
) -> int:
    headers = {"Host": "nas", "X-Forwarded-User": user}
    if authorization is not None:
        headers["Authorization"] = authorization
    try:
        rules.check(Arrival("GET", "/api/v1/jobs", headers, peer=peer, forwarded_for=forwarded_for), needed)
    except (Unauthorized, Forbidden, TooManyRequests) as error:
        return error.http_status
    return 200


def test_requests_with_and_without_a_token(config: Config) -> None:
    rules = AccessRules.of(config, "nas", "http://nas:8000")
    store = TokenStore(config)
    own, reading = store.own(), store.issue("page", "read")
    assert answer(rules, "operate", f"Bearer {own}") == 200
    assert answer(rules, "operate", f"bearer  {own} ") == 200
    assert answer(rules, "read", f"Bearer {reading}") == 200
    assert answer(rules, "request", f"Bearer {reading}") == 403
    not_ascii = "Bearer \udcff\udcfe"  # how aiohttp decodes the bytes ff fe
    for none in (None, "", "Bearer", "Bearer ", f"Basic {own}", f"Bearer {own}x", str(own), not_ascii):
        assert answer(rules, "read", none) == 401, none
    assert answer(rules, "read", None, user="alice", peer="10.0.0.1") == 401  # no proxy is trusted


def test_a_trusted_proxy_names_the_user(tmp_path: Path) -> None:
    rules = AccessRules.of(configured(tmp_path, auth__trusted_proxies="10.0.0.0/24,fd00::1"), "nas", "http://nas:8000")
    assert answer(rules, "operate", None, user="alice", peer="10.0.0.9") == 200
    assert answer(rules, "operate", None, user="alice", peer="::ffff:10.0.0.9") == 200
    assert answer(rules, "operate", None, user="alice", peer="fd00::1") == 200
    assert answer(rules, "read", None, user="", peer="10.0.0.9") == 401
    assert answer(rules, "read", None, user="alice", peer="10.0.1.9") == 401


def exhaust_wrong_tokens(rules: AccessRules, peer: str, forwarded_for: str = "") -> None:
    for number in range(WRONG_TOKENS_AT_ONCE):
        assert answer(rules, "read", f"Bearer {number}", peer=peer, forwarded_for=forwarded_for) == 401
    assert answer(rules, "read", "Bearer x", peer=peer, forwarded_for=forwarded_for) == 429


def test_wrong_tokens_are_limited_by_address(config: Config) -> None:
    rules = AccessRules.of(config, "nas", "http://nas:8000")
    store = TokenStore(config)
    own, other = store.own(), store.issue("page", "read")
    assert answer(rules, "read", f"Bearer {own}", peer="192.0.2.1") == 200
    exhaust_wrong_tokens(rules, "192.0.2.1")
    assert answer(rules, "read", f"Bearer {other}", peer="192.0.2.1") == 429  # it would tell that it is right
    assert answer(rules, "read", f"Bearer {own}", peer="192.0.2.1") == 200  # it was accepted before
    assert answer(rules, "read", None, peer="192.0.2.1") == 401
    assert answer(rules, "read", f"Bearer {other}", peer="192.0.2.2") == 200


def test_an_ipv6_network_counts_as_one_address(config: Config) -> None:
    rules = AccessRules.of(config, "nas", "http://nas:8000")
    for number in range(WRONG_TOKENS_AT_ONCE):
        assert answer(rules, "read", f"Bearer {number}", peer=f"2001:db8::{number:x}") == 401
    assert answer(rules, "read", "Bearer x", peer="2001:db8::ffff") == 429
    assert answer(rules, "read", "Bearer x", peer="2001:db8:0:1::1") == 401
    assert answer(rules, "read", "Bearer \udcff", peer="2001:db8:0:2::1") == 401  # as a header with other bytes is read


def test_only_a_trusted_proxy_names_the_address_of_a_client(tmp_path: Path) -> None:
    rules = AccessRules.of(configured(tmp_path, auth__trusted_proxies="10.0.0.0/24"), "nas", "http://nas:8000")
    exhaust_wrong_tokens(rules, "10.0.0.1", "192.0.2.9, 192.0.2.1, 10.0.0.2")  # the first one is what the client sent
    assert answer(rules, "read", "Bearer x", peer="10.0.0.1", forwarded_for="192.0.2.1") == 429
    assert answer(rules, "read", "Bearer x", peer="10.0.0.1", forwarded_for="192.0.2.9") == 401
    assert answer(rules, "read", "Bearer x", peer="10.0.0.1", forwarded_for="nonsense") == 401
    for number in range(WRONG_TOKENS_AT_ONCE):  # a client that is no proxy cannot choose its address
        answer(rules, "read", f"Bearer {number}", peer="192.0.2.7", forwarded_for=f"192.0.2.{number}")
    assert answer(rules, "read", "Bearer x", peer="192.0.2.7", forwarded_for="192.0.2.200") == 429


def test_requests_are_limited_by_token_user_or_address(tmp_path: Path) -> None:
    limited = configured(tmp_path, auth__trusted_proxies="10.0.0.1", services__request_rate="0.1")  # one at once
    rules = AccessRules.of(limited, "nas", "http://nas:8000")
    store = TokenStore(limited)
    tokens = [store.issue("a", "read"), store.issue("b", "read")]
    for token in tokens:
        assert answer(rules, "read", f"Bearer {token}", peer="192.0.2.1") == 200
        assert answer(rules, "read", f"Bearer {token}", peer="192.0.2.2") == 429
    for user in ("alice", "bob"):
        assert answer(rules, "read", None, user=user, peer="10.0.0.1") == 200
        assert answer(rules, "read", None, user=user, peer="10.0.0.1") == 429
    assert answer(rules, "read", None, peer="192.0.2.1") == 401
    assert answer(rules, "read", None, peer="192.0.2.1") == 429


def test_a_page_of_another_site_does_not_use_up_the_requests_of_this_machine(tmp_path: Path) -> None:
    rules = AccessRules.of(configured(tmp_path, services__request_rate="0.1"), "localhost", "http://localhost:8000")
    foreign = Arrival("GET", "/api/v1/jobs", {"Host": "evil.example"}, peer="127.0.0.1")
    with pytest.raises(Forbidden):
        rules.check(foreign, "read")
    with pytest.raises(TooManyRequests):
        rules.check(foreign, "read")
    rules.check(Arrival("GET", "/api/v1/jobs", {"Host": "localhost"}, peer="127.0.0.1"), "read")
