"""Build the page into ytarchive/web/static: `python page/build.py`, or the build of the wheel (hatch_build.py).

deno, which yt-dlp needs anyway, checks and bundles; packages come from npm as deno.lock names them. Names contain a
digest of the content, so that a browser keeps a file for good.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "ytarchive" / "web" / "static"
_PACKED = {".js", ".css", ".html", ".svg", ".webmanifest"}


class NotBuilt(Exception):
    """The page could not be built; the message says why."""


def build(target: Path = TARGET) -> None:
    """Replace `target` by a new build. Raise NotBuilt; an earlier build stays then."""
    with tempfile.TemporaryDirectory(prefix="ytarchive-page-") as folder:
        made = Path(folder, "static")
        assets = made / "assets"
        assets.mkdir(parents=True)
        _deno("bundle", "--quiet", "--frozen", "--platform", "browser", "--minify", "--code-splitting",
              "--outdir", str(assets), "src/main.tsx")  # fmt: skip
        names = {"main.js": _with_digest(assets / "main.js"), "page.css": _styles(assets)}
        for source in sorted((HERE / "public").iterdir()):
            shutil.copy(source, made / source.name)
        index = (HERE / "src" / "index.html").read_text("utf-8")
        for name, named in names.items():
            index = index.replace(f"/assets/{name}", f"/assets/{named}")
        (made / "index.html").write_text(index, "utf-8")
        for path in sorted(made.rglob("*")):
            if path.suffix in _PACKED:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copytree(made, fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def is_current(target: Path = TARGET) -> bool:
    """Return whether the last build is newer than all that it is made of."""
    index = target / "index.html"
    return index.is_file() and index.stat().st_mtime >= max(
        path.stat().st_mtime for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _deno(*arguments: str) -> None:
    try:
        from deno import find_deno_bin

        program = find_deno_bin()
    except (ImportError, FileNotFoundError) as error:
        raise NotBuilt(f"deno is not installed ({error})") from error
    environment = {**os.environ, "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
    ended = subprocess.run(  # noqa: S603 - our own program
        [program, *arguments], cwd=HERE, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise NotBuilt(f"deno {arguments[0]}: {ended.stderr.strip() or ended.stdout.strip()}")


def _with_digest(path: Path) -> str:
    named = path.with_name(f"{path.stem}-{_digest(path.read_bytes())}{path.suffix}")
    path.rename(named)
    return named.name


def _styles(assets: Path) -> str:
    """Put the style sheets in one: ours, in the order of their names."""
    body = "".join(path.read_text("utf-8") for path in sorted((HERE / "src" / "styles").glob("*.css"))).encode()
    name = f"page-{_digest(body)}.css"
    (assets / name).write_bytes(body)
    return name


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:10]


def _main() -> int:
    try:
        build()
    except NotBuilt as error:
        sys.stderr.write(f"The page was not built: {error}\nEverything else works without it.\n")
        return 1
    sizes = {path.name: path.stat().st_size for path in sorted(TARGET.rglob("*.gz"))}
    sys.stdout.write(json.dumps(sizes, indent=1) + "\n" if "--sizes" in sys.argv else "")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
