"""REST routes of verification: start, progress, stop."""

from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.fixity.report import VerificationPage, VerificationState, VerifyBegun, VerifyBody
from services.storage.fixity.requests import VerificationRequests


async def begin(call: Call, body: VerifyBody, requests: VerificationRequests) -> VerifyBegun:
    return await requests.begin(body, call.trace_id)


async def state(_call: Call, query: PageQuery, requests: VerificationRequests) -> VerificationPage:
    return await requests.page(query)


async def stop(_call: Call, requests: VerificationRequests) -> VerificationState:
    return await requests.stop()


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
