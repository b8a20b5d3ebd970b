"""REST routes of verification: start, progress, stop."""

from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.fixity.report import (
    VerificationPage,
    VerificationReports,
    VerificationState,
    VerifyBegun,
    VerifyBody,
)


async def begin(call: Call, body: VerifyBody, verifications: VerificationReports) -> VerifyBegun:
    return await verifications.begin(body, call.trace_id)


async def state(_call: Call, query: PageQuery, verifications: VerificationReports) -> VerificationPage:
    return await verifications.page(query)


async def stop(_call: Call, verifications: VerificationReports) -> VerificationState:
    return await verifications.stop()


_PATH = "/api/v1/storage/verify"
ROUTES = (
    Route(
        "POST", _PATH, begin, "Read the archive's files again and compare them with their manifests",
        body=VerifyBody, response=VerifyBegun, status=201,
    ),
    Route(
        "GET", _PATH, state, "The running verification, or the last one, and its findings",
        query=PageQuery, response=VerificationPage,
    ),
    Route("DELETE", _PATH, stop, "Stop the running verification", response=VerificationState),
)  # fmt: skip
