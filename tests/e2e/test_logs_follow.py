"""`ytarchive logs --follow`: beside a stack, across its restart, and without one."""

import itertools
import json
import re
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.fixtures.waiting import until


@pytest.fixture
def up(cli: Any) -> Any:
    child = cli.start("up")
    child.wait_for("Ready.")
    return child


def ask_jobs(cli: Any, name: str) -> None:
    """Something that is logged: a request for a job that nobody has, under a trace of its own."""
    urls = json.loads((cli.data / "run" / "stack.json").read_text())["services"]
    url = f"{urls['jobs']}/api/v1/jobs/{name}"
    request = urllib.request.Request(url, headers={"X-Trace-Id": name})  # noqa: S310 - our own
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    refused.value.close()


def until_heard(cli: Any, child: Any, trace: str, *, numbered: bool = True) -> None:
    """The stream is heard from some moment on: ask until it tells."""
    numbers = itertools.count()

    def told() -> bool:
        ask_jobs(cli, f"{trace}-{next(numbers)}" if numbered else trace)
        return trace in child.out.read_text()

    until(told, f"something of {trace} is told")


def test_it_follows_across_a_restart_and_ends_with_ctrl_c(cli: Any, up: Any) -> None:
    follower = cli.start("logs", "-f", "--json", "--search", "request_received")
    of_one = cli.start("logs", "--follow", "--json", "--service", "jobs", "--trace", "one", "--level", "info")
    until_heard(cli, follower, "before")
    until_heard(cli, of_one, "one", numbered=False)
    up.signal(signal.SIGTERM)
    up.end()
    follower.wait_for("Lost the connection to the logging service")
    again = cli.start("up")
    again.wait_for("Ready.")
    follower.wait_for("Connected again")
    until_heard(cli, follower, "after")
    for child in (follower, of_one):
        child.signal(signal.SIGINT)
    told = follower.end()
    assert told.code == 130
    assert {record["event"] for record in told.lines} == {"request_received"}
    assert {"before", "after"} <= {re.sub(r"-\d+$", "", record.get("trace_id", "")) for record in told.lines}
    one = of_one.end()
    assert one.code == 130
    assert {(record["service"], record["trace_id"]) for record in one.lines} == {("jobs", "one")}
    assert told.err.splitlines() == [
        "Lost the connection to the logging service. Reconnecting; Ctrl-C ends.",
        "Connected again. `ytarchive logs` shows the records logged in between.",
    ]


def test_for_people_a_record_is_a_line(cli: Any, up: Any) -> None:
    assert up.process.runs
    follower = cli.start("logs", "-f", "--search", "jobs/people")
    until_heard(cli, follower, "people")
    follower.signal(signal.SIGINT)
    told = follower.end()
    assert told.code == 130
    line = re.compile(r"\S+ info     request_(received|completed) \(jobs\) .*endpoint=/api/v1/jobs/people-\d+.*")
    assert all(line.fullmatch(one) for one in told.out.splitlines())


def test_without_a_system_it_says_so(cli: Any) -> None:
    told = cli("logs", "--follow")
    assert told.code == 1
    assert "Start `ytarchive up`" in told.err
    assert cli("logs", "--follow", "--service", "nobody").code == 2
