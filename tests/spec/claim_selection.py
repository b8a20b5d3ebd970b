"""A pytest plugin for `make mutants`: `-p tests.spec.claim_selection --claim 3.2` runs only the tests that are marked
with the claim, and only with the code of the tree in which pytest was started."""

import importlib.util
from pathlib import Path

import pytest

PACKAGES = ("bus", "services", "ytarchive", "tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--claim", action="append", default=[], metavar="NUMBER", help="may be given several times")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse packages of another tree, such as those of an environment with an editable installation."""
    for name in PACKAGES:
        if (place := _place(name)) != config.rootpath / name:
            raise pytest.UsageError(f"{name} would be imported from {place}, not from {config.rootpath}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = set(config.getoption("--claim"))
    selected = [item for item in items if not wanted.isdisjoint(_claims(item))]
    config.hook.pytest_deselected(items=[item for item in items if wanted.isdisjoint(_claims(item))])
    items[:] = selected


def _claims(item: pytest.Item) -> set[str]:
    return {str(number) for mark in item.iter_markers("claim") for number in mark.args}


def _place(package: str) -> Path | None:
    """Return the folder from which a package is imported; of a namespace package the first one."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0]).resolve() if folders else None
