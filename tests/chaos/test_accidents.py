"""One seed of the accidents of `make chaos`, with fewer of them."""

from pathlib import Path

from tests.chaos.accidents import Plan, run
from tests.fixtures.processes import ProcessPool
from ytarchive.emulator import EmulatorClient


async def test_accidents_lose_nothing(tmp_path: Path, emulator: EmulatorClient, process_pool: ProcessPool) -> None:
    plan = Plan(videos=18, playlists=2, kills=8, suspensions=2, stops=2, site_faults=2, pause=0.5)
    report = await run(1, plan, tmp_path / "cluster", emulator, process_pool)
    assert report.problems == []
    assert report.archived + report.failed == 16
