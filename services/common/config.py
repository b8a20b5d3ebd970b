"""config.toml, typed: one model per section, found, merged with the environment, and resolved.

`load_config` is the only door. Every key has a default that works.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class General(_Section):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    api_version: Literal["v1"] = "v1"


class Storage(_Section):
    """Paths as SPEC names them; `roots` are further archive roots; `min_free` bytes stay free on every disk."""

    base_data_dir: Path
    jobs_dir: Path
    registry_dir: Path
    work_plans_dir: Path
    tmp_dir: Path
    logs_dir: Path
    base_path: Path
    metadata_dir: Path
    videos_dir: Path
    roots: tuple[Path, ...] = ()
    min_free: int = Field(default=1024**3, ge=0)

    @property
    def run_dir(self) -> Path:
        return self.base_data_dir / "run"

    @property
    def all_roots(self) -> tuple[Path, ...]:
        return (self.base_path, *self.roots)


class YouTube(_Section):
    quota_limit: int = Field(default=10_000, ge=0)
    quota_reserve: int = Field(default=1_000, ge=0)
    api_key: SecretStr | None = None
    api_endpoint: str | None = None
    proxy: str | None = None
    ca_file: Path | None = None
    cookies_file: Path | None = None
    cookies_from_browser: str | None = None
    extractor_args: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    rate_limit: int | None = Field(default=None, ge=1)  # bytes per second and download
    sleep_interval: float = Field(default=0.0, ge=0)  # seconds between two downloads of one slot


class Download(_Section):
    slots: int = Field(default=2, ge=1, le=64)
    socket_timeout: float = Field(default=30.0, gt=0)  # SPEC: TIMEOUTS read
    timeout: float = Field(default=3600.0, gt=0)  # SPEC: DOWNLOAD_TIMEOUT; without a byte gained, not in all


class Nats(_Section):
    """`url` unset: an embedded server. The numbers are those of BusSettings."""

    url: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    credentials_file: Path | None = None
    ca_file: Path | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    events_max_bytes: int = Field(default=4 * 1024**3, ge=1024**2)
    logs_max_bytes: int = Field(default=1024**3, ge=1024**2)
    ack_wait: float = Field(default=60.0, gt=0)


class Endpoint(_Section):
    host: str = "localhost"
    port: int = Field(ge=0, le=65535)  # 0: any free one


class Services(_Section):
    jobs: Endpoint = Endpoint(port=8000)
    metadata: Endpoint = Endpoint(port=8001)
    download: Endpoint = Endpoint(port=8002)
    storage: Endpoint = Endpoint(port=8003)
    logging: Endpoint = Endpoint(port=8004)


class Config(_Section):
    general: General
    storage: Storage
    youtube: YouTube
    download: Download
    nats: Nats
    services: Services
    source: Path | None = None  # the file it was read from
