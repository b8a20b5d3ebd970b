"""The wheel works without the checkout: it contains all packages and the demo."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def _run(command: list[str], cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_runs_the_demo_outside_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(REPOSITORY)], tmp_path)
    (wheel,) = tmp_path.glob("ytarchive-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert "ytarchive/web/static/index.html" in names, "the page is not in the wheel"
    assert [name for name in names if name.startswith("ytarchive/web/static/assets/main-")]
    installed = tmp_path / "installed"
    _run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], tmp_path)
    where = _run(
        [
            sys.executable,
            "-c",
            "import bus, services, ytarchive; print(bus.__file__, services.__file__, ytarchive.__file__)",
        ],
        tmp_path,
        PYTHONPATH=str(installed),
    )
    assert all(path.startswith(str(installed)) for path in where.split())
    cache = tmp_path.parent.parent / "emulator-cache"
    output = _run(
        [sys.executable, "-m", "ytarchive", "demo", "--dir", str(tmp_path / "demo")],
        tmp_path,
        PYTHONPATH=str(installed),
        XDG_CACHE_HOME=str(cache),
    )
    assert "10 saved" in output
    assert len(list((tmp_path / "demo" / "archive" / "videos").glob("*/*.mp4"))) == 10
