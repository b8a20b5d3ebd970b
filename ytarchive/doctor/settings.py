"""The configuration and the environment variables that set it. Pure."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from services.common.settings.load import API_KEY_VARIABLE, CONFIG_VARIABLE, PREFIX
from ytarchive.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import safe_text

_ALIKE = 0.85


def configuration(source: Path | None, wrong: str | None, ignored: str | None = None) -> Finding:
    """`wrong`: the message of ConfigError, one error with its remedy per line. `ignored`: the `./config.toml` that is
    not used, with the reason and the remedy."""
    if wrong is not None:
        return problem(
            "configuration",
            "; ".join(safe_text(line, 500) for line in wrong.splitlines()),
            "See the message; checks that depend on the configuration were skipped.",
        )
    if ignored is not None:
        fact, _dot, mend = ignored.rpartition(". ")
        return warning("configuration", safe_text(fact, 500), mend)
    return ok("configuration", str(source) if source else "no file; defaults and environment")


def variables(names: Iterable[str]) -> Finding:
    """Report variables that set something, and names with typing errors. Unknown names with our prefix are a
    ConfigError."""
    known = sorted(names)
    used = [name for name in known if name.startswith(PREFIX) or name == API_KEY_VARIABLE]
    odd = [name for name in known if name not in used and _nearly(name)]
    if odd:
        return warning(
            "environment",
            f"{', '.join(odd)}: has no effect",
            f"Variables are named {API_KEY_VARIABLE}, {CONFIG_VARIABLE} and {PREFIX}SECTION__KEY:"
            " rename it, or unset it.",
        )
    return ok("environment", ", ".join(used) or "no variables set")


def _nearly(name: str) -> bool:
    upper = name.upper()
    near_prefix = difflib.SequenceMatcher(None, upper[: len(PREFIX)], PREFIX).ratio() >= _ALIKE
    return near_prefix or difflib.SequenceMatcher(None, upper, API_KEY_VARIABLE).ratio() >= _ALIKE
