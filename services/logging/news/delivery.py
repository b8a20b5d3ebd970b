"""Messages to people, by Apprise: mail, chat, push and a hundred other services. Their addresses are secrets."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr


@dataclass(frozen=True)
class Sent:
    """The result for one address. `name` tells which one without its secrets: `2. ntfy`."""

    name: str
    ok: bool


class Delivery:
    """Apprise takes long to load, so it is loaded with the first message."""

    def __init__(self, urls: Sequence[SecretStr]) -> None:
        self._urls = urls
        self._services: list[tuple[str, Any]] | None = None

    def send(self, title: str, text: str) -> list[Sent]:
        """Send one message to every address. Blocks."""
        return [Sent(name, service is not None and _notify(service, title, text)) for name, service in self._loaded()]

    def _loaded(self) -> list[tuple[str, Any]]:
        if self._services is None:
            # a plug-in of Apprise 2.3 asks for it where Python still has it
            warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
            from apprise import Apprise

            logging.getLogger("apprise").disabled = True  # its records have the addresses
            self._services = []
            for number, url in enumerate(self._urls, start=1):
                address = url.get_secret_value()
                service = Apprise.instantiate(address, suppress_exceptions=True)
                scheme, known, _secret = address.partition("://")
                self._services.append((f"{number}. {scheme if known else 'no address'}", service))
        return self._services


def _notify(service: Any, title: str, text: str) -> bool:
    try:
        return bool(service.notify(title=title, body=text))
    except Exception:  # noqa: BLE001 - a plug-in of Apprise may raise anything, whose text may have a secret
        return False
