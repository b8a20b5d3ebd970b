"""The entries of the service registry."""

import platform

from pydantic import AwareDatetime, BaseModel, Field


class ServiceInfo(BaseModel):
    """An entry of the service registry."""

    name: str
    instance: str
    url: str
    version: str
    slots: int = Field(default=0, description="Simultaneous downloads; 0 for other services.")
    free_slots: int = 0
    egress: str | None = None
    host: str = Field(default_factory=platform.node)
    pid: int
    started_at: AwareDatetime
