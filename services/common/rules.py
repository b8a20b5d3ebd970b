"""Rules: which videos of a list are wanted. Pure.

A rule decides by facts of a video. A list of YouTube tells some of them, an extraction tells the rest:

    judge(Rules(min_length=120), Facts(seconds=31))    left out: "it is shorter than 2 min (31 s)"
    judge(Rules(min_length=120), Facts())              undecided: the list does not tell how long it is

What a rule leaves out is no failure and no gap. Regular expressions are those of the package `regex`, without regard to
case; one that needs longer than 20 ms for a text matches it.
"""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import regex

_REGEX_TIME = 0.02  # seconds
_SLOW, _TRIED_AGAIN = 3, 500  # texts
_UNITS = (timedelta(days=366), timedelta(days=31), timedelta(days=7), timedelta(days=1), timedelta(hours=1))
_LENGTH = re.compile(r"(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s?)?", re.IGNORECASE)


class VideoKind(StrEnum):
    VIDEO = "video"
    SHORT = "short"
    STREAM = "stream"
    PREMIERE = "premiere"


def parse_length(text: str) -> float:
    """Return the seconds of `90`, `90s`, `2m`, `1h30m`. Raise ValueError."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no length: write 90s, 2m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _read_length(value: Any) -> Any:
    return parse_length(value) if isinstance(value, str) else value


def _check_expression(text: str) -> str:
    import regex  # not at the head: a job without rules needs none

    try:
        regex.compile(text, regex.IGNORECASE)
    except regex.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Expression = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_expression)]
Length = Annotated[float, BeforeValidator(_read_length), Field(ge=0, le=10**7)]
Language = Annotated[str, Field(min_length=2, max_length=64)]


class Rules(BaseModel):
    """Which videos are wanted: those that fulfil all of these. Lengths are in seconds, or as `2m`, `1h30m`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: tuple[VideoKind, ...] = Field(default=(), max_length=10, description="Only these kinds; empty: all.")
    title_include: Expression | None = Field(default=None, description="The title matches this regular expression.")
    title_exclude: Expression | None = None
    description_include: Expression | None = None
    description_exclude: Expression | None = None
    min_length: Length | None = None
    max_length: Length | None = None
    since: date | None = Field(default=None, description="Published on this day (UTC) or later.")
    min_views: int | None = Field(default=None, ge=0)
    max_views: int | None = Field(default=None, ge=0)
    members_only: Literal["exclude", "only"] | None = None
    languages: tuple[Language, ...] = Field(
        default=(), max_length=50, description="As `en`, `pt-BR`; `pt` includes `pt-BR`."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if None not in (self.min_length, self.max_length) and (self.min_length or 0) > (self.max_length or 0):
            raise ValueError("min_length is greater than max_length: no video fulfils both")
        if None not in (self.min_views, self.max_views) and (self.min_views or 0) > (self.max_views or 0):
            raise ValueError("min_views is greater than max_views: no video fulfils both")
        return self

    def __bool__(self) -> bool:
        """Return whether there is any rule."""
        return self != Rules()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a video; None is unknown. It was published between `earliest` and `latest`."""

    title: str | None = None
    description: str | None = None
    kind: VideoKind | None = None
    seconds: float | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    views: int | None = None
    members_only: bool | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`taken` None: undecided, because `unknown` is not known. `reason`: why it is left out, as a sentence."""

    taken: bool | None
    reason: str = ""
    unknown: str = ""


TAKEN = Verdict(True)


def judge(rules: Rules, facts: Facts) -> Verdict:
    """Decide whether a video is wanted: one rule that is not fulfilled decides, whatever else is unknown."""
    unknown = ""
    for check in (_kind, _texts, _lengths, _published, _views, _members, _language):
        for verdict in check(rules, facts):
            if verdict.taken is False:
                return verdict
            unknown = unknown or verdict.unknown
    return Verdict(None, unknown=unknown) if unknown else TAKEN


def published_between(told: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return when a video was published, of which a list says that it is so old as `told`: "2 years ago" is at least
    two years and less than three. yt-dlp rounds such a time to the hour or day."""
    age = now - told
    rounding = timedelta(days=1) if age >= timedelta(hours=23) else timedelta(hours=1)
    unit = next((unit for unit in _UNITS if age >= unit - rounding), _UNITS[-1])
    return told - unit - rounding, min(told + rounding, now)


def _left_out(reason: str) -> Verdict:
    return Verdict(False, reason)


def _unknown(what: str) -> Verdict:
    return Verdict(None, unknown=what)


def _kind(rules: Rules, facts: Facts) -> list[Verdict]:
    if not rules.kinds:
        return []
    if facts.kind is None:
        return [_unknown("its kind")]
    return [] if facts.kind in rules.kinds else [_left_out(f"it is a {facts.kind}")]


def _texts(rules: Rules, facts: Facts) -> list[Verdict]:
    verdicts = []
    for name, text, include, exclude in (
        ("title", facts.title, rules.title_include, rules.title_exclude),
        ("description", facts.description, rules.description_include, rules.description_exclude),
    ):
        if include is None and exclude is None:
            continue
        if text is None:
            verdicts.append(_unknown(f"its {name}"))
        elif include is not None and not _matches(include, text):
            verdicts.append(_left_out(f"its {name} does not match '{include}'"))
        elif exclude is not None and _matches(exclude, text, otherwise=False):
            verdicts.append(_left_out(f"its {name} matches '{exclude}'"))
    return verdicts


_slow: Counter[str] = Counter()  # by expression: how many texts it needed too long for, one after the other


@lru_cache(maxsize=1000)
def _compiled(expression: str) -> "regex.Pattern[str]":
    import regex

    return regex.compile(expression, regex.IGNORECASE)


def _matches(expression: str, text: str, *, otherwise: bool = True) -> bool:
    """`otherwise`: of an expression that needs too long. It leaves nothing out: a video too many is no loss. One that
    needed too long for several texts is hardly tried any more."""
    slow = _slow[expression]
    if slow >= _SLOW:
        _slow[expression] = slow + 1 if slow < _SLOW + _TRIED_AGAIN else 0
        return otherwise
    try:
        found = _compiled(expression).search(text, timeout=_REGEX_TIME) is not None
    except TimeoutError:
        _slow[expression] += 1
        return otherwise
    _slow.pop(expression, None)
    return found


def _lengths(rules: Rules, facts: Facts) -> list[Verdict]:
    if rules.min_length is None and rules.max_length is None:
        return []
    if facts.seconds is None:
        return [_unknown("its length")]
    if rules.min_length is not None and facts.seconds < rules.min_length:
        return [_left_out(f"it is shorter than {shown_length(rules.min_length)} ({shown_length(facts.seconds)})")]
    if rules.max_length is not None and facts.seconds > rules.max_length:
        return [_left_out(f"it is longer than {shown_length(rules.max_length)} ({shown_length(facts.seconds)})")]
    return []


def _published(rules: Rules, facts: Facts) -> list[Verdict]:
    if rules.since is None:
        return []
    limit = datetime(rules.since.year, rules.since.month, rules.since.day, tzinfo=UTC)
    if facts.latest is not None and facts.latest < limit:
        return [_left_out(f"it was published before {rules.since}")]
    return [] if facts.earliest is not None and facts.earliest >= limit else [_unknown("when it was published")]


def _views(rules: Rules, facts: Facts) -> list[Verdict]:
    if rules.min_views is None and rules.max_views is None:
        return []
    if facts.views is None:
        return [_unknown("how often it was seen")]
    if rules.min_views is not None and facts.views < rules.min_views:
        return [_left_out(f"it was seen less than {rules.min_views:,} times ({facts.views:,})")]
    if rules.max_views is not None and facts.views > rules.max_views:
        return [_left_out(f"it was seen more than {rules.max_views:,} times ({facts.views:,})")]
    return []


def _members(rules: Rules, facts: Facts) -> list[Verdict]:
    if rules.members_only is None:
        return []
    if facts.members_only is None:
        return [_unknown("whether it is for members only")]
    if facts.members_only and rules.members_only == "exclude":
        return [_left_out("it is for members of the channel only")]
    return [] if facts.members_only or rules.members_only == "exclude" else [_left_out("it is not for members only")]


def _language(rules: Rules, facts: Facts) -> list[Verdict]:
    if not rules.languages:
        return []
    if facts.language is None:
        return [_unknown("its language")]
    spoken = facts.language.casefold()
    wanted = [one.casefold() for one in rules.languages]
    fits = any(spoken == one or spoken.startswith(f"{one}-") for one in wanted)
    return [] if fits else [_left_out(f"its language is {facts.language}")]


def shown_length(seconds: float) -> str:
    """Return a length as people write it: `45 s`, `2 min`, `1 h 30 min`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest)
    return " ".join(parts) or "0 s"
