"""`ytarchive logs --follow`: with a running stack, across its restart, and without a stack."""

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


def request_unknown_job(cli: Any, name: str) -> None:
    """Cause log records: request a job that does not exist, with the trace id `name`."""
    urls = json.loads((cli.data / "run" / "stack.json").read_text())["services"]
    url = f"{urls['jobs']}/api/v1/jobs/{name}"
    request = urllib.request.Request(url, headers={"X-Trace-Id": name})  # noqa: S310 - our own
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    refused.value.close()


def wait_until_followed(cli: Any, child: Any, trace: str, *, numbered: bool = True) -> None:
    """Repeat requests until the follower prints a record of the trace: it does not subscribe immediately."""
    numbers = itertools.count()

    def is_followed() -> bool:
        request_unknown_job(cli, f"{trace}-{next(numbers)}" if numbered else trace)
        return trace in child.out.read_text()

    until(is_followed, f"a record of {trace} is printed")


def test_follow_reconnects_after_a_restart_and_ends_with_ctrl_c(cli: Any, up: Any) -> None:
    follower = cli.start("logs", "-f", "--json", "--search", "request_received")
    of_one = cli.start("logs", "--follow", "--json", "--service", "jobs", "--trace", "one", "--level", "info")
    wait_until_followed(cli, follower, "before")
    wait_until_followed(cli, of_one, "one", numbered=False)
    up.signal(signal.SIGTERM)
    up.end()
    follower.wait_for("Lost the connection to the logging service")
    again = cli.start("up")
    again.wait_for("Ready.")
    follower.wait_for("Connected again")
    wait_until_followed(cli, follower, "after")
    for child in (follower, of_one):
        child.signal(signal.SIGINT)
    ended = follower.end()
    assert ended.code == 130
    assert {record["event"] for record in ended.lines} == {"request_received"}
    assert {"before", "after"} <= {re.sub(r"-\d+$", "", record.get("trace_id", "")) for record in ended.lines}
    one = of_one.end()
    assert one.code == 130
    assert {(record["service"], record["trace_id"]) for record in one.lines} == {("jobs", "one")}
    assert ended.err.splitlines() == [
        "Lost the connection to the logging service. Reconnecting; Ctrl-C ends.",
        "Connected again. `ytarchive logs` shows the records logged in between.",
    ]


def test_follow_prints_each_record_as_one_line(cli: Any, up: Any) -> None:
    assert up.process.is_running
    follower = cli.start("logs", "-f", "--search", "jobs/people")
    wait_until_followed(cli, follower, "people")
    follower.signal(signal.SIGINT)
    ended = follower.end()
    assert ended.code == 130
    line = re.compile(r"\S+ info     request_(received|completed) \(jobs\) .*endpoint=/api/v1/jobs/people-\d+.*")
    assert all(line.fullmatch(one) for one in ended.out.splitlines())


def test_follow_without_a_running_stack_fails_with_the_start_command(cli: Any) -> None:
    ended = cli("logs", "--follow")
    assert ended.code == 1
    assert "Start `ytarchive up`" in ended.err
    assert cli("logs", "--follow", "--service", "nobody").code == 2
