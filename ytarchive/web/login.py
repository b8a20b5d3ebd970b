"""Logging in and out: /api/v1/session.

The cookie is `Secure` where the browser came by https, as the request or its proxy says: whoever lies about that harms
only the own cookie.
"""

import asyncio
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.common.errors import Forbidden, TooManyRequests, Unauthorized
from services.common.names import TokenScope
from services.common.web.access import AccessRules
from services.common.web.routing import Call, Route, arrival_of, success
from services.common.web.tokens import digest
from ytarchive.web.sessions import COOKIE, IDLE, Password, Sessions, csrf_token


class Credentials(BaseModel):
    """Either of both."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: str | None = Field(default=None, min_length=1, max_length=1_000, repr=False)
    token: str | None = Field(default=None, min_length=1, max_length=200, repr=False)

    @model_validator(mode="after")
    def _expect_one(self) -> "Credentials":
        if (self.password is None) == (self.token is None):
            raise ValueError("give `password` or `token`")
        return self


class EndQuery(BaseModel):
    """`everywhere`: end all sessions, not only this one."""

    model_config = ConfigDict(extra="forbid")

    everywhere: bool = False


class SessionState(BaseModel):
    """`needed`: this client has to log in before it sees anything. `password`: one is set. `scope` and `csrf` (for the
    header X-CSRF-Token of orders) of somebody who has logged in."""

    needed: bool
    logged_in: bool
    password: bool
    scope: TokenScope | None = None
    csrf: str | None = Field(default=None, repr=False)


class LoginDesk:
    """Who has logged in, and with what one can."""

    def __init__(self, rules: AccessRules, sessions: Sessions, password: Password) -> None:
        self._rules = rules
        self._sessions = sessions
        self._password = password
        self._one_at_a_time = asyncio.Lock()  # guesses are counted before the next one is examined

    async def state(self, request: web.Request) -> tuple[SessionState, str | None]:
        """Return the state, and the secret of somebody who has logged in."""
        return await asyncio.to_thread(self._state, request)

    def _state(self, request: web.Request) -> tuple[SessionState, str | None]:
        found = self._sessions.find(request.headers)
        if found is not None:
            secret, session = found
            return self._of(secret, session.scope), secret
        try:
            self._rules.check(arrival_of(request), "read", limited=False)
            needed = False
        except (Unauthorized, Forbidden, TooManyRequests):
            needed = True
        return SessionState(needed=needed, logged_in=False, password=self._password.exists), None

    def _of(self, secret: str, scope: TokenScope) -> SessionState:
        return SessionState(
            needed=False, logged_in=True, password=self._password.exists, scope=scope, csrf=csrf_token(secret)
        )

    async def begin(self, request: web.Request, given: Credentials) -> tuple[SessionState, str]:
        """Return the state and the secret of a new session. Raise Unauthorized, TooManyRequests."""
        address = self._rules.client_address(arrival_of(request))
        what = digest(given.password or given.token or "")
        async with self._one_at_a_time:
            self._rules.rates.check_token(address, what)
            found = await asyncio.to_thread(self._examine, given)
            self._rules.rates.note_token(address, what, valid=found is not None)
        if found is None:
            raise Unauthorized(self._refusal(given))
        scope, credential = found
        secret = await asyncio.to_thread(self._sessions.begin, scope, credential)
        return self._of(secret, scope), secret

    def _examine(self, given: Credentials) -> tuple[TokenScope, str] | None:
        """Return the scope, and the credential that the session needs; None for a wrong guess."""
        if given.password is not None:
            credential = self._password.credential()  # first: one that is set meanwhile ends it
            return ("operate", credential) if credential and self._password.check(given.password) else None
        scope = self._rules.tokens.scope_of(given.token or "") if self._rules.tokens is not None else None
        return (scope, digest(given.token or "")) if scope is not None else None

    def _refusal(self, given: Credentials) -> str:
        if given.token is not None:
            return "This is no access token, or it was revoked. `ytarchive auth token add NAME` issues one."
        if not self._password.exists:
            return "No password is set. Set one with `ytarchive auth password`, or log in with an access token."
        return "This is not the password. `ytarchive auth password` sets another one."

    async def end(self, request: web.Request) -> None:
        found = await asyncio.to_thread(self._sessions.find, request.headers)
        if found is not None:
            await asyncio.to_thread(self._sessions.end, found[0])

    async def end_all(self, request: web.Request) -> None:
        """Raise Forbidden for somebody who may only read: others would be logged out."""
        self._rules.check(arrival_of(request), "operate", limited=False)
        await asyncio.to_thread(self._sessions.end_all)


async def show_session(call: Call, desk: LoginDesk) -> web.StreamResponse:
    """Whether this client has to log in, and whether it has. The cookie of somebody who has is renewed."""
    state, secret = await desk.state(call.raw)
    response = success(state, 200, call.trace_id)
    if secret is not None:
        _set_cookie(response, call.raw, secret)
    return response


async def begin_session(call: Call, body: Credentials, desk: LoginDesk) -> web.StreamResponse:
    """Log in. The answer sets a cookie that scripts cannot read."""
    state, secret = await desk.begin(call.raw, body)
    response = success(state, 200, call.trace_id)
    _set_cookie(response, call.raw, secret)
    return response


def _set_cookie(response: web.Response, request: web.Request, secret: str) -> None:
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(IDLE.total_seconds()),
        httponly=True,
        samesite="Lax",
        path="/",
        secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
    )


async def end_session(call: Call, query: EndQuery, desk: LoginDesk) -> web.StreamResponse:
    """Log out. `everywhere` needs the scope operate, and ends signed addresses of media too."""
    if query.everywhere:
        await desk.end_all(call.raw)
    else:
        await desk.end(call.raw)
    ended: dict[str, Any] = {"everywhere": query.everywhere}
    response = success(ended, 200, call.trace_id)
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")
    return response


class Ended(BaseModel):
    everywhere: bool


_PATH = "/api/v1/session"
ROUTES = (
    Route("GET", _PATH, show_session, "Whether a login is needed", response=SessionState, quiet=True, public=True),
    Route(
        "POST", _PATH, begin_session, "Log in with a password or an access token",
        body=Credentials, response=SessionState, public=True,
    ),
    Route("DELETE", _PATH, end_session, "Log out", query=EndQuery, response=Ended, scope="read"),
)  # fmt: skip
