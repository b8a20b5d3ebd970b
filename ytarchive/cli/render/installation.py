"""Health, configuration, tokens, versions and the findings of `doctor` for people. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ytarchive.cli.render.table import Cell, facts, table
from ytarchive.doctor.finding import Finding, FindingState
from ytarchive.text import count, safe_text

if TYPE_CHECKING:
    from services.common.models import HealthCheck
    from services.common.web.tokens import IssuedToken

_STYLE = {FindingState.OK: "green", FindingState.WARNING: "yellow", FindingState.PROBLEM: "red"}
_LONGEST_FINDING = 4_096  # characters


def health_table(answers: "Mapping[str, HealthCheck | str]") -> Table:
    """`answers`: by service, a health check or the reason why there is none."""
    rows = (_health(name, answer) for name, answer in answers.items())
    return table("service", "status", "version", "uptime", "failed checks", rows=rows)


def _health(name: str, answer: "HealthCheck | str") -> tuple[Cell, ...]:
    if isinstance(answer, str):
        return name, Text("no answer", style="red"), "", "", safe_text(answer)
    style = "green" if answer.status == "healthy" else "red"
    failed = ", ".join(check for check, passed in answer.checks.items() if not passed)
    uptime = f"{answer.uptime_seconds} s"
    return name, Text(answer.status, style=style), safe_text(answer.version), uptime, safe_text(failed)


def config_table(described: Mapping[str, Mapping[str, Any]]) -> Table:
    """`described`: the result of services.common.settings.load.describe."""
    return table("key", "value", "from", rows=(_setting(key, setting) for key, setting in described.items()))


def _setting(key: str, setting: Mapping[str, Any]) -> tuple[Cell, ...]:
    style = "dim" if setting["origin"] == "default" else ""
    value = "" if setting["value"] is None else safe_text(setting["value"], 500)
    return Text(key, style=style), Text(value, style=style), Text(safe_text(setting["origin"]), style=style)


def tokens_table(issued: "Sequence[IssuedToken]") -> RenderableType:
    if not issued:
        return Text("No tokens are issued.")
    rows = ((safe_text(one.name), one.scope, f"{one.created_at.astimezone():%Y-%m-%d %H:%M}") for one in issued)
    return table("name", "scope", "issued", rows=rows)


def versions_table(versions: Mapping[str, str | None]) -> Table:
    return facts(
        (program, safe_text(version) if version else Text("not found", style="red"))
        for program, version in versions.items()
    )


def finding_lines(findings: Sequence[Finding]) -> Iterator[Text]:
    """Yield a line per finding, followed by the suggested fix, and finally the totals."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        yield Text.assemble(
            (f"{finding.state:<8} ", _STYLE[finding.state]),
            (f"{finding.check:<{width}}  ", "bold"),
            safe_text(finding.found, _LONGEST_FINDING),
        )
        if finding.mend is not None:
            yield Text(f"{'':<{9 + width}}  {safe_text(finding.mend, _LONGEST_FINDING)}")
    yield Text("")
    yield _verdict(findings)


def _verdict(findings: Sequence[Finding]) -> Text:
    problems, warnings = (
        sum(1 for f in findings if f.state is state) for state in (FindingState.PROBLEM, FindingState.WARNING)
    )
    if not problems and not warnings:
        return Text("No problems.", style="green")
    totals = f"{count(problems, 'problem')}, {count(warnings, 'warning')}."
    return Text(totals, style=_STYLE[FindingState.PROBLEM if problems else FindingState.WARNING])
