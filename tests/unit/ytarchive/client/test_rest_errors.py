"""Errors of REST answers as exceptions."""

import pytest

from services.common import errors
from services.common.models import ErrorCode, ErrorDetail
from services.storage.archive.staging import TakeInFailed
from ytarchive.client.rest import error_of


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_becomes_one_of_the_common_errors(code: ErrorCode) -> None:
    """A service's own, such as TakeInFailed with the code E999, may want other arguments."""
    assert TakeInFailed.code is ErrorCode.INTERNAL_ERROR
    detail = ErrorDetail(code=code, message="it failed", details={"trace_id": "t", "video_id": "v"})
    error = error_of(detail, 500)
    assert type(error).__module__ == errors.__name__
    assert (error.code, str(error)) == (code, "it failed")
