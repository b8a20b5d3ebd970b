"""Connection settings of the broker and limits of the streams (docs/decisions/0017)."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class BusSettings(BaseModel):
    """`url` may list several servers, separated by commas. Times in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True)

    url: str
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    credentials_file: Path | None = None  # a NATS .creds file
    ca_file: Path | None = None

    replicas: int = Field(default=1, ge=1, le=5)
    events_max_bytes: int = Field(default=4 * 1024**3, ge=1024**2)
    logs_max_bytes: int = Field(default=1024**3, ge=1024**2)
    ack_wait: float = Field(default=60.0, gt=0)
    connect_timeout: float = Field(default=5.0, gt=0)
    max_exceptions: int = Field(default=6, ge=1)  # exceptions (not deliveries) until a message is dead-lettered
