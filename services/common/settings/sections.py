"""The sections of config.toml as models, with the names and defaults of SPEC. `services.common.settings.load` reads
them."""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    IPvAnyAddress,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.common.names import SERVICES
from services.common.settings.retry_policy import SPEC
from services.common.settings.urls import BROKER_SCHEMES, PROXY_SCHEMES, parse_address


def _bytes(value: Any) -> int:
    return TypeAdapter(ByteSize).validate_python(value)


def _absolute(value: Any) -> Any:
    """Return an absolute path (SPEC: Path Validation: it is absolute or starts with `~/`)."""
    if not isinstance(value, (str, Path)):
        return value
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("its home directory is unknown: set HOME, or write an absolute path") from error
    if not path.is_absolute():
        raise ValueError("a path must be absolute or start with ~/")
    return path


def _mode(value: Any) -> Any:
    """Parse `"0664"`. A number is refused: TOML's 664 would be another mode than 0664."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]{3,4}", value):
        raise ValueError('write the mode as a text of octal digits, such as "0664"')
    return int(value, 8)


_MOST_DAYS = 36_500
_SHORTEST_TOKEN = 16  # characters
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_DELAY = re.compile(r"(\d{1,7})([smhdw])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
Size = Annotated[int, BeforeValidator(_bytes)]  # bytes, or a text such as "10GiB"
Mode = Annotated[int | None, BeforeValidator(_mode)]  # of files: a text of octal digits; None: that of the umask
FilePath = Annotated[Path, BeforeValidator(_absolute)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class General(Section):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    api_version: Literal["v1"] = "v1"


class Storage(Section):
    """Paths as in SPEC; `roots` are further archive roots; `min_free` bytes are kept free on every disk;
    `file_mode` and `dir_mode` are those of what is archived from now on.

    A path may contain `{base_data_dir}` and `{base_path}`.
    """

    model_config = ConfigDict(validate_default=True)

    base_data_dir: Path = Path("~/.ytarchive/data")
    jobs_dir: Path = Path("{base_data_dir}/jobs")
    registry_dir: Path = Path("{base_data_dir}/registry")
    work_plans_dir: Path = Path("{base_data_dir}/work_plans")
    tmp_dir: Path = Path("{base_data_dir}/tmp")
    logs_dir: Path = Path("{base_data_dir}/logs")
    base_path: Path = Path("~/YTArchive")
    metadata_dir: Path = Path("{base_path}/metadata")
    videos_dir: Path = Path("{base_path}/videos")
    roots: tuple[Path, ...] = ()
    min_free: Size = Field(default=1024**3, ge=0)
    file_mode: Mode = None
    dir_mode: Mode = None

    @field_validator("*", mode="before")
    @classmethod
    def _resolve(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name in {"min_free", "file_mode", "dir_mode"}:
            return value
        if isinstance(value, (list, tuple)):
            return tuple(_absolute(_fill(item, info.data)) for item in value)
        return _absolute(_fill(value, info.data))

    @property
    def run_dir(self) -> Path:
        return self.base_data_dir / "run"

    @property
    def all_roots(self) -> tuple[Path, ...]:
        return (self.base_path, *self.roots)

    def key_of(self, path: Path) -> str:
        """Return the key that sets a folder."""
        if path in self.roots:
            return "roots"
        own = (name for name in type(self).model_fields if getattr(self, name) == path)
        return next(own, "base_path" if path.is_relative_to(self.base_path) else "base_data_dir")


def _fill(value: Any, known: Mapping[str, Any]) -> Any:
    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in {"base_data_dir", "base_path"}:
            raise ValueError(f"unknown placeholder {{{name}}}; there are {{base_data_dir}} and {{base_path}}")
        return str(known.get(name, "/"))  # an invalid one is reported by itself

    return re.sub(r"\{(\w*)\}", replace, str(value)) if isinstance(value, (str, Path)) else value


class YouTube(Section):
    quota_limit: int = Field(default=10_000, ge=0)
    quota_reserve: int = Field(default=1_000, ge=0)
    keyless_fallback: bool = True  # when the quota is used up: continue with yt-dlp, or wait for the reset
    api_key: SecretStr | None = None
    api_endpoint: str | None = None
    egress: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$"
    )  # name of this way to YouTube; unset: derived from the host name
    proxy: str | None = None
    ca_file: FilePath | None = None
    cookies_file: FilePath | None = None
    cookies_from_browser: str | None = None
    extractor_args: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    rate_limit: Annotated[Size, Field(ge=1)] | None = None  # bytes per second of one download
    sleep_interval: float = Field(default=0.0, ge=0)  # seconds between two downloads of one slot
    sleep_requests: float = Field(
        default=0.0, ge=0, le=600
    )  # seconds between two requests for pages; half is added at most
    source_address: IPvAnyAddress | None = None  # of this machine, which requests are sent from
    ip_version: Literal[4, 6] | None = None

    @field_validator("ip_version", mode="before")
    @classmethod
    def _read_version(cls, version: Any) -> Any:
        """Accept the texts of environment variables."""
        return int(version) if version in {"4", "6"} else version

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        address, version = self.source_address, self.ip_version
        if address is not None and version is not None and address.version != version:
            raise ValueError(f"source_address {address} is no IPv{version} address: correct it, or remove ip_version")
        return self

    @property
    def bound_address(self) -> str | None:
        """The local address of requests; the unspecified one of an IP version limits them to that version."""
        if self.source_address is None and self.ip_version is not None:
            return "0.0.0.0" if self.ip_version == 4 else "::"  # noqa: S104 - of a client
        return str(self.source_address) if self.source_address else None

    @property
    def has_cookies(self) -> bool:
        return self.cookies_file is not None or bool(self.cookies_from_browser)

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, proxy: str | None) -> str | None:
        if proxy:
            parse_address(proxy, PROXY_SCHEMES)
        return proxy


class Download(Section):
    """`audio_language`: of the sound to prefer, such as `de`; empty: the original language. `video_codec` and
    `audio_codec` decide between streams of one resolution and frame rate. `connections`: of one slot, for the picture
    and the sound of a video; with [youtube] rate_limit it is one. `ffmpeg`: the program to use instead of the static
    one that is installed with ytarchive."""

    audio_language: str = Field(default="", pattern=r"^[A-Za-z0-9-]{0,32}$")
    video_codec: Literal["h264", "h265", "vp9", "av01"] = "h264"
    audio_codec: Literal["aac", "opus"] = "aac"
    slots: int = Field(default=2, ge=1, le=64)
    connections: int = Field(default=2, ge=1, le=2)
    ffmpeg: FilePath | None = None
    socket_timeout: float = Field(default=SPEC.read, gt=0)
    timeout: float = Field(default=3600.0, gt=0)  # SPEC: DOWNLOAD_TIMEOUT; seconds without progress, not in total
    memory_limit: Size = Field(default=2 * 1024**3, ge=1024**3)  # bytes of each process; deno needs 600 MB


class Retention(Section):
    """Days that ended jobs and logs are kept (SPEC: Data Retention). Work plans are removed only manually.
    `failed_jobs`: also of completed jobs that saved nothing, because every video failed or is unavailable."""

    completed_jobs: int = Field(default=30, ge=0, le=_MOST_DAYS)
    failed_jobs: int = Field(default=90, ge=0, le=_MOST_DAYS)
    cancelled_jobs: int = Field(default=7, ge=0, le=_MOST_DAYS)
    logs: int = Field(default=30, ge=1, le=_MOST_DAYS)


class Fixity(Section):
    """Periodic verification of the archive's checksums."""

    interval_days: int = Field(default=90, ge=0, le=_MOST_DAYS)  # maximum age of a verification; 0: only on request
    rate_limit: Annotated[Size, Field(ge=1)] = 50 * 1024**2  # bytes per second


class Recheck(Section):
    """Repeated attempts at videos that a work plan lists as unavailable."""

    interval_days: float = Field(default=7.0, ge=0, le=_MOST_DAYS, allow_inf_nan=False)  # 0: never


class Follow(Section):
    """Looks at what is followed. `min_interval`, `max_interval`: between two looks at one channel, whose own rhythm
    decides between them. `requests_per_hour`: of all looks together; more follows are looked at less often."""

    min_interval: Annotated[str, AfterValidator(lambda text: _check_delay(text))] = "10m"
    max_interval: Annotated[str, AfterValidator(lambda text: _check_delay(text))] = "3d"
    requests_per_hour: int = Field(default=240, ge=1, le=100_000)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not timedelta() < self.shortest <= self.longest:
            raise ValueError("min_interval must not be 0s, and not be longer than max_interval")
        return self

    @property
    def shortest(self) -> timedelta:
        return _delay(self.min_interval)

    @property
    def longest(self) -> timedelta:
        return _delay(self.max_interval)


def _delay(text: str) -> timedelta:
    """Parse `90s`, `30m`, `2h`, `1d` or `1w`. Raise ValueError."""
    found = _DELAY.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a number and a unit (s, m, h, d or w), such as 2h")
    delay = int(found[1]) * _UNITS[found[2]]
    if delay > timedelta(days=_MOST_DAYS):
        raise ValueError(f"at most {_MOST_DAYS}d")
    return delay


def _check_delay(text: str) -> str:
    _delay(text)
    return text


class Revisit(Section):
    """Looks at archived videos that might get better. `after`: times since the archiving; `0s` alone: at every run;
    empty: never."""

    after: tuple[Annotated[str, AfterValidator(_check_delay)], ...] = ("2h", "1d", "7d", "60d")

    @field_validator("after")
    @classmethod
    def _check_zero(cls, after: tuple[str, ...]) -> tuple[str, ...]:
        if len(after) > 1 and not all(map(_delay, after)):
            raise ValueError("a time of zero means at every run, and stands alone")
        return after

    @property
    def delays(self) -> tuple[timedelta, ...]:
        return tuple(sorted(map(_delay, self.after)))


class Updates(Section):
    """Whether `up` (daily) and `doctor --online` ask for the newest yt-dlp (`update` always does); `releases_url`: its
    latest release, as JSON."""

    check: bool = True
    releases_url: str = Field(
        default="https://api.github.com/repos/yt-dlp/yt-dlp/releases/latest", pattern=r"^https?://[^\s/]+/\S*$"
    )


class Nats(Section):
    """`url` unset: an embedded server. Limits as in BusSettings."""

    url: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    credentials_file: FilePath | None = None
    ca_file: FilePath | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    events_max_bytes: Size = Field(default=4 * 1024**3, ge=1024**2)
    logs_max_bytes: Size = Field(default=1024**3, ge=1024**2)
    ack_wait: float = Field(default=60.0, gt=0)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        for server in (url or "").split(","):
            if server.strip():
                parse_address(server.strip(), BROKER_SCHEMES)
        return url


class Endpoint(Section):
    host: str = Field(default="localhost", min_length=1)
    port: int = Field(ge=0, le=65535)  # 0: any free one

    @property
    def is_wildcard(self) -> bool:
        """Whether the service is bound to all addresses of the machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to

    @property
    def is_local(self) -> bool:
        """Whether this machine reaches the service at its loopback address."""
        return self.is_wildcard or self.host in {"localhost", "127.0.0.1", "::1"}


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", value) or re.search(r"[^:]:\d+$", value):
        raise ValueError("a host name or an address, without scheme and port: archive.example.org")
    return value.lower()


class Services(Section):
    """`allowed_hosts`: names in the Host header that are answered beside the loopback names and the bound address.
    `request_rate`: requests per second of one client to one service, on average over ten seconds; 0: any number."""

    allowed_hosts: tuple[Annotated[str, AfterValidator(_host_name)], ...] = ()
    request_rate: float = Field(default=100.0, ge=0, allow_inf_nan=False)
    jobs: Endpoint = Endpoint(port=8000)
    metadata: Endpoint = Endpoint(port=8001)
    download: Endpoint = Endpoint(port=8002)
    storage: Endpoint = Endpoint(port=8003)
    logging: Endpoint = Endpoint(port=8004)

    @field_validator("*", mode="before")
    @classmethod
    def _keep_default_port(cls, value: Any, info: ValidationInfo) -> Any:
        """Keep the default port when a table sets only the host."""
        if isinstance(value, dict) and "port" not in value and info.field_name in SERVICES:
            return {"port": cls.model_fields[info.field_name].default.port, **value}
        return value


class Web(Endpoint):
    """The page. `enabled`: whether `up` serves it. The rules of access are those of the services: `[services]
    allowed_hosts` and `[auth]`."""

    enabled: bool = True
    port: int = Field(default=8005, ge=0, le=65535)  # 0: any free one


def _network(value: Any) -> str:
    return str(ip_network(value, strict=False))


def _long_enough(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < _SHORTEST_TOKEN:
        raise ValueError(f"at least {_SHORTEST_TOKEN} characters are needed")
    return token


class Auth(Section):
    """Access to REST. `token` unset: the one in `{base_data_dir}/auth/token`, created when it is first needed."""

    token: Annotated[SecretStr, AfterValidator(_long_enough)] | None = None
    trusted_proxies: tuple[Annotated[str, BeforeValidator(_network)], ...] = ()
    user_header: str = Field(default="X-Forwarded-User", pattern=r"^[A-Za-z0-9-]{1,64}$")


class Notify(Section):
    """News for people. `urls`: addresses of Apprise (`ntfy://…`, `mailto://…`), which are secrets. What needs you is
    told at once, except in `quiet_hours`; news once a day, at `digest_at`. Times are local."""

    urls: tuple[SecretStr, ...] = ()
    digest_at: Annotated[str, AfterValidator(lambda text: _check_clock(text))] = "08:00"
    quiet_hours: Annotated[str, AfterValidator(lambda text: _check_hours(text))] = ""


def _check_clock(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise ValueError("a time of the day: 08:00")
    return text


def _check_hours(text: str) -> str:
    begin, _, end = text.partition("-")
    if text and not (_CLOCK.fullmatch(begin.strip()) and _CLOCK.fullmatch(end.strip())):
        raise ValueError("two times of the day: 22:00-07:00; empty: none")
    return text


class Config(Section):
    """`origins` maps each key that was set (`youtube.proxy`) to the file or variable that set it. `ignored`: the
    `./config.toml` that was not used, with the reason."""

    general: General = Field(default_factory=General)
    storage: Storage = Field(default_factory=Storage)
    youtube: YouTube = Field(default_factory=YouTube)
    download: Download = Field(default_factory=Download)
    retention: Retention = Field(default_factory=Retention)
    fixity: Fixity = Field(default_factory=Fixity)
    recheck: Recheck = Field(default_factory=Recheck)
    revisit: Revisit = Field(default_factory=Revisit)
    follow: Follow = Field(default_factory=Follow)
    updates: Updates = Field(default_factory=Updates)
    nats: Nats = Field(default_factory=Nats)
    services: Services = Field(default_factory=Services)
    auth: Auth = Field(default_factory=Auth)
    web: Web = Field(default_factory=Web)
    notify: Notify = Field(default_factory=Notify)
    source: Path | None = Field(default=None, exclude=True)  # the file it was read from
    origins: Mapping[str, str] = Field(default_factory=dict, exclude=True, repr=False)
    ignored: str | None = Field(default=None, exclude=True, repr=False)
