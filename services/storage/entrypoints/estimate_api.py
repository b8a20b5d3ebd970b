"""REST routes for clients that plan a job."""

from services.common.web.routing import Call, Route
from services.storage.reporting.estimate import EstimateReports, Holdings, HoldingsBody, Throughput, ThroughputQuery


async def holdings(_call: Call, body: HoldingsBody, estimates: EstimateReports) -> Holdings:
    return await estimates.holdings(body)


async def throughput(_call: Call, query: ThroughputQuery, estimates: EstimateReports) -> Throughput:
    return await estimates.throughput(query)


_BASE = "/api/v1/storage"
_HOLDINGS = Route(
    "POST",
    f"{_BASE}/holdings",
    holdings,
    "What is held of up to 500 videos",
    body=HoldingsBody,
    response=Holdings,
    scope="read",
)
_THROUGHPUT = Route(
    "GET",
    f"{_BASE}/throughput",
    throughput,
    "Observed throughput, and free disk space",
    query=ThroughputQuery,
    response=Throughput,
)
ROUTES = (
    _HOLDINGS,
    _THROUGHPUT,
    _HOLDINGS.renamed_from(f"{_BASE}/held"),
    _THROUGHPUT.renamed_from(f"{_BASE}/experience"),
)
