"""The page of the specification is true: every claim names code that there is, every mark a claim."""

import asyncio
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import coverage
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


def test_a_claim_may_name_the_command_that_proves_it(specification: ModuleType) -> None:
    """One that there is."""

    def claims(command: str) -> list[object]:
        claim = specification.Claim(id="1.1", text="All is well.", code=("tests",), command=command)
        return [specification.Section(number=1, title="One", claims=(claim,))]

    assert specification.problems(claims("make coverage"), {}) == []
    page = specification.page(claims("make coverage"), {})
    assert "| `make coverage` |" in page
    assert "- 1.1" not in page
    for command in ("make sure", "make", "pytest --cov"):
        told = f"claim 1.1 is proven by `{command}`, which there is not"
        assert specification.problems(claims(command), {}) == [told]


def test_what_only_some_parameters_claim_counts(specification: ModuleType) -> None:
    found = {proof.name for proof in specification.proofs()["3.2"]}
    assert "test_a_job_is_kept_so_long_and_no_longer" in found


@pytest.mark.claim("15.1")
def test_the_structure_of_the_tests() -> None:
    """Every file that SPEC names is there and has tests of its own."""
    here = Path(__file__).parents[1]
    wanted = [
        "unit/test_models.py",
        "unit/test_validators.py",
        "unit/services/test_jobs.py",
        "unit/services/test_metadata.py",
        "integration/test_service_communication.py",
        "integration/test_end_to_end.py",
    ]
    without = [
        name for name in wanted if not re.search(r"^(async )?def test_", (here / name).read_text(), re.MULTILINE)
    ]
    assert without == []


@pytest.mark.claim("15.4")
def test_make_coverage_fails_below_what_is_asked_for() -> None:
    """Of all our code, also what runs in other processes. The number itself is told by running it."""
    root = Path(__file__).parents[2]
    measured = coverage.Coverage(config_file=str(root / "pyproject.toml"))
    assert float(str(measured.get_option("report:fail_under"))) >= 90
    assert measured.get_option("run:source") == ["bus", "services", "ytarchive"]
    assert measured.get_option("run:patch") == ["subprocess", "fork", "_exit"]
    recipe = subprocess.run(["make", "-n", "coverage"], capture_output=True, text=True, check=True, cwd=root).stdout
    assert "pytest" in recipe
    assert " --cov " in recipe


@pytest.mark.claim("15.2")
async def test_an_async_test_is_run_without_a_mark_of_its_own(request: pytest.FixtureRequest) -> None:
    """As SPEC writes them: by pytest-asyncio, which gives each a loop of its own."""
    assert asyncio.get_running_loop().is_running()
    assert request.config.pluginmanager.hasplugin("asyncio")
    assert request.node.get_closest_marker("asyncio") is not None  # put there by the automatic mode


@pytest.mark.claim("15.2")
def test_an_async_test_that_fails_is_seen_to_fail(tmp_path: Path) -> None:
    """A plugin that is missing would let the coroutine pass unawaited."""
    (tmp_path / "test_it.py").write_text("async def test_it() -> None:\n    assert 1 == 2\n")
    settings = Path(__file__).parents[2] / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 1
    assert "assert 1 == 2" in ran.stdout
