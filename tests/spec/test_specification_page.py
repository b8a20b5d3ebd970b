"""The page of the specification is current: every claim names existing code, every marker an existing claim."""

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


def test_the_page_is_current_and_its_references_are_valid(specification: ModuleType) -> None:
    chapters, tests = specification.sections(), specification.proofs()
    assert specification.problems(chapters, tests) == []
    assert specification.PAGE.read_text() == specification.page(chapters, tests), "run `make docs`"


def test_every_claim_has_a_mutation_that_can_be_applied(specification: ModuleType) -> None:
    found = specification.mutation_problems(
        specification.sections(), specification.mutations(), specification.exemptions()
    )
    assert found == []
    assert len(specification.exemptions()) <= 2


def test_mutations_that_cannot_be_applied_and_claims_without_one_are_reported(specification: ModuleType) -> None:
    claims = tuple(specification.Claim(id=f"1.{n}", text="All is well.", code=("tests",)) for n in (1, 2, 3))
    chapters = [specification.Section(number=1, title="One", claims=claims)]

    def mutation(find: str, replace: str = "", file: str = "bus/tasks.py") -> object:
        return specification.Mutation(claims=("1.1", "9.9"), file=file, find=find, replace=replace)

    changes = [
        mutation("AGAIN = 1.0", "AGAIN = 2.0"),
        mutation("AGAIN"),
        mutation("AGAIN = 3.0"),
        mutation("AGAIN = 1.0", "AGAIN = 1.0"),
        mutation("AGAIN = 1.0", "AGAIN ="),
        mutation("AGAIN = 1.0", file="bus/nothing.py"),
    ]
    exempt = [specification.Exemption(claim=number, reason="None.") for number in ("1.1", "1.2", "8.8")]
    assert specification.mutation_problems(chapters, changes, exempt) == [
        "bus/tasks.py: a mutation changes what occurs 2 times, not once: 'AGAIN'",
        "bus/tasks.py: a mutation changes what occurs 0 times, not once: 'AGAIN = 3.0'",
        "bus/tasks.py: a mutation changes nothing: 'AGAIN = 1.0'",
        "bus/tasks.py: a mutation makes it no Python (invalid syntax): 'AGAIN ='",
        "bus/nothing.py: a mutation changes it, and it does not exist",
        "a mutation names claim 9.9, which there is not",
        "an exemption names claim 8.8, which there is not",
        "claim 1.1 has a mutation and an exemption",
        "claim 1.3 has no mutation in mutations.toml",
    ]


def test_invalid_references_and_unproven_claims_are_reported(specification: ModuleType) -> None:
    claim = specification.Claim(id="1.1", text="All is well.", code=("services.nowhere",))
    chapters = [specification.Section(number=1, title="One", claims=(claim,))]
    proof = specification.Proof(path="tests/test_x.py", name="test_x")
    assert specification.problems(chapters, {"1.1": [proof], "9.9": [proof]}) == [
        "tests/test_x.py: test_x names claim 9.9, which there is not",
        "claim 1.1 names services.nowhere, which there is not",
    ]
    assert "- 1.1 All is well." in specification.page(chapters, {})


def test_a_claim_may_name_the_command_that_proves_it(specification: ModuleType) -> None:
    """The command must be a target of the Makefile."""

    def claims(command: str) -> list[object]:
        claim = specification.Claim(id="1.1", text="All is well.", code=("tests",), command=command)
        return [specification.Section(number=1, title="One", claims=(claim,))]

    assert specification.problems(claims("make coverage"), {}) == []
    page = specification.page(claims("make coverage"), {})
    assert "| `make coverage` |" in page
    assert "- 1.1" not in page
    for command in ("make sure", "make", "pytest --cov"):
        problem = f"claim 1.1 is proven by `{command}`, which there is not"
        assert specification.problems(claims(command), {}) == [problem]


def test_claims_of_single_parameters_are_found(specification: ModuleType) -> None:
    found = {proof.name for proof in specification.proofs()["3.2"]}
    assert "test_a_job_is_kept_for_the_retention_time_of_its_status" in found


@pytest.mark.claim("15.1")
def test_the_test_files_of_the_specification_exist_and_have_tests() -> None:
    """These are the test files that SPEC names."""
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
def test_make_coverage_fails_below_90_percent() -> None:
    """All packages are measured, including code in child processes. Running the command proves the coverage itself."""
    root = Path(__file__).parents[2]
    measured = coverage.Coverage(config_file=str(root / "pyproject.toml"))
    assert float(str(measured.get_option("report:fail_under"))) >= 90
    assert measured.get_option("run:source") == ["bus", "services", "ytarchive"]
    assert measured.get_option("run:patch") == ["subprocess", "fork", "_exit"]
    recipe = subprocess.run(["make", "-n", "coverage"], capture_output=True, text=True, check=True, cwd=root).stdout
    assert "pytest" in recipe
    assert " --cov " in recipe


@pytest.mark.claim("15.2")
async def test_an_async_test_runs_without_a_marker(request: pytest.FixtureRequest) -> None:
    """pytest-asyncio runs each in its own event loop."""
    assert asyncio.get_running_loop().is_running()
    assert request.config.pluginmanager.hasplugin("asyncio")
    assert request.node.get_closest_marker("asyncio") is not None  # added by the automatic mode


@pytest.mark.claim("15.2")
def test_a_failing_async_test_is_reported_as_failed(tmp_path: Path) -> None:
    """Without the plugin the coroutine would not be awaited and the test would pass."""
    (tmp_path / "test_it.py").write_text("async def test_it() -> None:\n    assert 1 == 2\n")
    settings = Path(__file__).parents[2] / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 1
    assert "assert 1 == 2" in ran.stdout
