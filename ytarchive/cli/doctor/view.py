"""Findings for people. Pure."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from ytarchive.cli.doctor.finding import Finding, State
from ytarchive.text import count, safe_text

_STYLE = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}
_LONGEST = 4_096


def lines(findings: Sequence[Finding]) -> Iterator[Text]:
    """Yield a line per finding, followed by the suggested fix, and finally the totals."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        yield Text.assemble(
            (f"{finding.state:<8} ", _STYLE[finding.state]),
            (f"{finding.check:<{width}}  ", "bold"),
            safe_text(finding.found, _LONGEST),
        )
        if finding.mend is not None:
            yield Text(f"{'':<{9 + width}}  {safe_text(finding.mend, _LONGEST)}")
    yield Text("")
    yield _verdict(findings)


def _verdict(findings: Sequence[Finding]) -> Text:
    problems, warnings = (sum(1 for f in findings if f.state is state) for state in (State.PROBLEM, State.WARNING))
    if not problems and not warnings:
        return Text("No problems.", style="green")
    totals = f"{count(problems, 'problem')}, {count(warnings, 'warning')}."
    return Text(totals, style=_STYLE[State.PROBLEM if problems else State.WARNING])
