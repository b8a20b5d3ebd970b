"""REST routes for clients that plan a job."""

from services.common.web.routing import Call, Route
from services.storage.reporting.estimate import EstimateReports, Holdings, HoldingsBody, Throughput, ThroughputQuery


async def holdings(_call: Call, body: HoldingsBody, estimates: EstimateReports) -> Holdings:
    return await estimates.holdings(body)


async def throughput(_call: Call, query: ThroughputQuery, estimates: EstimateReports) -> Throughput:
    return await estimates.throughput(query)


_BASE = "/api/v1/storage"
ROUTES = (
    Route(
        "POST", f"{_BASE}/held", holdings, "What is held of up to 500 videos", body=HoldingsBody, response=Holdings,
    ),
    Route(
        "GET", f"{_BASE}/experience", throughput, "Observed throughput, and free disk space",
        query=ThroughputQuery, response=Throughput,
    ),
)  # fmt: skip
