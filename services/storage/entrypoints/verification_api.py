"""REST routes of verification: start, progress, stop; how long ago everything was read; how the archive grows."""

from services.common.web.paging import PageQuery
from services.common.web.routing import Call, Route
from services.storage.fixity.ages import FixityAges, FixityReport
from services.storage.fixity.report import VerificationPage, VerificationState, VerifyBegun, VerifyBody
from services.storage.fixity.requests import VerificationRequests
from services.storage.reporting.growth import Growth, GrowthReport


async def begin(call: Call, body: VerifyBody, requests: VerificationRequests) -> VerifyBegun:
    return await requests.begin(body, call.trace_id)


async def state(_call: Call, query: PageQuery, requests: VerificationRequests) -> VerificationPage:
    return await requests.page(query)


async def stop(_call: Call, requests: VerificationRequests) -> VerificationState:
    return await requests.stop()


async def ages(_call: Call, report: FixityReport) -> FixityAges:
    return await report.ages()


async def growth(_call: Call, report: GrowthReport) -> Growth:
    return await report.read()


_BASE = "/api/v1/storage"
_PATH = f"{_BASE}/verify"
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
    Route("GET", f"{_BASE}/fixity", ages, "How long ago all bytes were last read", response=FixityAges),
    Route("GET", f"{_BASE}/growth", growth, "Growth by month, and how long the disks last", response=Growth),
)  # fmt: skip
