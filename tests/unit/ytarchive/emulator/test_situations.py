"""The named situations of the emulator."""

import pytest

from ytarchive.emulator import situations
from ytarchive.emulator.__main__ import main
from ytarchive.emulator.site import sample
from ytarchive.emulator.transport.fault_injection import Faults


def test_the_list_has_one_line_for_each_situation(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--situations"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(situations.SITUATIONS)
    assert all(len(line.split()) > 2 and len(line) <= 100 for line in lines)


@pytest.mark.parametrize("name", situations.SITUATIONS)
def test_every_situation_changes_something(name: str) -> None:
    world, faults = sample.sample_world(), Faults()
    situations.begin(name, world, faults)
    assert world != sample.sample_world() or faults.all()


def test_an_unknown_situation_names_the_known_ones() -> None:
    with pytest.raises(situations.NoSuchSituation, match="throttled"):
        situations.begin("unheard of", sample.sample_world(), Faults())
