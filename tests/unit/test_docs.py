"""Consistency of the hand-written documentation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/glossary.md",
    "docs/from-url-to-disk.md",
    "docs/README.md",
    "docs/tutorial.md",
]
_MODULE = re.compile(r"`((?:bus|services|ytarchive|tests)/[\w/.]+)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_named_in_the_documentation_exists(page: str) -> None:
    named = _MODULE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_glossary_is_sorted_and_defines_each_term_once() -> None:
    lines = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    assert len(terms) >= 30
    assert terms == sorted(set(terms), key=str.casefold)
