"""All errors that YTArchive raises, with their codes (SPEC: Standard Error Codes) and HTTP statuses.

YTArchiveError                 E999  500
├── InvalidRequest             E007  400   invalid input; nothing was changed
│   ├── NotFound               E007  404
│   ├── Forbidden              E007  403   from a page of another site, or under a foreign host name
│   └── ConfigError            E007  400   a config file or variable: names file, key and remedy
├── VideoUnavailable           E002  404
├── QuotaExceeded              E001  429
├── InvalidCredentials         E005  400
│   └── Unauthorized           E005  401   a REST request without a valid token
├── StorageFull                E004  503
├── NetworkTimeout             E003  503
└── ServiceUnavailable         E006  503   the broker, another service, ffmpeg
    ├── TooManyRequests        E006  429   of one client; nothing was changed
    ├── HostUnavailable        E006  503   not called: its circuit breaker is open
    └── StateDamaged           E006  503   a file of ours that cannot be read: names file and remedy
"""

import errno
from typing import Any, ClassVar

from services.common.models import ErrorCode, ErrorDetail


class YTArchiveError(Exception):
    """Base class. The message tells people what happened, to what, and what to do; `details` are for programs."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def detail(self) -> ErrorDetail:
        return ErrorDetail(code=self.code, message=self.message, details=self.details or None)


class InvalidRequest(YTArchiveError):
    code = ErrorCode.INVALID_REQUEST
    http_status = 400


class NotFound(InvalidRequest):
    http_status = 404


class Forbidden(InvalidRequest):
    http_status = 403


class ConfigError(InvalidRequest):
    pass


class VideoUnavailable(YTArchiveError):
    code = ErrorCode.VIDEO_UNAVAILABLE
    http_status = 404


class QuotaExceeded(YTArchiveError):
    code = ErrorCode.API_QUOTA_EXCEEDED
    http_status = 429


class InvalidCredentials(YTArchiveError):
    code = ErrorCode.INVALID_CREDENTIALS
    http_status = 400


class Unauthorized(InvalidCredentials):
    http_status = 401


class StorageFull(YTArchiveError):
    code = ErrorCode.STORAGE_FULL
    http_status = 503


class NetworkTimeout(YTArchiveError):
    code = ErrorCode.NETWORK_TIMEOUT
    http_status = 503


class ServiceUnavailable(YTArchiveError):
    code = ErrorCode.SERVICE_UNAVAILABLE
    http_status = 503


class HostUnavailable(ServiceUnavailable):
    """The details hold `host`, `until` and `retry_after` (whole seconds)."""


class TooManyRequests(ServiceUnavailable):
    """The details hold `retry_after` (whole seconds) and `reason`, which tells it from a busy service."""

    http_status = 429
    reason: ClassVar[str] = "rate"


class StateDamaged(ServiceUnavailable):
    """The details hold the `path`."""


def code_of(error: BaseException | None) -> ErrorCode:
    """Return the error code of any exception, INTERNAL_ERROR for an unknown one."""
    from bus.errors import BusError  # imported here, because the yt-dlp child uses this module without the bus

    match error:
        case YTArchiveError():
            return error.code
        case BusError():
            return ErrorCode.SERVICE_UNAVAILABLE
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return ErrorCode.STORAGE_FULL
        case _:
            return ErrorCode.INTERNAL_ERROR
