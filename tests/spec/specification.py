"""Generate docs/specification.md from the claims (claims.toml) and the tests marked `@pytest.mark.claim("3.2")`.

python tests/spec/specification.py            write the page
python tests/spec/specification.py --check    exit with 1 if the page is stale, or a reference or a mutation is invalid
"""

import argparse
import ast
import importlib
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "specification.md"


class Claim(BaseModel):
    """One sentence of the specification. `code`: `package.module`, `package.module:name`, or a path from the root."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    text: str
    code: tuple[str, ...]
    deviation: str | None = None
    command: str | None = None  # `make …`, if the command is the proof and no test can be


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    title: str
    claims: tuple[Claim, ...]


class Mutation(BaseModel):
    """A change that makes claims false, so that the tests of each must fail (tests/spec/mutants.py). `find` occurs
    exactly once in `file`, which is relative to the repository."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claims: tuple[str, ...]
    file: str
    find: str
    replace: str

    def apply(self, text: str) -> str:
        return text.replace(self.find, self.replace)


class Exemption(BaseModel):
    """A claim that no mutation can break, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    reason: str


class Proof(BaseModel):
    """A test that is marked with a claim."""

    model_config = ConfigDict(frozen=True)

    path: str  # relative to the repository
    name: str


def sections() -> list[Section]:
    read = tomllib.loads((HERE / "claims.toml").read_text())
    return [Section.model_validate(section) for section in read["section"]]


def mutations() -> list[Mutation]:
    return [Mutation.model_validate(mutation) for mutation in _read_mutations()["mutation"]]


def exemptions() -> list[Exemption]:
    return [Exemption.model_validate(exemption) for exemption in _read_mutations().get("exemption", ())]


def _read_mutations() -> dict[str, Any]:
    return tomllib.loads((HERE / "mutations.toml").read_text())


def proofs() -> dict[str, list[Proof]]:
    """Map each claim to the tests that are marked with it."""
    found: defaultdict[str, list[Proof]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                proof = Proof(path=path.relative_to(ROOT).as_posix(), name=function.name)
                for number in _claimed(function.decorator_list):
                    found[number].append(proof)
    return found


def _claimed(decorators: Sequence[ast.expr]) -> list[str]:
    """Return the claims of a test, including those of single parameters."""
    calls = [node for decorator in decorators for node in ast.walk(decorator) if isinstance(node, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.claim"]
    return sorted({str(ast.literal_eval(argument)) for mark in marks for argument in mark.args})


def problems(chapters: Sequence[Section], tests: Mapping[str, Sequence[Proof]]) -> list[str]:
    """Return the invalid references in claims and markers."""
    claims = {claim.id: claim for chapter in chapters for claim in chapter.claims}
    wrong = [f"{chapter.number} is not the chapter of claim {claim.id}" for chapter, claim in _misplaced(chapters)]
    wrong += [f"{proof.path}: {proof.name} names claim {number}, which there is not"
              for number in tests if number not in claims for proof in tests[number]]  # fmt: skip
    wrong += [f"claim {claim.id} names {place}, which there is not"
              for claim in claims.values() for place in claim.code if not _exists(place)]  # fmt: skip
    wrong += [f"claim {claim.id} is proven by `{claim.command}`, which there is not"
              for claim in claims.values() if claim.command and not _is_target(claim.command)]  # fmt: skip
    return wrong


def mutation_problems(
    chapters: Sequence[Section], changes: Sequence[Mutation], exempt: Sequence[Exemption]
) -> list[str]:
    """Return the mutations that cannot be applied, and the claims that none breaks."""
    known = [claim.id for chapter in chapters for claim in chapter.claims]
    broken = {claim for change in changes for claim in change.claims}
    excused = {one.claim for one in exempt}
    wrong = [f"{change.file}: {problem}" for change in changes if (problem := _problem_of(change))]
    wrong += [f"a mutation names claim {claim}, which there is not" for claim in sorted(broken - set(known))]
    wrong += [f"an exemption names claim {claim}, which there is not" for claim in sorted(excused - set(known))]
    wrong += [f"claim {claim} has a mutation and an exemption" for claim in known if claim in broken & excused]
    wrong += [f"claim {claim} has no mutation in mutations.toml" for claim in known if claim not in broken | excused]
    return wrong


def _problem_of(change: Mutation) -> str | None:
    path = ROOT / change.file
    if not path.is_file():
        return "a mutation changes it, and it does not exist"
    text = path.read_text()
    if (count := text.count(change.find)) != 1:
        return f"a mutation changes what occurs {count} times, not once: {change.find!r}"
    if change.replace == change.find:
        return f"a mutation changes nothing: {change.find!r}"
    try:
        if path.suffix == ".py":
            ast.parse(change.apply(text))
    except SyntaxError as error:
        return f"a mutation makes it no Python ({error.msg}): {change.replace!r}"
    return None


def _misplaced(chapters: Sequence[Section]) -> Iterator[tuple[Section, Claim]]:
    seen: set[str] = set()
    for chapter in chapters:
        for claim in chapter.claims:
            if claim.id.partition(".")[0] != str(chapter.number) or claim.id in seen:
                yield chapter, claim
            seen.add(claim.id)


def _exists(place: str) -> bool:
    if (ROOT / place).exists():
        return True
    module, _, name = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return not name or hasattr(found, name)


def _is_target(command: str) -> bool:
    """Whether the command is `make` with a target of the Makefile."""
    make, _, target = command.partition(" ")
    recipes = (ROOT / "Makefile").read_text().splitlines()
    return make == "make" and any(line.startswith(f"{target}:") for line in recipes)


def page(chapters: Sequence[Section], tests: Mapping[str, Sequence[Proof]]) -> str:
    """Return the page as Markdown."""
    claims = [claim for chapter in chapters for claim in chapter.claims]
    proven = sum(len(tests.get(claim.id, ())) for claim in claims)
    commands = [claim.command for claim in claims if claim.command]
    lines = [
        "# The specification, claim by claim",
        "",
        "Generated by `tests/spec/specification.py` (`make docs`); do not edit.",
        "",
        f"{len(claims)} claims, {proven + len(commands)} proofs. Where a docstring names a",
        "section (“SPEC: Retry Policy”), it means the chapters below. Where the implementation deviates, the claim is",
        "marked and its tests check the deviation; [all deviations](#deviations) are listed at the end. A claim that",
        "only the whole suite can prove names the command. `make mutants` breaks each claim, and its tests must fail.",
        "",
    ]
    for chapter in chapters:
        lines += [f"## {chapter.number}. {chapter.title}", "", "| | claim | code | tests |", "|---|---|---|---|"]
        lines += [_row(claim, tests.get(claim.id, ())) for claim in chapter.claims]
        lines.append("")
    open_claims = [claim for claim in claims if not tests.get(claim.id) and not claim.command]
    lines += ["## Not proven yet", ""]
    lines += [f"- {claim.id} {claim.text}{'' if claim.code else ' Not built yet.'}" for claim in open_claims] or [
        "None."
    ]
    lines += ["", "## Deviations", "", "| | the specification | what we do, and why |", "|---|---|---|"]
    lines += [f"| {claim.id} | {claim.text} | {claim.deviation} |" for claim in claims if claim.deviation]
    return "\n".join(lines) + "\n"


def _row(claim: Claim, found: Sequence[Proof]) -> str:
    text = claim.text + (" *(deviation)*" if claim.deviation else "")
    code = "<br>".join(f"[{_short(place)}]({_file(place)})" for place in claim.code)
    proofs = [f"`{claim.command}`"] if claim.command else []
    proofs += [f"[{proof.name}](../{proof.path})" for proof in found]
    return f"| {claim.id} | {text} | {code} | {'<br>'.join(proofs)} |"


def _short(place: str) -> str:
    return place.removeprefix("services.").replace(":", " ")


def _file(place: str) -> str:
    if (ROOT / place).exists():
        return f"../{place}"
    path = place.partition(":")[0].replace(".", "/")
    return f"../{path}.py" if (ROOT / f"{path}.py").exists() else f"../{path}/"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    chapters, tests = sections(), proofs()
    wrong = problems(chapters, tests) + mutation_problems(chapters, mutations(), exemptions())
    text = page(chapters, tests)
    if options.check and (not PAGE.exists() or PAGE.read_text() != text):
        wrong.append(f"{PAGE.relative_to(ROOT)} is stale: run `make docs`")
    if not options.check:
        PAGE.write_text(text)
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
