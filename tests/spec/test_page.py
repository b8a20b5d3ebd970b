"""The page of the specification is true: every claim names code that there is, every mark a claim."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def specification() -> ModuleType:
    spec = importlib.util.spec_from_file_location("specification", Path(__file__).with_name("specification.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["specification"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh_and_names_what_there_is(specification: ModuleType) -> None:
    chapters, tests = specification.sections(), specification.proofs()
    assert specification.problems(chapters, tests) == []
    assert specification.PAGE.read_text() == specification.page(chapters, tests), "run `make docs`"


def test_a_claim_that_is_not_kept_is_told(specification: ModuleType) -> None:
    claim = specification.Claim(id="1.1", text="All is well.", code=("services.nowhere",))
    chapters = [specification.Section(number=1, title="One", claims=(claim,))]
    proof = specification.Proof(path="tests/test_x.py", name="test_x")
    assert specification.problems(chapters, {"1.1": [proof], "9.9": [proof]}) == [
        "tests/test_x.py: test_x names claim 9.9, which there is not",
        "claim 1.1 names services.nowhere, which there is not",
    ]
    assert "- 1.1 All is well." in specification.page(chapters, {})


@pytest.mark.claim("15.1")
def test_the_structure_of_the_tests() -> None:
    here = Path(__file__).parents[1]
    wanted = [
        "unit/test_models.py",
        "unit/test_validators.py",
        "unit/services/test_jobs.py",
        "unit/services/test_metadata.py",
        "integration/test_end_to_end.py",
    ]
    assert [name for name in wanted if not (here / name).is_file()] == []
