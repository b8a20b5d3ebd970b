"""What the broker does not permit to a user.

nats-server reports a permission violation on its own and never answers the request that caused it. Without this module
such a request would end as a timeout.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors

_REPORT = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
_INBOX = "_inbox."
_REMEMBERED = 15.0  # seconds; longer than the pause between two attempts


class PermissionViolation(nats.errors.Error):
    """The user may not publish or subscribe to a subject."""

    def __init__(self, action: str, subject: str) -> None:
        self.refused = f"{'publish' if action == 'publish' else 'subscribe'} to {subject}"
        super().__init__(f"no permission to {self.refused}")


class Refusals:
    """The permission violations of one connection. nats-py reports their subjects in lower case."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Timeout, str] = {}  # limit of a request -> its subject
        self._reasons: dict[asyncio.Timeout, PermissionViolation] = {}
        self._subscriptions: dict[str, PermissionViolation] = {}  # by subject, of the present connection
        self._latest: tuple[float, PermissionViolation] | None = None  # monotonic seconds

    def new_connection(self) -> None:
        """Forget refused subscriptions: they are tried again."""
        self._subscriptions.clear()

    def note(self, error: Exception) -> bool:
        """Return whether the error is a permission violation; then the requests that it concerns fail."""
        report = _REPORT.search(str(error))
        if report is None:
            return False
        action, subject = report.group(1).lower(), report.group(2).lower()
        violation = PermissionViolation(action, subject)
        if action == "subscription":
            self._subscriptions[subject] = violation
        for limit, waiting_for in list(self._waiting.items()):
            if action == "publish" and waiting_for.lower() == subject:
                violation = PermissionViolation(action, waiting_for)
            elif action == "publish" or not subject.startswith(_INBOX):
                continue
            del self._waiting[limit]
            self._reasons[limit] = violation
            limit.reschedule(asyncio.get_running_loop().time())
        self._latest = time.monotonic(), violation
        return True

    @asynccontextmanager
    async def watch(self, subject: str) -> AsyncIterator[None]:
        """Raise PermissionViolation as soon as the broker refuses the request that is made in this block."""
        for refused, violation in self._subscriptions.items():
            if refused.startswith(_INBOX):  # no answer can arrive
                raise violation
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._waiting[limit] = subject
                yield
        except TimeoutError:
            violation_of_this = self._reasons.pop(limit, None)
            if violation_of_this is None:
                raise
            raise violation_of_this from None
        finally:
            self._waiting.pop(limit, None)
            self._reasons.pop(limit, None)

    def of_subscription(self, subject: str) -> PermissionViolation | None:
        """Return the violation if the broker has refused this subscription. Ask after a reply to a later request."""
        return self._subscriptions.get(subject.lower())

    def recent(self) -> PermissionViolation | None:
        """Return the last violation of the last 15 s."""
        if self._latest is None or time.monotonic() - self._latest[0] > _REMEMBERED:
            return None
        return self._latest[1]
