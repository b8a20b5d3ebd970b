"""Lists in REST answers: `limit` and `offset` in, one page and the `total` of all that match out."""

from pydantic import BaseModel, ConfigDict, Field

FURTHEST = 10**9


class PageQuery(BaseModel):
    """What every list takes; a list with filters inherits from it. A key that is not named is refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500)
    offset: int = Field(default=0, ge=0, le=FURTHEST)


class Page(BaseModel):
    """What every list answers, beside its rows under their plural name. `total` counts all that match."""

    total: int
    limit: int
    offset: int
