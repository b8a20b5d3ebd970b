"""`make mutants` on a small tree: what it says of a mutation, and that it uses the code and the tests of the tree."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.spec.mutants import Mutant, Verdict, Workspace
from tests.spec.specification import Mutation, Proof

HERE = Path(__file__).parent
CODE = """\
import time

ANSWER = 42


def answer() -> int:
    time.sleep(0)
    return ANSWER
"""
TESTS = """\
import pytest

from bus.answers import answer


@pytest.mark.claim("1.1")
def test_the_answer() -> None:
    assert answer() == 42


@pytest.mark.claim("1.2")
def test_there_is_an_answer() -> None:
    assert answer()


@pytest.fixture
def prepared() -> None:
    assert answer() == 42


@pytest.mark.claim("1.4")
@pytest.mark.usefixtures("prepared")
def test_with_a_set_up() -> None:
    assert answer() == 42


def test_without_a_claim() -> None:
    raise AssertionError("not to be run")
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    tree = tmp_path / "tree"
    for package in ("bus", "services", "ytarchive", "tests/spec"):
        (tree / package).mkdir(parents=True)
        (tree / package / "__init__.py").touch()
    (tree / "bus" / "answers.py").write_text(CODE)
    (tree / "tests" / "unit").mkdir()
    (tree / "tests" / "unit" / "test_answers.py").write_text(TESTS)
    shutil.copy(HERE / "claim_selection.py", tree / "tests" / "spec")
    settings = ["[tool.pytest.ini_options]", "markers = ['claim(number)']", "addopts = '--import-mode=importlib -ra'"]
    (tree / "pyproject.toml").write_text("\n".join(settings))
    proof = Proof(path="tests/unit/test_answers.py", name="any")
    return Workspace(tree, {number: [proof] for number in ("1.1", "1.2", "1.3", "1.4")})


@pytest.mark.parametrize(
    ("claim", "find", "replace", "verdict", "why"),
    [
        ("1.1", "ANSWER = 42", "ANSWER = 43", Verdict.KILLED, "test_the_answer"),
        ("1.2", "ANSWER = 42", "ANSWER = 43", Verdict.SURVIVED, "1 passed"),
        ("1.3", "ANSWER = 42", "ANSWER = 43", Verdict.INVALID, "4 deselected"),
        ("1.4", "ANSWER = 42", "ANSWER = 43", Verdict.INVALID, "test_with_a_set_up"),
        ("1.1", "import time", "import tame", Verdict.INVALID, "No module named 'tame'"),
        ("1.1", "time.sleep(0)", "time.sleep(600)", Verdict.TIMED_OUT, "no end within 2 s"),
    ],
)
async def test_what_is_said_of_a_mutation(
    workspace: Workspace, claim: str, find: str, replace: str, verdict: Verdict, why: str
) -> None:
    mutation = Mutation(claims=(claim,), file="bus/answers.py", find=find, replace=replace)
    if verdict is Verdict.TIMED_OUT:
        workspace = dataclasses.replace(workspace, limit=2.0)
    outcome = await workspace.judge(Mutant(claim, mutation))
    assert outcome.verdict is verdict, outcome.why
    assert why in outcome.why, outcome.why
    assert (workspace.tree / "bus" / "answers.py").read_text() == CODE


async def test_code_of_another_tree_is_refused(workspace: Workspace) -> None:
    """Without a package of its own, the tests would use the one that is installed."""
    (workspace.tree / "services" / "__init__.py").unlink()
    (workspace.tree / "services").rmdir()
    ran = await workspace.run_tests(["1.1"])
    assert ran.code not in {0, 1}
    assert "services would be imported from" in ran.output
