"""Rules: what is taken, what is left out and why, and what a list does not tell."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.common.rules import Facts, Rules, VideoKind, judge, published_between, shown_length

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
OLD, NEW = datetime(2020, 5, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)
TOLD = Facts(
    "A live concert",
    "Recorded in Bern.",
    VideoKind.STREAM,
    5400.0,
    NEW,
    NEW,
    1500,
    members_only=False,
    language="de-CH",
)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({}, None),
        ({"kinds": ["stream", "premiere"]}, None),
        ({"kinds": ["video"]}, "it is a stream"),
        ({"title_include": "CONCERT$"}, None),
        ({"title_include": r"^\d+"}, r"its title does not match '^\d+'"),
        ({"title_exclude": r"\blive\b"}, r"its title matches '\blive\b'"),
        ({"description_exclude": "basel", "description_include": "bern"}, None),
        ({"description_exclude": "bern"}, "its description matches 'bern'"),
        ({"min_length": "2h"}, "it is shorter than 2 h (1 h 30 min)"),
        ({"min_length": "1h30m", "max_length": 5400}, None),
        ({"max_length": "45m"}, "it is longer than 45 min (1 h 30 min)"),
        ({"since": "2026-11-20"}, None),
        ({"since": "2026-11-21"}, "it was published before 2026-11-21"),
        ({"min_views": 1501}, "it was seen less than 1,501 times (1,500)"),
        ({"max_views": 1000}, "it was seen more than 1,000 times (1,500)"),
        ({"members_only": "exclude"}, None),
        ({"members_only": "only"}, "it is not for members only"),
        ({"languages": ["en", "DE"]}, None),
        ({"languages": ["de-AT"]}, "its language is de-CH"),
        ({"kinds": ["video"], "min_length": "2h"}, "it is a stream"),
    ],
)
def test_every_rule(rules: dict[str, Any], reason: str | None) -> None:
    verdict = judge(Rules.model_validate(rules), TOLD)
    assert (verdict.taken, verdict.reason) == (reason is None, reason or "")


@pytest.mark.parametrize(
    ("rules", "unknown"),
    [
        ({"kinds": ["video"]}, "its kind"),
        ({"title_include": "a"}, "its title"),
        ({"description_exclude": "a"}, "its description"),
        ({"max_length": 60}, "its length"),
        ({"since": "2020-01-01"}, "when it was published"),
        ({"min_views": 1}, "how often it was seen"),
        ({"members_only": "exclude"}, "whether it is for members only"),
        ({"languages": ["en"]}, "its language"),
    ],
)
def test_what_is_not_told_is_undecided(rules: dict[str, Any], unknown: str) -> None:
    verdict = judge(Rules.model_validate(rules), Facts())
    assert (verdict.taken, verdict.unknown) == (None, unknown)


def test_what_is_known_decides_whatever_else_is_unknown() -> None:
    rules = Rules(kinds=(VideoKind.VIDEO,), min_length=60)
    assert judge(rules, Facts(seconds=30)).taken is False
    assert judge(rules, Facts(seconds=90)).taken is None


@pytest.mark.parametrize(
    ("ago", "before", "after"),
    [
        (timedelta(days=2 * 365), date(2023, 1, 1), date(2024, 12, 31)),  # "2 years ago": two to three years
        (timedelta(days=3 * 30), date(2026, 8, 1), date(2026, 9, 30)),
        (timedelta(days=14), date(2026, 11, 1), date(2026, 11, 28)),
        (timedelta(hours=5), date(2026, 12, 1), date(2026, 12, 1)),
    ],
)
def test_an_age_is_a_span_of_time(ago: timedelta, before: date, after: date) -> None:
    earliest, latest = published_between(NOW - ago, NOW)
    assert before <= earliest.date() < latest.date() + timedelta(days=1)
    assert latest.date() <= after
    assert earliest <= NOW - ago <= latest <= NOW


def test_only_the_days_about_the_limit_are_undecided() -> None:
    rules = Rules(since=date(2024, 6, 1))

    def of(years: int) -> bool | None:
        earliest, latest = published_between(NOW - timedelta(days=365 * years), NOW)
        return judge(rules, Facts(earliest=earliest, latest=latest)).taken

    assert [of(1), of(2), of(3), of(9)] == [True, None, False, False]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"title_include": "("}, "'\\(' is no regular expression: missing \\)"),
        ({"min_length": "soon"}, "'soon' is no length: write 90s, 2m or 1h30m"),
        ({"min_length": ""}, "is no length"),
        ({"min_length": "2h", "max_length": "1h"}, "no video fulfils both"),
        ({"min_views": 2, "max_views": 1}, "no video fulfils both"),
        ({"kinds": ["podcast"]}, "'video', 'short', 'stream' or 'premiere'"),
        ({"since": "yesterday"}, "date"),
        ({"titel": "x"}, "Extra inputs"),
        ({"title_include": "x" * 501}, "at most 500"),
    ],
)
def test_wrong_rules_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rules.model_validate(rules)


def test_an_expression_that_takes_too_long_leaves_nothing_out() -> None:
    slow, text = r"^(a+)+(b|c)+d$", "a" * 60 + "!"
    begun = time.process_time()
    assert judge(Rules(title_include=slow), Facts(title=text)).taken in {True, False}
    assert judge(Rules(title_exclude=slow), Facts(title=text)).taken is True
    assert time.process_time() - begun < 5


def test_lengths_as_people_write_them() -> None:
    assert [shown_length(n) for n in (0, 45, 120, 5400, 3661.4)] == [
        "0 s",
        "45 s",
        "2 min",
        "1 h 30 min",
        "1 h 1 min 1 s",
    ]
