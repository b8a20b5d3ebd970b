"""Break each claim of the specification, and see that its own tests fail (`make mutants`).

Each mutation of mutations.toml is applied to a copy of the tree, never to the checkout, and the tests that are marked
with its claim run there until one fails. The mutant is then

killed      a test failed
timed out   the tests did not end within LIMIT seconds, which counts as killed
SURVIVED    all tests passed: they do not prove the claim
INVALID     nothing is shown: the changed module cannot be imported, no test was run, or the set-up of one failed

Before that, the tests must pass without a mutation. The exit code is 0 if every mutant was killed.
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.spec.specification import (
    ROOT,
    Exemption,
    Mutation,
    Proof,
    exemptions,
    mutation_problems,
    mutations,
    proofs,
    sections,
)

LIMIT = 400.0  # seconds for the tests of one mutant; pytest itself ends a test after 300
GRACE = 40.0  # seconds in which pytest may stop what its tests have started
_NOT_COPIED = (".git", ".venv", ".audit", ".demo", ".upgrade", ".*_cache", "__pycache__", "dist", "htmlcov")
_PACKAGES = ("bus/", "services/", "ytarchive/")
_FAILED = re.compile(r"^FAILED \S+?::(?P<test>.+?)(?: - .*)?$", re.MULTILINE)
_ERROR = re.compile(r"^ERROR .+$", re.MULTILINE)  # of a set-up, or of a file that cannot be collected
_SHOWN = 60  # characters of a text


class Verdict(StrEnum):
    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "SURVIVED"
    INVALID = "INVALID"


_GOOD = {Verdict.KILLED, Verdict.TIMED_OUT}


@dataclass(frozen=True)
class Mutant:
    """A mutation, and one of the claims that it breaks."""

    claim: str
    mutation: Mutation

    def __str__(self) -> str:
        change = f"{_short(self.mutation.find)} → {_short(self.mutation.replace) or 'nothing'}"
        return f"{self.claim}  {self.mutation.file}: {change}"


@dataclass(frozen=True)
class Outcome:
    """`why`: the first test that failed, or what pytest printed last."""

    verdict: Verdict
    why: str
    seconds: float


@dataclass(frozen=True)
class Ran:
    """A process that has ended; `code` None: at its time limit."""

    code: int | None
    output: str


@dataclass(frozen=True)
class Workspace:
    """A copy of the tree, for one mutant at a time."""

    tree: Path
    tests: Mapping[str, Sequence[Proof]]  # by claim
    limit: float = LIMIT  # seconds for the tests of a mutant

    @classmethod
    def make(cls, tree: Path, tests: Mapping[str, Sequence[Proof]]) -> "Workspace":
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
        return cls(tree, tests)

    async def judge(self, mutant: Mutant) -> Outcome:
        begun = time.monotonic()
        with self._mutated(mutant.mutation):
            problem = await self._import_problem(mutant.mutation.file)
            verdict, why = (Verdict.INVALID, problem) if problem else await self._try(mutant.claim)
        return Outcome(verdict, why, time.monotonic() - begun)

    async def run_tests(self, claims: Sequence[str], *options: str, limit: float | None = None) -> Ran:
        """Run the tests that are marked with these claims."""
        files = sorted({proof.path for claim in claims for proof in self.tests.get(claim, ())}, key=_fastest_first)
        words = ["-p", "tests.spec.claim_selection", *(f"--claim={claim}" for claim in claims)]
        words += ["-p", "no:cacheprovider", f"--basetemp={self.tree}-tests", "--quiet", *options]
        return await self._run(["-m", "pytest", *words, *files], limit)

    async def _try(self, claim: str) -> tuple[Verdict, str]:
        ran = await self.run_tests([claim], "--exitfirst", limit=self.limit)
        match ran.code:
            case None:
                return Verdict.TIMED_OUT, f"no end within {self.limit:g} s"
            case 0:
                return Verdict.SURVIVED, _last_line(ran.output)
            case 1 if (failure := _FAILED.search(ran.output)) is not None:
                return Verdict.KILLED, failure["test"]
            case code:  # nothing was run, or failed before its test: 1 for a set-up, 5 for no test
                error = _ERROR.search(ran.output)
                return Verdict.INVALID, f"pytest ended with {code}: {error[0] if error else _last_line(ran.output)}"

    @contextmanager
    def _mutated(self, mutation: Mutation) -> Iterator[None]:
        path = self.tree / mutation.file
        before, original = path.stat(), path.read_text()
        path.write_text(mutation.apply(original))
        try:
            yield
        finally:
            path.write_text(original)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # else its bytecode would count as current

    async def _import_problem(self, file: str) -> str | None:
        """Return why the module of a file cannot be imported; None if it can, or if the file is no module."""
        if not file.startswith(_PACKAGES) or not file.endswith(".py") or file.endswith("__main__.py"):
            return None
        ran = await self._run(["-c", f"import {file.removesuffix('.py').replace('/', '.')}"], LIMIT)
        return None if ran.code == 0 else f"it cannot be imported: {_last_line(ran.output)}"

    async def _run(self, words: Sequence[str], limit: float | None) -> Ran:
        """Run Python in the copy. The output goes to a file: a pipe would stay open in what the tests leave behind."""
        output = self.tree.with_name(f"{self.tree.name}.log")
        environment = {**os.environ, "PYTHONPATH": str(self.tree)}
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *words, cwd=self.tree, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        try:
            code: int | None = await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            code = None
        finally:
            await _end(process)
        return Ran(code, output.read_text(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a pytest that still runs: interrupted, it stops what its tests have started. What it leaves is killed."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), GRACE)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def judge_all(mutants: Sequence[Mutant], workspaces: Sequence[Workspace]) -> Counter[Verdict]:
    """Judge the mutants, as many at once as there are workspaces. Print a line for each."""
    waiting, counts = deque(mutants), Counter[Verdict]()

    async def work(workspace: Workspace) -> None:
        while waiting:
            mutant = waiting.popleft()
            outcome = await workspace.judge(mutant)
            counts[outcome.verdict] += 1
            _say(f"{outcome.verdict:<9} {outcome.seconds:4.0f} s  {mutant}\n                  {outcome.why}")

    async with asyncio.TaskGroup() as group:
        for workspace in workspaces:
            group.create_task(work(workspace))
    return counts


async def run(claims: Sequence[str], workers: int, place: Path, *, unchecked: bool = False) -> bool:
    """Return whether the tests pass and every mutant of these claims was killed. `unchecked`: without the former."""
    tests = proofs()
    mutants = [Mutant(claim, one) for claim in claims for one in mutations() if claim in one.claims]
    workspaces = [await asyncio.to_thread(Workspace.make, place / f"tree-{n}", tests) for n in range(1, workers + 1)]
    begun = time.monotonic()
    if not unchecked and not await _pass_unmutated(claims, workspaces[0], workers):
        return False
    counts = await judge_all(mutants, workspaces)
    minutes = (time.monotonic() - begun) / 60
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
    _say(f"{len(mutants)} mutants of {len(claims)} claims in {minutes:.0f} minutes: {told}")
    return set(counts) <= _GOOD


async def _pass_unmutated(claims: Sequence[str], workspace: Workspace, workers: int) -> bool:
    _say(f"The tests of {len(claims)} claims, without a mutation:")
    ran = await workspace.run_tests(claims, f"--numprocesses={workers}", "--dist=worksteal")
    _say(_last_line(ran.output) if ran.code == 0 else ran.output)
    return ran.code == 0


def _choose(wanted: Sequence[str], exempt: Sequence[Exemption]) -> list[str]:
    """Return the claims to break. Exit when one does not exist."""
    known = [claim.id for chapter in sections() for claim in chapter.claims]
    if unknown := [claim for claim in wanted if claim not in known]:
        sys.exit(f"There is no claim {unknown[0]}: tests/spec/claims.toml lists them.")
    chosen = [claim for claim in known if claim in wanted or not wanted]
    for one in exempt:
        if one.claim in chosen:
            _say(f"{one.claim} has no mutation: {one.reason}")
    return [claim for claim in chosen if claim not in {one.claim for one in exempt}]


def _fastest_first(path: str) -> tuple[int, str]:
    folder = path.split("/")[1]
    return ("unit", "integration", "spec").index(folder), path


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _last_line(output: str) -> str:
    return next((line.strip("= ") for line in reversed(output.splitlines()) if line.strip()), "no output")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", nargs="*", default=[], metavar="NUMBER", help="only these claims")
    parser.add_argument("--workers", type=int, default=2, help="mutants at once")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests without a mutation first")
    options = parser.parse_args()
    if wrong := mutation_problems(sections(), mutations(), exemptions()):
        sys.exit("\n".join(wrong))
    claims = _choose(options.claims, exemptions())
    with tempfile.TemporaryDirectory(prefix="ytarchive-mutants-") as place:
        return 0 if asyncio.run(run(claims, options.workers, Path(place), unchecked=options.unchecked)) else 1


if __name__ == "__main__":
    sys.exit(main())
