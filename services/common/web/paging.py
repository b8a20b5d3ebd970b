"""Paging of lists in REST: `limit` and `offset` select a page, `total` counts all matches."""

from pydantic import BaseModel, ConfigDict, Field

FURTHEST = 10**9


class PageQuery(BaseModel):
    """The query of every list; lists with filters inherit from it. Unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500)
    offset: int = Field(default=0, ge=0, le=FURTHEST)


class Page(BaseModel):
    """The answer of every list, beside its rows under their plural name. `total` counts all matches."""

    total: int
    limit: int
    offset: int
