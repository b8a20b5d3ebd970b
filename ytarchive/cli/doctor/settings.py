"""The configuration and the variables that set it. Pure."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from services.common.settings.load import API_KEY_VARIABLE, CONFIG_VARIABLE, PREFIX
from ytarchive.cli.doctor.finding import Finding, ok, problem, warning
from ytarchive.text import safe_text

_ALIKE = 0.85


def configuration(source: Path | None, wrong: str | None) -> Finding:
    """`wrong`: what ConfigError says, one fault a line. It names the remedies too."""
    if wrong is not None:
        return problem(
            "configuration",
            "; ".join(safe_text(line, 500) for line in wrong.splitlines()),
            "As it says; what depends on the configuration was not looked at.",
        )
    return ok("configuration", str(source) if source else "no file; defaults and environment")


def variables(names: Iterable[str]) -> Finding:
    """Names that set something, and names that only nearly do. A wrong one with our prefix is a ConfigError."""
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
    return ok("environment", ", ".join(used) or "sets nothing")


def _nearly(name: str) -> bool:
    upper = name.upper()
    near_prefix = difflib.SequenceMatcher(None, upper[: len(PREFIX)], PREFIX).ratio() >= _ALIKE
    return near_prefix or difflib.SequenceMatcher(None, upper, API_KEY_VARIABLE).ratio() >= _ALIKE
