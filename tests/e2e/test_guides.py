"""The commands of the tutorial and of the guides, as somebody would type them, with the emulator as YouTube.

Blocks marked `console` are run; those marked `text` are not: they need a container engine, another machine, an account
of YouTube or the internet.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from ytarchive.emulator.site import sample

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [
    "tutorial.md",
    "keep-a-channel.md",
    *sorted(str(path.relative_to(DOCS)) for path in (DOCS / "how-to").glob("*.md")),
]
# What stands for what somebody has, and the exit codes that are not 0.
MEANT = {"PLAYLIST": f"https://www.youtube.com/playlist?list={sample.DEMO_PLAYLIST}", "@CHANNEL": "@SecondSource"}
ENDS = {
    "download PLAYLIST": 3,
    "download WL": 2,
    "notify test": 2,
    "doctor": None,
}  # 2: without cookies, or an address; None: as the machine is
LATER = {"backup.md", "move.md"}  # of somebody who has an archive


def commands(guide: str) -> Iterator[str]:
    text = (DOCS / guide).read_text(encoding="utf-8")
    for block in re.findall(r"^ *```console\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            assert line.strip().startswith("$ ytarchive "), f"{guide}: {line}"
            yield line.strip().removeprefix("$ ytarchive ")


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "decisions" not in path.parts}
    linked = set(re.findall(r"\]\(([\w./-]+\.md)\)", index))
    assert pages - linked == {"README.md"}
    assert [link for link in linked if not (DOCS / link).exists()] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_work(guide: str, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    running = None
    if Path(guide).name in LATER:
        assert cli("download", sample.VIDEO_OK).code == 0
    for command in commands(guide):
        if command == "up":
            running = cli.start("up")
            running.wait_for("Ready.")
            continue
        if command.startswith("restore") and running is not None:
            running.process.terminate()
            running.end()
        words = [MEANT.get(word, word) for word in shlex.split(command)]
        ran = cli(*words)
        wanted = next((code for start, code in ENDS.items() if command.startswith(start)), 0)
        assert wanted is None or ran.code == wanted, f"{guide}: {command}\n{ran.out}{ran.err}"
