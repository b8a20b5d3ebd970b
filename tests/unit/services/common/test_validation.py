"""The problems that pydantic finds, in plain English."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from services.common.models import JobStatus
from services.common.names import JOB_FILTERS
from services.common.validation import problems_of
from services.jobs.rest_models import JobQuery


class Inner(BaseModel):
    level: Literal["low", "high"] = "low"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    must: int = 1
    status: JobStatus | Literal["open"] | None = None
    share: float = Field(default=0.5, gt=0, lt=1, allow_inf_nan=False)
    flag: bool = False
    name: Annotated[str, Field(max_length=3, pattern="^[a-z]+$")] = "a"
    many: list[int] = Field(default=[1], min_length=1, max_length=2)
    at: AwareDatetime | None = None
    version: Literal[4, 6] = 4
    inner: Inner = Inner()
    even: int = Field(default=0, ge=0, le=10)

    @field_validator("even")
    @classmethod
    def _check(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it must be even")
        return value


def problem(**values: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    (found,) = problems_of(caught.value)
    return found.field, found.text


@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"must": "x"}, "must", "must be a whole number"),
        ({"must": 1.5}, "must", "must be a whole number"),
        ({"other": 1}, "other", "is not known"),
        ({"share": 0}, "share", "must be greater than 0"),
        ({"share": 1}, "share", "must be less than 1"),
        ({"share": "nan"}, "share", "must be a finite number"),
        ({"share": "half"}, "share", "must be a number"),
        ({"flag": "perhaps"}, "flag", "must be true or false"),
        ({"name": "abcd"}, "name", "must have at most 3 characters"),
        ({"name": "A"}, "name", "has the wrong form"),
        ({"name": 7}, "name", "must be a text"),
        ({"many": []}, "many", "must have at least 1 entries"),
        ({"many": [1, 2, 3]}, "many", "must have at most 2 entries"),
        ({"many": 1}, "many", "must be a list"),
        ({"many": ["x"]}, "many.0", "must be a whole number"),
        ({"at": "tomorrow"}, "at", "must be a time with its zone, such as 2026-01-31T12:00:00Z"),
        ({"at": datetime(2026, 1, 1)}, "at", "must be a time with its zone, such as 2026-01-31T12:00:00Z"),  # noqa: DTZ001 - what is refused
        ({"version": 5}, "version", "5 is not one of 4, 6"),
        ({"inner": {"level": "middle"}}, "inner.level", "'middle' is not one of low, high"),
        ({"inner": 7}, "inner", "must be an object"),
        ({"even": -2}, "even", "must be at least 0"),
        ({"even": 12}, "even", "must be at most 10"),
        ({"even": 3}, "even", "it must be even"),
    ],
)
def test_a_problem_names_the_field_and_what_is_wrong(values: dict[str, Any], field: str, text: str) -> None:
    assert problem(**values) == (field, text)


def test_a_missing_field() -> None:
    class Needy(BaseModel):
        a: int

    with pytest.raises(ValidationError) as caught:
        Needy.model_validate({})
    assert problems_of(caught.value) == [("a", "is missing")]


def test_the_choices_of_all_branches_of_a_union_are_named_once() -> None:
    with pytest.raises(ValidationError) as caught:
        JobQuery.model_validate({"status": "nope", "type": "x" * 100})
    status, kind = problems_of(caught.value)
    assert status.field == "status"
    assert status.text.startswith("'nope' is not one of ")
    assert set(status.text.partition(" one of ")[2].split(", ")) == set(JOB_FILTERS)
    assert kind.field == "type"
    assert len(kind.text) < 150


def test_every_choice_of_the_command_line_and_of_rest_is_explained_without_the_words_of_pydantic() -> None:
    """Whatever the type of the choice: an enumeration, a literal, a union of both."""
    choices: list[Any] = [JobStatus, Literal["a", "b"], JobStatus | Literal["open"] | None]
    for choice in choices:
        model = create_model("Query", c=(choice, ...))
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"c": "\x1b[31m"})
        (found,) = problems_of(caught.value)
        assert "Input" not in found.text
        assert "\x1b" not in found.text
