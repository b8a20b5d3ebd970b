"""Logging in and out: /api/v1/session."""

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

    async def state(self, request: web.Request) -> SessionState:
        return await asyncio.to_thread(self._state, request)

    def _state(self, request: web.Request) -> SessionState:
        found = self._sessions.find(request.headers)
        if found is not None:
            secret, session = found
            return self._of(secret, session.scope)
        try:
            self._rules.check(arrival_of(request), "read", limited=False)
        except (Unauthorized, Forbidden, TooManyRequests):
            return SessionState(needed=True, logged_in=False, password=self._password.exists)
        return SessionState(needed=False, logged_in=False, password=self._password.exists)

    def _of(self, secret: str, scope: TokenScope) -> SessionState:
        return SessionState(
            needed=False, logged_in=True, password=self._password.exists, scope=scope, csrf=csrf_token(secret)
        )

    async def begin(self, request: web.Request, given: Credentials) -> tuple[SessionState, str]:
        """Return the state and the secret of a new session. Raise Unauthorized, TooManyRequests."""
        address = self._rules.client_address(arrival_of(request))
        what = given.password or given.token or ""
        self._rules.rates.check_token(address, digest(what))
        scope = await asyncio.to_thread(self._scope_of, given)
        self._rules.rates.note_token(address, digest(what), valid=scope is not None)
        if scope is None:
            raise Unauthorized(self._refusal(given))
        secret = await asyncio.to_thread(self._sessions.begin, scope, given.token)
        return self._of(secret, scope), secret

    def _scope_of(self, given: Credentials) -> TokenScope | None:
        if given.password is not None:
            return "operate" if self._password.check(given.password) else None
        return self._rules.tokens.scope_of(given.token or "") if self._rules.tokens is not None else None

    def _refusal(self, given: Credentials) -> str:
        if given.token is not None:
            return "This is no access token, or it was revoked. `ytarchive auth token add NAME` issues one."
        if not self._password.exists:
            return "No password is set. Set one with `ytarchive auth password`, or log in with an access token."
        return "This is not the password. `ytarchive auth password` sets another one."

    async def end(self, request: web.Request, *, everywhere: bool) -> None:
        found = await asyncio.to_thread(self._sessions.find, request.headers)
        if everywhere:
            await asyncio.to_thread(self._sessions.end_all)
        elif found is not None:
            await asyncio.to_thread(self._sessions.end, found[0])


async def show_session(call: Call, desk: LoginDesk) -> SessionState:
    """Whether this client has to log in, and whether it has."""
    return await desk.state(call.raw)


async def begin_session(call: Call, body: Credentials, desk: LoginDesk) -> web.StreamResponse:
    """Log in. The answer sets a cookie that scripts cannot read."""
    state, secret = await desk.begin(call.raw, body)
    response = success(state, 200, call.trace_id)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(IDLE.total_seconds()),
        httponly=True,
        samesite="Lax",
        path="/",
        secure=call.raw.secure or call.raw.headers.get("X-Forwarded-Proto") == "https",
    )
    return response


async def end_session(call: Call, query: EndQuery, desk: LoginDesk) -> web.StreamResponse:
    """Log out."""
    await desk.end(call.raw, everywhere=query.everywhere)
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
