"""Who may send a request: names in the Host header, pages of other sites, bearer tokens.

A page that a user has opened can make the browser send requests to any address, also to 127.0.0.1 (CSRF), and can make
its own host name resolve to such an address (DNS rebinding). The rules against that restrict browsers only: other
programs may write any header. A token is needed of all, but only where a service can be reached from other machines.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from services.common.errors import Forbidden, TooManyRequests, Unauthorized
from services.common.names import TokenScope
from services.common.settings.load import Config
from services.common.web.limits import RequestRates
from services.common.web.tokens import TokenStore, digest, includes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Answers are not embedded by pages of other origins, and their types are not guessed.
HEADERS = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # methods without side effects
_API = "/api"
_ASK_AGAIN = 20.0  # seconds until it is examined again whether a long answer may go on
_IPV6_CLIENT = 64  # bits of an address that a client cannot choose
# What reverse proxies add; a browser or a program on this machine does not.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


@dataclass(frozen=True)
class Arrival:
    """What is known of a request before its handler runs. `local` and `peer` are the addresses of the connection,
    `forwarded_for` is the X-Forwarded-For of all proxies."""

    method: str
    path: str
    headers: Mapping[str, str]
    local: str = ""
    peer: str = ""
    forwarded_for: str = ""


class SessionRules(Protocol):
    """People who have logged in to the page."""

    def identify(self, arrival: Arrival, needed: TokenScope) -> str | None:
        """Return a key for the session of a request, None without one. Raise Forbidden when it does not include the
        scope `needed`, or when the request may have been caused by another site."""
        ...


@dataclass(frozen=True)
class AccessRules:
    """`own`: the host name of the service in the registry. `allowed`: further ones, in lower case, without ports.
    `tokens` None: no token is needed. `proxies`: peers whose `user_header` names an authenticated user, and whose
    X-Forwarded-For is believed."""

    own: str
    allowed: frozenset[str] = frozenset()
    tokens: TokenStore | None = None
    proxies: tuple[Network, ...] = ()
    user_header: str = ""
    rates: RequestRates = field(default_factory=lambda: RequestRates(0.0))
    sessions: SessionRules | None = None
    ask_again: float = _ASK_AGAIN

    @classmethod
    def of(cls, config: Config, host: str, url: str, sessions: SessionRules | None = None) -> "AccessRules":
        """`host`: what the service is bound to; `url`: that of the service in the registry. The own token is created
        when one is needed; raise ConfigError when that is impossible. `sessions`: of people who have logged in."""
        allowed = frozenset(name.lower() for name in config.services.allowed_hosts)
        proxies = tuple(ipaddress.ip_network(network) for network in config.auth.trusted_proxies)
        tokens = None
        if needs_token(config, host):
            tokens = TokenStore(config)
            tokens.ensure_own()
        rates = RequestRates(config.services.request_rate)
        return cls(urlsplit(url).hostname or "", allowed, tokens, proxies, config.auth.user_header, rates, sessions)

    def check(self, arrival: Arrival, needed: TokenScope | None, *, limited: bool = True) -> None:
        """Raise Forbidden (403) for a request that a page of another site may have caused, that a proxy has forwarded
        where no token is needed, or whose token does not include the scope `needed`; Unauthorized (401) for one without
        a valid token; TooManyRequests (429) for one beyond the limit of its client. `limited` False: only attempts with
        wrong tokens are limited. `needed` None: everybody may, without a token."""
        address = self.client_address(arrival)
        try:
            client = self._identify(arrival, address, needed)
        except (Forbidden, Unauthorized):
            if limited:  # apart from those of the command line on this machine, which a page must not use up
                self.rates.count_request(f"refused/{address}", address)
            raise
        if limited:
            self.rates.count_request(client, address)

    async def until_refused(self, arrival: Arrival, needed: TokenScope | None) -> None:
        """Return when the token or the session of a long answer has ended; where none is needed, never."""
        if needed is None or self.tokens is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(self.ask_again)
            if not self._may_go_on(arrival, needed):
                return

    def _may_go_on(self, arrival: Arrival, needed: TokenScope) -> bool:
        try:
            self.check(arrival, needed, limited=False)
        except (Forbidden, Unauthorized, TooManyRequests):
            return False
        return True

    def _identify(self, arrival: Arrival, address: str, needed: TokenScope | None) -> str:
        """Return a key for the client: the user that a proxy names, else the session or the token, else the address."""
        self._check_host(arrival)
        self._check_origin(arrival)
        _check_fetch_metadata(arrival)
        if self._is_proxy(_address(arrival.peer)) and (user := arrival.headers.get(self.user_header, "").strip()):
            return f"user/{user}"
        if self.tokens is None:
            _check_not_forwarded(arrival.headers)
            return f"address/{address}"
        if needed is None:
            return f"address/{address}"
        if self.sessions is not None and (session := self.sessions.identify(arrival, needed)) is not None:
            return f"session/{session}"
        return f"token/{self._check_token(arrival.headers.get('Authorization'), self.tokens, address, needed)}"

    def client_address(self, arrival: Arrival) -> str:
        """Return the address of a client, which may be one that a trusted proxy names. Of an IPv6 address the network,
        in which a client can choose addresses at will."""
        address = _address(arrival.peer)
        for hop in reversed(arrival.forwarded_for.split(",")):
            if not self._is_proxy(address) or (named := _address(hop.strip())) is None:
                break
            address = named
        if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
            return str(ipaddress.ip_network((address, _IPV6_CLIENT), strict=False))
        return str(address)

    def _is_proxy(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.proxies)

    def _check_token(self, authorization: str | None, tokens: TokenStore, address: str, needed: TokenScope) -> str:
        """Return the digest of a valid token."""
        scheme, _, token = (authorization or "").partition(" ")
        key, scope = digest(token.strip()), None
        if scheme.lower() == "bearer":
            self.rates.check_token(address, key)
            scope = tokens.scope_of(token.strip())
            self.rates.note_token(address, key, valid=scope is not None)
        if scope is None:
            problem = "The token is not valid, or was revoked" if authorization else "A token is needed"
            raise Unauthorized(
                f"{problem}. Send `Bearer TOKEN` in the header Authorization; `ytarchive auth token add NAME` issues"
                " one, and on the machine of the services the command line finds its own.",
            )
        if not includes(scope, needed):
            raise Forbidden(f"The token has the scope {scope}; this request needs {needed}.", reason="scope")
        return key

    def _check_host(self, arrival: Arrival) -> None:
        authority = arrival.headers.get("Host", "")
        name = _host_name(authority)
        if name is None or not self._is_ours(name, arrival):
            raise Forbidden(
                f"The Host {authority!a} is not a name of this service. Use localhost, or add the name to [services] "
                "allowed_hosts.",
                reason="host",
            )

    def _is_ours(self, name: str, arrival: Arrival) -> bool:
        if name == self.own or name in self.allowed or is_loopback(name):
            return True
        return _address(name) == _address(arrival.local) is not None

    def _check_origin(self, arrival: Arrival) -> None:
        """The origin must be this service, or a name that the configuration allows: a reverse proxy replaces Host."""
        origin = arrival.headers.get("Origin")
        if origin is None:
            return
        authority = _authority(origin)
        if authority == arrival.headers.get("Host", "").lower() or _host_name(authority or "") in self.allowed:
            return
        raise _cross_site(arrival, origin)


def needs_token(config: Config, host: str) -> bool:
    """Return whether a service that is bound to `host` answers only requests with a token."""
    auth = config.auth
    return not is_loopback(host) or bool(config.services.allowed_hosts or auth.trusted_proxies or auth.token)


def _check_not_forwarded(headers: Mapping[str, str]) -> None:
    """Behind a proxy on this machine that the configuration does not name, everybody would come from 127.0.0.1."""
    header = next((name for name in _FORWARDED if name in headers), None)
    if header is not None:
        raise Forbidden(
            f"A reverse proxy has forwarded this request ({header}), and without a token only this machine is answered."
            " Add the name of the proxy to [services] allowed_hosts: then a token is needed.",
            reason="proxy",
        )


def _check_fetch_metadata(arrival: Arrival) -> None:
    """https://www.w3.org/TR/fetch-metadata: browsers report from where, and for what, they send a request."""
    site = arrival.headers.get("Sec-Fetch-Site", "none")
    if site in {"same-origin", "none"}:
        return
    opened = arrival.method in SAFE_METHODS and arrival.headers.get("Sec-Fetch-Mode") == "navigate"
    if opened and (site == "same-site" or not arrival.path.startswith(_API)):
        return
    raise _cross_site(arrival, site)


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address can only mean this machine."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _cross_site(arrival: Arrival, origin: str) -> Forbidden:
    return Forbidden(f"{arrival.method} from a page of another site ({origin!a}) is refused.", reason="origin")


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_name(authority: str) -> str | None:
    """Return the lower-case host of `host:port`, without the brackets of an IPv6 address; None for anything else."""
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port  # ValueError when it is not a number
    except ValueError:
        return None
    plain = parts.netloc == authority and parts.username is None
    return parts.hostname if plain and parts.hostname else None


def _address(host: str) -> Address | None:
    """Return an address, one that IPv6 maps to IPv4 as the latter."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
